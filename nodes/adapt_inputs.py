"""The inputs of the nodes that adapt, drawn from the library's configuration."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..nada import PHASES, PRESETS, AdaptConfig
from ..nada.settings import settings_of
from ..nada.training.config import IMAGE_DEFAULTS
from .sockets import ADVANCED, NADAClip, NADAGenerator, preview_every, preview_images, training_seed, widget

CONFIG = settings_of(AdaptConfig)
AUTOMATIC = {"iterations": 0, "batch": 0, "learning_rate": -1.0, "views": -1}  # each just below the setting's range
COUNT = "count"  # of `layers`: as many as layer_count says
RECOMMENDED = "recommended"  # of `layers`: automatic
NO_PRESET = "none"


def text_inputs() -> list[io.Input]:
    """The models, and what to adapt to in words."""
    return [
        io.Combo.Input(
            "preset",
            options=[NO_PRESET, *PRESETS],
            default=NO_PRESET,
            tooltip="Settings for the examples of the paper, and for kinds of change in general. They go before the "
            "widgets: texts, iterations, layers, mixing and others. With none, the widgets count.",
        ),
        *_models(),
        io.String.Input(
            "source",
            default="photo",
            tooltip="What the generator makes now, in a word or two: photo, dog, human. The target is compared "
            "with it, so say only what shall change. Empty: CLIP finds a word for the generator's pictures.",
        ),
        io.String.Input(
            "target",
            default="sketch",
            tooltip="Change this first: what it shall make, said as the counterpart of the source. photo -> sketch, "
            "photo -> watercolor painting, dog -> pig. Blends: sketch:2 | watercolor:1.",
        ),
    ]


def image_inputs() -> list[io.Input]:
    """The models, and what to adapt to in pictures."""
    return [
        *_models(),
        io.Image.Input(
            "style_images",
            tooltip="Change this first: pictures of what it shall make, about three, as a batch (Batch Images joins "
            "them). The square in the middle of each counts.",
        ),
        io.String.Input(
            "target",
            default="",
            tooltip="What matters in the pictures, such as sketch. Empty: all of it, which may include what they show.",
        ),
        io.Float.Input(
            "image_share",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="With a target text: the pictures' part of the target; the text has the rest.",
        ),
        io.String.Input(
            "source",
            default="",
            tooltip="What the generator makes now, the counterpart of the target text: photo, dog, human. Empty: CLIP "
            "finds a word for the generator's pictures.",
        ),
    ]


def _models() -> list[io.Input]:
    return [
        NADAGenerator.Input("generator", tooltip="The generator to start from; it is not changed."),
        NADAClip.Input("clip", tooltip="The CLIP models that judge: demo for the demo generator, OpenAI's for photos."),
    ]


def training_inputs(style_images: bool = False) -> list[io.Input]:
    """How long, and in what steps."""
    defaults = {name: CONFIG[name].default for name in IMAGE_DEFAULTS} | (IMAGE_DEFAULTS if style_images else {})
    return [
        io.Int.Input(
            "iterations",
            default=AUTOMATIC["iterations"],
            min=AUTOMATIC["iterations"],
            max=100_000,
            tooltip=f"Training steps. 0: as many as the generator's file recommends, else {defaults['iterations']}. "
            "Too weak: more; losing shape and variety: fewer. A style takes 200-400, a change of subject 150-200, a "
            "small change 50.",
        ),
        io.Int.Input(
            "batch",
            default=AUTOMATIC["batch"],
            min=AUTOMATIC["batch"],
            max=64,
            tooltip=f"Images per step. 0: as many as the generator's file recommends, else {defaults['batch']}. More "
            "is steadier and slower; 1 if the memory does not suffice.",
        ),
        io.Float.Input(
            "learning_rate",
            default=AUTOMATIC["learning_rate"],
            min=AUTOMATIC["learning_rate"],
            max=0.1,
            step=0.0001,
            tooltip="Size of the steps. -1: what the generator's file recommends, else as 0. 0: the rate that suits "
            "the generator's width (0.0016 for 512 features, as in the paper). Raise it if hardly anything changes, "
            "lower it if pictures break.",
        ),
        training_seed(),
        preview_every(),
    ]


def advanced_inputs() -> list[io.Input]:
    """Those that the frontend folds away."""
    return [
        io.Combo.Input(
            "layers",
            options=[RECOMMENDED, "all", "auto", COUNT, *PHASES],
            default=RECOMMENDED,
            optional=True,
            tooltip="Which layers each step trains. 'recommended' is what the generator's file says, else 'all'. 'all' "
            "trains every layer without picking: for styles, and fastest. 'auto' picks the two thirds that the target "
            "text moves most: for another subject, such as dog -> pig. 'count' picks as many as layer_count says. The "
            "others are fixed sets, after the authors' code.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "layer_count",
            default=12,
            min=1,
            max=18,
            optional=True,
            tooltip="Only for layers = count. Fewer keep more of the original. A 1024 px generator has 17 to pick "
            "from, a 64 px one 9.",
            extra_dict=ADVANCED,
        ),
        widget(CONFIG["select_every"], 1000),
        widget(CONFIG["select_batch"], 64),
        widget(CONFIG["mixing"]),
        preview_images(),
        io.Int.Input(
            "views",
            default=AUTOMATIC["views"],
            min=AUTOMATIC["views"],
            max=16,
            optional=True,
            tooltip="Show CLIP so many randomly moved copies of each image instead of the image. 0 is the paper. -1: "
            "what the generator's file recommends, else 2 for small CLIP models such as the demo's, which are easily "
            "fooled, and 0 for others.",
            extra_dict=ADVANCED,
        ),
        widget(CONFIG["train"]),
        widget(CONFIG["rank"], 128),
        *(widget(CONFIG[name]) for name in ("train_torgb", "train_const", "train_mapping")),
        *(widget(CONFIG[f"{loss}_weight"], 100.0) for loss in ("angle", "norm", "patch")),
        io.Int.Input(
            "snapshots",
            default=6,
            min=1,
            max=24,
            optional=True,
            tooltip="How many moments to keep for NADA Pick Snapshot, at even distances. Each takes about half of the "
            "generator's file in memory and on disk.",
            extra_dict=ADVANCED,
        ),
        widget(CONFIG["precision"]),
        widget(CONFIG["cuda_graphs"]),
    ]


def given(layers: str = RECOMMENDED, layer_count: int = 1, **widgets: Any) -> dict[str, Any]:
    """The settings that widgets give: {name: value}, without those that are left automatic.

    A learning rate of 0 is given too: None, which stands for the rate by the generator's width.
    """
    settings = {name: value for name, value in widgets.items() if name not in AUTOMATIC or value >= CONFIG[name].low}
    if settings.get("learning_rate") == 0:
        settings["learning_rate"] = None
    return settings if layers == RECOMMENDED else {**settings, "layers": layer_count if layers == COUNT else layers}
