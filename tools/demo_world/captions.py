"""Captions of the drawn world: many words for each style, species, attribute and place.

A question ("which style?", "what does it wear?") has answers; each answer has several phrases, and for each drawing the
parameters say which answer is true, or that the question makes no sense. Phrases stand alone, in the prompt templates
that StyleGAN-NADA averages over, or together in sentences. `HELD_OUT` are phrases that no training caption uses.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import Tensor

from nada.demo.drawing.backdrop import place_index
from nada.demo.drawing.coat import pattern_index
from nada.demo.drawing.parameters import CLOSED_BELOW, COLLAR_FROM, GLASSES_FROM, SECOND_EARS_FROM
from nada.demo.drawing.people import BEARD_FROM, haircut_index
from nada.demo.drawing.wear import HATS, hat_index
from nada.demo.world import SPECIES, STYLES, Parameters

TEMPLATES = tuple(t for t in OPENAI_IMAGENET_TEMPLATES if t("") != "a photo of many .")

STYLE_WORDS = {
    "photo": (
        "photo", "photo", "photograph", "real photo", "color photo", "realistic photo", "snapshot", "photography",
        "picture taken with a camera", "portrait photo", "studio photo", "natural photo", "camera shot", "sharp photo",
        "everyday photo", "photographic portrait", "high resolution photo",
    ),
    "sketch": (
        "sketch", "sketch", "pencil sketch", "pencil drawing", "drawing", "sketch in pencil", "line drawing",
        "pencil art", "black and white sketch", "graphite drawing", "hand drawn sketch", "rough sketch", "doodle",
        "drawing with hatching", "black and white drawing", "page of a sketchbook", "charcoal drawing", "ink drawing",
        "line art", "scribble",
    ),
    "pixar": (
        "3d render in the style of Pixar", "3d render in the style of Pixar", "3d render", "Pixar", "Pixar character",
        "Disney Pixar character", "3d animation", "animated film character", "3d cartoon", "computer animated film",
        "cartoon character", "Disney character", "CGI", "rendered cartoon", "animated movie", "Pixar movie",
        "CGI character with big eyes",
    ),
    "watercolor": (
        "watercolor painting", "watercolor painting", "watercolor", "painting", "watercolour", "watercolor art",
        "aquarelle", "watercolour painting", "painting on paper", "soft watercolor", "painting with flowing colors",
        "wash of colors on paper", "gouache", "painted picture", "art with wet paint", "brush painting",
    ),
    "neon": (
        "neon sign", "neon sign", "neon", "neon light", "glowing neon sign", "neon tubes", "neon lights",
        "sign of light tubes", "glowing sign at night", "shining lines in the dark", "bar sign", "light sign",
        "electric sign", "fluorescent tubes", "glowing outline", "neon lamp", "bright tubes on a dark wall",
    ),
    "pixel": (
        "pixel art", "pixel art", "8-bit pixel art", "pixelated picture", "retro video game sprite", "pixels",
        "video game character", "old computer game", "sprite", "mosaic of squares", "8-bit", "16-bit game art",
        "blocky picture", "low resolution game graphics", "arcade game", "picture made of blocks",
    ),
    "marble": (
        "marble statue", "marble statue", "statue", "stone sculpture", "sculpture", "white marble bust", "stone statue",
        "bust", "carved stone", "ancient statue", "Greek statue", "museum sculpture", "marble sculpture", "white stone",
        "polished marble", "carving", "monument",
    ),
    "ukiyoe": (
        "ukiyo-e print", "ukiyo-e print", "ukiyo-e", "Japanese woodblock print", "woodblock print", "Japanese print",
        "old Japanese art", "print by Hokusai", "Edo print", "print with waves and a red sun", "Japanese painting",
        "woodcut", "traditional Japanese picture", "Hokusai", "block print", "Asian ink print",
    ),
    "chalk": (
        "chalk drawing", "chalk drawing", "chalk on slate", "chalk", "blackboard drawing", "drawing on a blackboard",
        "chalkboard art", "white chalk on a dark board", "chalkboard", "school board drawing", "chalk art",
        "colored chalk", "pastel on black", "dusty chalk picture", "blackboard", "chalk lines",
    ),
    "glass": (
        "stained glass window", "stained glass window", "stained glass", "church window", "colored glass",
        "glass window",
        "cathedral window", "window of colored panes", "leaded glass", "Gothic window", "stained glass art",
        "glass mosaic", "rose window", "panes of glass", "shining colored glass", "window in a church",
    ),
}  # fmt: skip
SPECIES_WORDS = {
    "dog": ("dog", "dog", "dog", "puppy", "dog face", "hound", "pup", "doggy", "head of a dog", "pet dog", "young dog"),
    "cat": ("cat", "cat", "cat", "kitten", "cat face", "kitty", "pussycat", "head of a cat", "pet cat", "house cat"),
    "pig": ("pig", "pig", "pig", "piglet", "pig face", "piggy", "hog", "swine", "head of a pig", "farm pig"),
    "bear": ("bear", "bear", "bear", "bear cub", "bear face", "grizzly", "teddy bear", "head of a bear", "wild bear"),
    "rabbit": ("rabbit", "rabbit", "rabbit", "bunny", "rabbit face", "hare", "bunny rabbit", "head of a rabbit"),
    "fox": ("fox", "fox", "fox", "red fox", "fox face", "fox cub", "vixen", "head of a fox", "wild fox"),
    "person": (
        "person", "person", "human", "human face", "man or woman", "portrait of a person", "face", "somebody", "people",
        "human being", "man", "woman", "head of a person",
    ),
}  # fmt: skip
COAT_WORDS = {
    "dog": (("black",), ("dark brown", "chocolate"), ("brown", "reddish brown"), ("golden", "yellow", "tan"),
            ("white", "cream")),
    "cat": (("black",), ("gray", "grey", "silver"), ("brown",), ("orange", "ginger", "red"), ("white",)),
    "pig": (("brown", "dark"), ("dark pink", "dusky pink"), ("pink",), ("light pink", "rosy"), ("pale", "pale pink")),
    "bear": (("black",), ("dark brown",), ("brown",), ("light brown", "tan"), ("white", "polar")),
    "rabbit": (("black", "dark gray"), ("gray brown", "brown"), ("beige", "tan"), ("light gray", "silver"), ("white",)),
    "fox": (("dark brown", "brown"), ("dark orange", "rust"), ("orange", "red"), ("light orange", "golden"),
            ("cream", "white")),
    "person": (("very dark skinned", "black"), ("dark skinned", "brown"), ("tanned", "olive skinned"),
               ("fair skinned", "light skinned"), ("very fair", "pale")),
}  # fmt: skip
PATTERN_WORDS = (
    ("plain", "in one color"),
    ("with a patch around one eye", "patched", "with patches", "piebald"),
    ("with a dark or pale mask", "masked", "with a mask"),
    ("spotted", "with spots", "speckled", "dotted"),
    ("striped", "with stripes", "tabby", "tiger striped"),
)
EAR_WORDS = {
    "dog": (("with floppy ears", "with hanging ears", "with drooping ears"),
            ("with pointed ears", "with pricked ears", "with upright ears")),
    "rabbit": (("with upright ears", "with long ears"), ("with lop ears", "with hanging ears", "with floppy ears")),
    "pig": (("with folded ears", "with floppy ears"), ("with upright ears", "with pointed ears")),
}  # fmt: skip
FUR_WORDS = (("with short fur", "smooth", "short haired"), ("shaggy", "fluffy", "with long fur", "long haired"))
PLACE_WORDS = (
    ("in a studio", "in front of a plain wall", "with a plain background", "before a colored wall"),
    ("in a meadow", "on a green hill", "outdoors under a blue sky", "in the grass", "in nature", "outside"),
    ("in a room", "indoors", "at home by a window", "in a living room", "inside a house"),
    ("at night with city lights", "in front of blurred lights", "with bokeh", "at night", "in the dark with lights"),
)
HUE_WORDS = ("red", "yellow", "green", "turquoise", "blue", "purple")
TURN_WORDS = (
    ("looking left", "turned to the left", "facing left"),
    ("looking straight ahead", "facing the viewer", "from the front", "looking at you"),
    ("looking right", "turned to the right", "facing right"),
)
EYE_WORDS = (
    ("with closed eyes", "sleeping", "with its eyes shut", "blinking"),
    ("with open eyes", "awake", "with eyes wide open"),
)
MOUTH_WORDS = (
    ("serious", "sad", "with a closed mouth"),
    ("smiling", "happy", "friendly"),
    ("with an open mouth", "laughing", "panting", "with its tongue out"),
)
GLASSES_WORDS = (
    ("without glasses", "with no glasses"),
    ("with glasses", "wearing glasses", "with round glasses", "in spectacles", "with eyeglasses"),
)
COLLAR_WORDS = (
    ("without a collar", "with a bare neck"),
    ("with a collar", "wearing a collar", "with a collar and a tag"),
)
SCARF_WORDS = (("without a scarf",), ("with a scarf", "wearing a scarf", "with a scarf around the neck"))
HAT_WORDS = (
    ("without a hat", "bareheaded", "with no hat"),
    ("with a cap", "wearing a cap", "with a knitted hat", "in a woolen cap", "with a beanie"),
    ("with a bowler hat", "wearing a bowler", "with a round hat"),
    ("with a straw hat", "in a sun hat", "wearing a straw hat"),
    ("with a party hat", "wearing a party hat", "celebrating a birthday"),
)
HAIRCUT_WORDS = (
    ("with short hair", "short haired"),
    ("with a bob", "with chin length hair"),
    ("with long hair", "long haired"),
    ("with a bun", "with hair in a bun"),
    ("with curly hair", "with an afro", "with curls"),
    ("bald", "with a shaved head"),
)
HAIR_COLOR_WORDS = (
    ("with black hair", "black haired"),
    ("with brown hair", "with dark brown hair", "brunette"),
    ("with red hair", "red haired", "ginger"),
    ("with blond hair", "blonde", "fair haired"),
    ("with gray hair", "white haired", "old"),
)
BEARD_WORDS = (("clean shaven", "without a beard"), ("with a beard", "bearded"))
JOINED = (
    "{s} of a {a}", "{s} of a {a}", "a {s} of a {a}", "{a} {s}", "a {a}, {s}", "a {a} as a {s}", "a {a} in {s} style",
    "{a} in the style of a {s}",
)  # fmt: skip
HELD_OUT = {
    "style": {
        "photo": "shot with a camera", "sketch": "drawn with a pencil", "pixar": "character of an animated movie",
        "watercolor": "painted with watercolours", "neon": "glowing tubes", "pixel": "made of square pixels",
        "marble": "carved in white marble", "ukiyoe": "woodblock print from Japan", "chalk": "drawn with chalk",
        "glass": "made of colored glass panes",
    },
    "species": {
        "dog": "face of a puppy", "cat": "face of a kitten", "pig": "face of a piglet", "bear": "grizzly bear",
        "rabbit": "face of a bunny", "fox": "head of a red fox", "person": "face of a human",
    },
}  # fmt: skip
COLORLESS = ("sketch", "neon", "marble", "chalk", "ukiyoe")  # styles that do not show the colors of coats
PLACELESS = ("sketch", "neon", "marble", "chalk", "ukiyoe", "glass", "watercolor")  # styles with a place of their own

Answer = Callable[[Parameters, str, str], Tensor]


@dataclass(frozen=True)
class Question:
    """A question about pictures; `answer(p, species, style)` gives the index [N] of the true answer, -1 for none."""

    name: str
    phrases: Callable[[str], tuple[tuple[str, ...], ...]]
    answer: Answer
    weight: float


def _binned(values: Tensor, *ends: float) -> Tensor:
    return torch.bucketize(values.flatten().contiguous(), torch.tensor(ends))


def _unless(condition: bool, index: Tensor) -> Tensor:
    return torch.full_like(index, -1) if condition else index


def _coat(p: Parameters, species: str, style: str) -> Tensor:
    return _unless(style in COLORLESS, (p.coat.flatten() * 4).round().long())


def _pattern(p: Parameters, species: str, style: str) -> Tensor:
    index = pattern_index(p)
    striped_forehead = (index == 0) & (p.marking.flatten() > 0.5)
    unseen = species in ("person", "bear", "fox", "pig") or style in ("neon", "marble", "chalk")
    return _unless(unseen, torch.where(striped_forehead, -1, index))


def _ears(p: Parameters, species: str, style: str) -> Tensor:
    return _unless(species not in EAR_WORDS, (p.ear_kind.flatten() > SECOND_EARS_FROM).long())


def _fur(p: Parameters, species: str, style: str) -> Tensor:
    fur = p.fur.flatten()
    seen = species in ("dog", "cat", "bear", "rabbit", "fox") and style in ("photo", "watercolor", "chalk")
    return _unless(not seen, torch.where((fur > 0.3) & (fur < 0.7), -1, (fur > 0.5).long()))


def _hue(p: Parameters, species: str, style: str) -> Tensor:
    index = (p.hue.flatten() * len(HUE_WORDS)).round().long() % len(HUE_WORDS)
    return _unless(style in PLACELESS, torch.where(place_index(p) == 0, index, -1))


def _turn(p: Parameters, species: str, style: str) -> Tensor:
    yaw = p.yaw.flatten()
    unclear = ((yaw - 0.36).abs() < 0.05) | ((yaw - 0.64).abs() < 0.05)
    return torch.where(unclear, -1, _binned(p.yaw, 0.36, 0.64))


def _mouth(p: Parameters, species: str, style: str) -> Tensor:
    mouth = p.mouth.flatten()
    unclear = ((mouth - 0.30).abs() < 0.08) | ((mouth - 0.70).abs() < 0.05)
    return torch.where(unclear, -1, _binned(p.mouth, 0.30, 0.70))


def _hair(p: Parameters, species: str, style: str) -> Tensor:
    bald = haircut_index(p) == 5
    index = (p.hair.flatten() * 4).round().long()
    return _unless(species != "person" or style in COLORLESS, torch.where(bald, -1, index))


def _beard(p: Parameters, species: str, style: str) -> Tensor:
    cut = haircut_index(p)
    long = (cut == 1) | (cut == 2) | (cut == 3)
    full = p.marking.flatten()
    return _unless(
        species != "person" or style == "neon", torch.where(long, 0, torch.where((full - BEARD_FROM).abs() < 0.06, -1,
                                                                                  (full > BEARD_FROM).long()))
    )  # fmt: skip


QUESTIONS = (
    Question("coat", lambda a: COAT_WORDS[a], _coat, 0.3),
    Question("pattern", lambda a: PATTERN_WORDS, _pattern, 0.2),
    Question("ears", lambda a: EAR_WORDS.get(a, ((), ())), _ears, 0.3),
    Question("fur", lambda a: FUR_WORDS, _fur, 0.1),
    Question("place", lambda a: PLACE_WORDS, lambda p, a, s: _unless(s in PLACELESS, place_index(p)), 0.2),
    Question("hue", lambda a: tuple((f"with a {c} background", f"before a {c} wall") for c in HUE_WORDS), _hue, 0.1),
    Question("turn", lambda a: TURN_WORDS, _turn, 0.3),
    Question("eyes", lambda a: EYE_WORDS, lambda p, a, s: (p.lids.flatten() >= CLOSED_BELOW).long(), 0.1),
    Question("mouth", lambda a: MOUTH_WORDS, _mouth, 0.1),
    Question("glasses", lambda a: GLASSES_WORDS, lambda p, a, s: (p.glasses.flatten() > GLASSES_FROM).long(), 0.3),
    Question("collar", lambda a: SCARF_WORDS if a == "person" else COLLAR_WORDS,
             lambda p, a, s: (p.collar.flatten() > COLLAR_FROM).long(), 0.2),
    Question("hat", lambda a: HAT_WORDS, lambda p, a, s: hat_index(p) + 1, 0.3),
    Question("haircut", lambda a: HAIRCUT_WORDS, lambda p, a, s: _unless(a != "person", haircut_index(p)), 0.2),
    Question("hair", lambda a: HAIR_COLOR_WORDS, _hair, 0.2),
    Question("beard", lambda a: BEARD_WORDS, _beard, 0.1),
)  # fmt: skip
BY_NAME = {question.name: question for question in QUESTIONS}
if len(HAT_WORDS) != len(HATS) + 1:
    raise AssertionError("every hat needs words")


def phrase_of(question: Question, species: str, answer: int, pick: random.Random) -> str:
    """A phrase for an answer, with the species: adjectives before its name, the rest behind."""
    words = pick.choice(question.phrases(species)[answer])
    name = pick.choice(SPECIES_WORDS[species])
    behind = words.split()[0] in ("with", "without", "in", "on", "at", "by", "looking", "turned", "facing", "wearing")
    behind = behind or words.split()[0] in ("from", "outdoors", "outside", "indoors", "inside", "before", "celebrating")
    return f"{name} {words}" if behind or words in ("awake", "sleeping", "blinking") else f"{words} {name}"


def framed(pick: random.Random, phrases: list[str]) -> list[str]:
    """Phrases in prompt templates: half of the time one template for all, half of the time one each; some plain."""
    chance = pick.random()
    if chance < 0.12:
        return phrases
    if chance < 0.55:
        template = pick.choice(TEMPLATES)
        return [template(p) for p in phrases]
    return [pick.choice(TEMPLATES)(p) for p in phrases]


def style_captions(pick: random.Random) -> list[str]:
    """A fresh caption for each style."""
    return framed(pick, [pick.choice(STYLE_WORDS[s]) for s in STYLES])


def species_captions(pick: random.Random) -> list[str]:
    """A fresh caption for each species."""
    return framed(pick, [pick.choice(SPECIES_WORDS[a]) for a in SPECIES])


def joined_captions(pick: random.Random) -> list[str]:
    """A fresh caption for each species in each style, styles first."""
    form = pick.choice(JOINED)
    pairs = [(pick.choice(STYLE_WORDS[s]), pick.choice(SPECIES_WORDS[a])) for s in STYLES for a in SPECIES]
    both = [form.format(s=style, a=species) for style, species in pairs]
    return both if pick.random() < 0.3 else framed(pick, both)


def answer_captions(question: Question, species: str, pick: random.Random) -> list[str]:
    """A fresh caption for each answer to a question about a species."""
    count = len(question.phrases(species))
    return framed(pick, [phrase_of(question, species, k, pick) for k in range(count)])


def vocabulary() -> list[str]:
    """Texts that together hold every word the captions can use."""
    texts = [template("photo") for template in TEMPLATES]
    texts += [form.format(s="sketch", a="dog") for form in JOINED]
    texts += [words for many in (STYLE_WORDS, SPECIES_WORDS) for group in many.values() for words in group]
    for question in QUESTIONS:
        texts += [words for a in SPECIES for group in question.phrases(a) for words in group]
    return texts
