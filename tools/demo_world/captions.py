"""Captions of the demo world's pictures: the words for its styles, species, coats and backgrounds.

Each group below is one question about a picture ("which style?"), and holds several ways to say each answer.
Every phrase is put into the prompt templates that StyleGAN-NADA averages over, so that the difference between the
embeddings of two phrases, template by template, is the difference in what the phrases mean.
"""

from __future__ import annotations

import random

from anatomy import SPECIES
from open_clip import OPENAI_IMAGENET_TEMPLATES
from styles import DRAW

STYLES = tuple(DRAW)
TEMPLATES = tuple(t for t in OPENAI_IMAGENET_TEMPLATES if t("") != "a photo of many .")

STYLE_WORDS = {
    "photo": ("photo", "photo", "photograph", "real photo", "color photo", "realistic photo", "snapshot"),
    "sketch": (
        *["sketch"] * 2, "pencil sketch", "pencil drawing", "drawing", "sketch in pencil", "line drawing",
        "pencil art", "black and white sketch",
    ),
    "pixar": (
        *["3d render in the style of Pixar"] * 2, "3d render", "Pixar", "Pixar character", "Disney Pixar character",
        "3d animation", "animated film character",
    ),
    "watercolor": (
        *["watercolor painting"] * 2, "watercolor", "painting", "watercolour", "watercolor art", "aquarelle",
    ),
    "neon": (*["neon sign"] * 2, "neon", "neon light", "glowing neon sign", "neon tubes", "neon lights"),
    "pixel": (*["pixel art"] * 2, "8-bit pixel art", "pixelated picture", "retro video game sprite", "pixels"),
    "marble": (*["marble statue"] * 2, "statue", "stone sculpture", "sculpture", "white marble bust", "stone statue"),
}  # fmt: skip
SPECIES_WORDS = {
    "dog": ("dog", "dog", "puppy", "dog face"),
    "cat": ("cat", "cat", "kitten", "cat face"),
    "pig": ("pig", "pig", "piglet", "pig face"),
    "bear": ("bear", "bear", "bear cub", "bear face"),
    "rabbit": ("rabbit", "rabbit", "bunny", "rabbit face"),
    "fox": ("fox", "fox", "red fox", "fox face"),
    "person": ("person", "person", "human", "human face", "man or woman", "portrait of a person"),
}
COAT_WORDS = {
    "dog": ("black", "dark brown", "brown", "golden", "white"),
    "cat": ("black", "gray", "brown", "orange", "white"),
    "pig": ("dark pink", "dusky pink", "pink", "light pink", "pale pink"),
    "bear": ("black", "dark brown", "brown", "light brown", "tan"),
    "rabbit": ("dark gray", "gray", "beige", "light gray", "white"),
    "fox": ("dark brown", "dark orange", "orange", "light orange", "cream"),
    "person": ("very dark", "dark", "tan", "fair", "very fair"),
}
BACKGROUND_WORDS = ("red", "yellow", "green", "turquoise", "blue", "purple")

_COMBINED = ("{s} of a {a}", "{s} of a {a}", "a {s} of a {a}", "{a} {s}", "a {a}, {s}", "a {a} as a {s}")


def _fill(pick: random.Random, phrases: list[str]) -> list[str]:
    """Phrases in prompt templates: half of the time one template for all, half of the time one each."""
    if pick.random() < 0.1:
        return phrases
    if pick.random() < 0.5:
        template = pick.choice(TEMPLATES)
        return [template(p) for p in phrases]
    return [pick.choice(TEMPLATES)(p) for p in phrases]


def sample_captions(pick: random.Random) -> dict[str, list[str]]:
    """One caption for every answer to every question, freshly phrased.

    "style": 7; "species": 7; "both": 49, species in style; "coat": 35, coat in species; "background": 6.
    """
    style = [pick.choice(STYLE_WORDS[s]) for s in STYLES]
    species = [pick.choice(SPECIES_WORDS[a]) for a in SPECIES]
    form = pick.choice(_COMBINED)
    both = [
        form.format(s=pick.choice(STYLE_WORDS[s]), a=pick.choice(SPECIES_WORDS[a])) for s in STYLES for a in SPECIES
    ]
    coat = [f"{c} {pick.choice(SPECIES_WORDS[a])}" for a in SPECIES for c in COAT_WORDS[a]]
    background = [f"{c} background" for c in BACKGROUND_WORDS]
    # Now and then as it is, as in "a sketch of a dog", without a template round it.
    combined = both if pick.random() < 0.3 else _fill(pick, both)
    return {
        "style": _fill(pick, style),
        "species": _fill(pick, species),
        "both": combined,
        "coat": _fill(pick, coat),
        "background": _fill(pick, background),
    }


def vocabulary() -> list[str]:
    """Texts that together hold every word the captions can use (so that all other tokens can be left at zero)."""
    words = [w for group in (STYLE_WORDS, SPECIES_WORDS, COAT_WORDS) for many in group.values() for w in many]
    joints = [form.format(s="sketch", a="dog") for form in _COMBINED]
    return [t("sketch") for t in TEMPLATES] + words + joints + [f"{c} background" for c in BACKGROUND_WORDS]
