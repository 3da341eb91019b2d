"""Presets: settings for the paper's examples, and for kinds of change in general."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from ..clip.loading import PAPER_SPEC
from ..generators import Generator

README = "settings from the authors' README"
AUTHORS = "settings from an answer of the authors to users"
TEXTS = "texts from the authors' project page; the other settings are ours, by their rules of thumb"
OURS = "settings of this project"
B32 = "ViT-B/32"
PAPER_CODES = 18  # number of codes of a 1024 px generator, to which the presets' numbers of layers refer
# A style changes every layer a little, so none is frozen. Another identity or species must change shape but not break
# the rest, so fewer layers train. They are selected in every 4th iteration on 4 images: on the demo models that leads
# as far as the paper's selection in each iteration on 8 (docs/paper_claims.md), in a fraction of the time
# (docs/speed.md). The learning rate is left to the configuration: half of it keeps more and reaches less.
SELECT_EVERY_4TH = {"select_every": 4, "select_batch": 4}
STYLE = {"layers": "all", "iterations": 300}
PERSON = {"layers": "all", "iterations": 200}
SPECIES = {"layers": "auto", **SELECT_EVERY_4TH, "iterations": 200}
SCENE = {"layers": "all", "iterations": 300}
SHAPE = {"layers": 5, **SELECT_EVERY_4TH, "iterations": 300}


@dataclass(frozen=True)
class Preset:
    """Settings with their reasons."""

    kind: str
    """Kind of change, such as "style" or "identity"."""
    domain: str
    """Images that the base generator should make, such as "faces"."""
    settings: dict[str, Any]
    """Fields of `AdaptConfig`. A number of layers refers to a 1024 px generator."""
    why: str
    """Reason for these settings, in a sentence."""
    evidence: str = TEXTS
    """Source of the settings."""
    clip: str = PAPER_SPEC
    """The CLIP models and their weights, for `load_clip`."""

    def settings_for(self, generator: Generator) -> dict[str, Any]:
        """The settings scaled to a generator: a number of layers shrinks in proportion to its latent codes.

        Returns:
            Fields of `AdaptConfig`; a number of layers is at least 1.
        """
        layers = self.settings.get("layers")
        if not isinstance(layers, int):
            return dict(self.settings)
        return {**self.settings, "layers": max(1, round(layers * generator.num_ws / PAPER_CODES))}

    def describe(self) -> dict[str, Any]:
        """The preset as JSON-serializable data."""
        return asdict(self)


def _pair(kind: str, domain: str, base: dict[str, Any], source: str, target: str, why: str, **more: Any) -> Preset:
    return Preset(kind, domain, {"source": source, "target": target, **base}, why, **more)


def _style(target: str, why: str, domain: str = "faces", source: str = "photo") -> Preset:
    return _pair("style", domain, STYLE, source, target, why)


def _person(target: str, why: str) -> Preset:
    return _pair("identity", "faces", PERSON, "human", target, why)


def _animal(target: str, why: str = "Another species keeps the pose if only the layers that matter train.") -> Preset:
    return _pair("animal", "dogs", SPECIES, "dog", target, why)


def _church(target: str, why: str) -> Preset:
    return _pair("church", "churches", SCENE, "church", target, why)


def _car(source: str, target: str, why: str) -> Preset:
    return _pair("car", "cars", SCENE, source, target, why)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # Presets for kinds of change in general, without texts.
        "style": Preset(
            "general", "anything", STYLE, "Texture and color change everywhere, so every layer trains.", OURS
        ),
        "small-shape-change": Preset(
            "general", "anything", SHAPE, "A few chosen layers keep what the text does not mention.", OURS
        ),
        "new-species": Preset(
            "general",
            "animals",
            SPECIES,
            "Two thirds of the layers, selected repeatedly as in the paper, change the shape; training all is faster.",
            OURS,
        ),
        "within-domain": Preset(
            "general",
            "anything",
            {"layers": "all", "iterations": 50},
            "A change that the generator nearly makes already, such as a smile, takes few iterations; more overshoot.",
            "iterations from the authors' notebook",
        ),
        "style-images": Preset(
            "general",
            "anything",
            {"layers": "all", "iterations": 500},
            "Pictures instead of a text, about three of them: their direction is less clear, so it takes longer.",
            "400-600 iterations from the authors' notebook",
        ),
        "small-file": Preset(
            "general",
            "anything",
            {
                "train": "stylespace", "train_torgb": True, "layers": "all", "batch": 4, "iterations": 250,
                "angle_weight": 0.25,
            },
            "An offset per style channel is enough for many styles, and makes a file of kilobytes.",
            "batch, iterations and loss weight from the code of StyleDomain (arXiv 2212.10229), to-RGB layers ours",
        ),
        # The paper's examples.
        "sketch": _pair(
            "style", "faces", {**STYLE, "iterations": 301}, "photo", "sketch",
            "The example of the README: all 18 layers, both CLIP models.", evidence=README,
        ),
        "pixar": _style("3d render in the style of Pixar", "Says that it is a render: the name alone is vague."),
        "modigliani": _style("Modigliani painting", "A painter's shapes and palette; stop earlier to keep the person."),
        "mona-lisa": _style("Mona Lisa painting", "One famous picture, which late iterations repeat: pick early."),
        "ukiyo-e": _style("Ukiyo-e painting", "Flat colors and outlines in every layer."),
        "raphael": _style("Raphael painting", "Close to photographs in shape; mostly palette and brush."),
        "botero": _style("Fernando Botero painting", "The teaser's example: rounder shapes come with the style."),
        "pixel-art": _style("Pixel art", "Coarse blocks are texture to a generator; all layers train."),
        "watercolor": _style("Watercolor art", "Washes and paper; the source text names what the pictures are now."),
        "watercolor-thick": _style("Watercolor art with thick brush", "The longer phrase asks for visible strokes."),
        "white-walker": _pair(
            "identity", "faces", {**PERSON, "iterations": 201, "mixing": 0.9}, "human", "white walker",
            "Skin and eyes change; mixed codes are the authors' choice, and safe here, as both generators share them.",
            evidence=AUTHORS,
        ),
        "plastic-puppet": _pair(
            "identity", "faces", {"layers": 5, "iterations": 601}, "human", "plastic puppet",
            "The ablation's example: five of 17 layers chosen in each iteration, long training, one CLIP model.",
            evidence=AUTHORS, clip=B32,
        ),
        "werewolf": _person("werewolf", "Fur and snout; users got it right only without mismatched style mixing."),
        "zombie": _person("zombie", "Mostly skin and eyes."),
        "neanderthal": _person("Neanderthal", "The skull's shape changes moderately."),
        "elf": _person("elf", "Ears and skin; pick an early iteration for a subtle one."),
        "mark-zuckerberg": _person("Mark Zuckerberg", "One person: variety falls as iterations pass, so pick early."),
        "joker": _animal("The Joker", "A person's paint on an animal: face colors more than shape."),
        "nicolas-cage": _animal("Nicolas Cage", "A long way from a dog; two thirds of the layers keep the pose."),
        "bugs-bunny": _animal("Bugs Bunny", "A drawing and another species at once."),
        **{
            name: _animal(name)
            for name in (
                "bear", "otter", "badger", "boar", "capybara", "fox", "hamster", "koala", "lion", "meerkat", "pig",
                "skunk", "wolf",
            )
        },
        "hut": _church("hut", "The building's type changes, its place in the picture stays."),
        "cryengine-new-york": _pair(
            "church", "churches", SCENE, "Photo of a Church", "Cryengine render of New York City",
            "The teaser's example: medium and subject change together, and both texts name both.",
        ),
        "new-york": _church("New York City", "Towers of another kind."),
        "shibuya": _church("Shibuya at night", "Light and signs; night is most of the change."),
        "snowy-mountain": _church("snowy mountain", "Outline and texture; no layer is frozen."),
        "shire": _church("The Shire", "Grass and round doors; the fine layers do much of it."),
        "underwater-ruin": _church("underwater ruin", "The light of the whole picture changes."),
        "minas-morgul": _church("Minas Morgul", "Light and color above all."),
        "car-1920": _car("2015", "1920", "Two years as the texts: what they share, the car, cancels out."),
        "car-dali": _style("Dali painting", "A painter's look on cars.", "cars"),
        "ghost-car": _car("car", "ghost car", "Transparence and glow, which are texture."),
        "gold-car": _car("car", "gold car", "A material: color and gloss in the fine layers."),
        "tron-wheels": _car("chrome wheels", "TRON wheels", "A part of the car, named on both sides, changes alone."),
    }
)  # fmt: skip
