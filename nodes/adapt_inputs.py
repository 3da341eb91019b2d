"""Inputs of the training nodes, derived from the library's configuration."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..nada import PHASES, PRESETS, AdaptConfig, UsageError
from ..nada.generators import Generator
from ..nada.settings import settings_of
from ..nada.training.config import IMAGE_DEFAULTS
from .presets import menu
from .sockets import (
    ADVANCED,
    NADAClip,
    NADAGenerator,
    NADAOptions,
    preview_every,
    preview_images,
    training_seed,
    widget,
)

CONFIG = settings_of(AdaptConfig)
AUTOMATIC = {"iterations": 0, "batch": 0, "learning_rate": -1.0, "views": -1}  # each just below the setting's range
COUNT = "count"  # value of `layers`: as many as layer_count says
RECOMMENDED = "recommended"  # value of `layers`: automatic
NO_PRESET = "none"
LOSSES = ("angle", "norm", "patch")
SWITCHES = ("train_torgb", "train_const", "train_mapping")


def text_inputs() -> list[io.Input]:
    """Return the inputs of a training towards a text: models and texts."""
    return [
        *model_inputs(),
        io.String.Input(
            "source",
            default="photo",
            tooltip="Source text: what the generator makes now, in a word or two, such as photo, dog or human. Only "
            "the difference to the target counts, so name only what should change. Empty: CLIP finds a word for the "
            "generator's pictures.",
        ),
        io.String.Input(
            "target",
            default="sketch",
            tooltip="Change this first: what the generator should make, as the counterpart of the source. photo -> "
            "sketch, photo -> watercolor painting, dog -> pig. Blends: sketch:2 | watercolor:1.",
            extra_dict={"presets": menu()},  # for web/editor.js
        ),
    ]


def image_inputs() -> list[io.Input]:
    """Return the inputs of a training towards pictures: models, pictures and an optional text."""
    return [
        *model_inputs(),
        io.Image.Input(
            "style_images",
            tooltip="Change this first: about three pictures of the target, as a batch (Batch Images joins them). Only "
            "the square in the middle of each is used.",
        ),
        io.String.Input(
            "target",
            default="",
            tooltip="Target text: what matters in the pictures, such as sketch. Empty: everything in them, perhaps "
            "also what they show.",
        ),
        io.Float.Input(
            "image_share",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Share of the pictures in the target, from 0 to 1; the target text has the rest. Without a text "
            "it is 1.",
        ),
        io.String.Input(
            "source",
            default="",
            tooltip="Source text: what the generator makes now, as the counterpart of the target text: photo, dog, "
            "human. Empty: CLIP finds a word for the generator's pictures.",
        ),
    ]


def model_inputs() -> list[io.Input]:
    """Return the inputs of every training: models, and the options that have no widget."""
    return [
        NADAGenerator.Input("generator", tooltip="The generator to start from; it is not changed."),
        NADAClip.Input(
            "clip",
            tooltip="The CLIP models that compare pictures with texts: demo for the demo generator, OpenAI's for "
            "photos.",
        ),
        NADAOptions.Input(
            "options",
            optional=True,
            tooltip="Settings that have no widget here, from NADA Training Options. Leave it open for the defaults.",
        ),
    ]


def training_inputs(style_images: bool = False) -> list[io.Input]:
    """Return the widgets that stand on the training nodes themselves."""
    defaults = {name: CONFIG[name].default for name in IMAGE_DEFAULTS} | (IMAGE_DEFAULTS if style_images else {})
    return [
        io.Int.Input(
            "iterations",
            default=AUTOMATIC["iterations"],
            min=AUTOMATIC["iterations"],
            max=100_000,
            tooltip="Number of training iterations. 0: what the generator's file recommends, else "
            f"{defaults['iterations']}. Use more if the effect is too weak, fewer if shapes and variety are lost. A "
            "style takes 200-400, a change of subject 150-200, a small change 50.",
        ),
        io.Int.Input(
            "batch",
            default=AUTOMATIC["batch"],
            min=AUTOMATIC["batch"],
            max=64,
            tooltip=f"Images per iteration. 0: what the generator's file recommends, else {defaults['batch']}. More is "
            "steadier and slower; use 1 if memory runs out.",
        ),
        io.Float.Input(
            "learning_rate",
            default=AUTOMATIC["learning_rate"],
            min=AUTOMATIC["learning_rate"],
            max=0.1,
            step=0.0001,
            tooltip="Step size of Adam. -1: what the generator's file recommends, else the same as 0. 0: the rate that "
            "suits the generator's width (0.0016 for 512 features, as in the paper). Raise it if hardly anything "
            "changes, lower it if pictures break.",
        ),
        io.Combo.Input(
            "layers",
            options=[RECOMMENDED, "all", "auto", COUNT, *PHASES],
            default=RECOMMENDED,
            optional=True,
            tooltip="Layers that each iteration trains. 'recommended' is what the generator's file says, else 'all'. "
            "'all' trains every layer: fastest, and best for styles. 'auto' picks the two thirds that the target text "
            "moves most: for another subject, such as dog -> pig. 'count' picks as many as layer_count of NADA "
            "Training Options says. The others are fixed sets, as in the authors' code.",
        ),
        training_seed(optional=True),
        preview_every(optional=True),
        preview_images(),
        io.Int.Input(
            "snapshots",
            default=6,
            min=1,
            max=24,
            optional=True,
            tooltip="Number of snapshots to keep for NADA Pick Snapshot, evenly spaced. Each takes about half the "
            "size of the generator's file in memory and on disk.",
            extra_dict=ADVANCED,
        ),
    ]


def style_weight() -> io.Input:
    """Return the widget for the style loss, the last one of a training towards pictures."""
    return io.Float.Input(
        "style_weight",
        default=0.0,
        min=0.0,
        max=100.0,
        step=0.25,
        optional=True,
        tooltip="How much colors and textures should be those of the pictures (DiFa's style loss): 0 is off. Try 3 if "
        "the results do not look like the pictures. It costs some variety.",
    )


def option_inputs() -> list[io.Input]:
    """Return the widgets of NADA Training Options: what trains, which layers, losses and views, and precision."""
    return [
        io.DynamicCombo.Input(
            "train",
            options=[
                io.DynamicCombo.Option(kind, [_option("rank", 128)] if kind == "lora" else [])
                for kind in CONFIG["train"].choices
            ],
            optional=True,
            tooltip=CONFIG["train"].help,
        ),
        *map(_option, SWITCHES),
        io.Int.Input(
            "layer_count",
            default=12,
            min=1,
            max=18,
            optional=True,
            tooltip="Number of layers to pick, only for layers = count. Fewer keep more of the original. A 1024 px "
            "generator has 17 to pick from, the demo's of 128 px have 11.",
        ),
        _option("select_every", 1000),
        _option("select_batch", 64),
        _option("mixing"),
        *(_option(f"{loss}_weight", 100.0) for loss in LOSSES),
        views(recommended=True),
        _option("precision"),
        _option("cuda_graphs"),
    ]


def views(recommended: bool = False, **options: Any) -> io.Input:
    """Return the widget for the moved copies of each image that CLIP sees.

    Args:
        recommended: whether the file of a generator may recommend a number.
        options: further options of the widget.
    """
    return io.Int.Input(
        "views",
        default=AUTOMATIC["views"],
        min=AUTOMATIC["views"],
        max=16,
        optional=True,
        tooltip="Number of randomly moved copies of each image that CLIP sees instead of the image. 0: none, as in the "
        "paper. -1: "
        + ("what the generator's file recommends, else " if recommended else "")
        + "2 for small CLIP models such as the demo's, which are easily fooled, and 0 for others.",
        **options,
    )


def _option(name: str, high: float | None = None) -> io.Input:
    return widget(CONFIG[name], high, main=True, optional=True)


OPTIONS = (
    *("train", "rank", *SWITCHES, "layer_count", "select_every", "select_batch", "mixing", "views"),
    *(*(f"{loss}_weight" for loss in LOSSES), "precision", "cuda_graphs"),
)
MOVED = ("preset", *OPTIONS)
"""Inputs that the training nodes had in earlier versions. A prompt may still give them."""


def chosen(
    generator: Generator, widgets: dict[str, Any], options: dict[str, Any] | None, moved: dict[str, Any]
) -> dict[str, Any]:
    """Return the settings that a training node was given: {name of `AdaptConfig`: value}, without automatic ones.

    Args:
        generator: the base of the adaptation.
        widgets: values of the node's own widgets.
        options: values from NADA Training Options; None if it is not connected.
        moved: values of a prompt from before that node existed, by the names of `MOVED`. Its preset, which no node has
            any more, overrides everything else, as it did then.

    Raises:
        UsageError: the preset does not exist, or `layers` is "count" and there is no count.
    """
    preset = moved.pop("preset", NO_PRESET)
    if preset not in (NO_PRESET, *PRESETS):
        raise UsageError(f"there is no preset {preset!r}; `nada presets` lists them")
    settings = given(**moved | (options or {}) | widgets)
    return settings | (PRESETS[preset].settings_for(generator) if preset != NO_PRESET else {})


def given(layers: str = RECOMMENDED, layer_count: int | None = None, **widgets: Any) -> dict[str, Any]:
    """Return the settings that widgets give: {name: value}, without those that are left automatic.

    A learning rate of 0 becomes None, which stands for the rate by the generator's width.

    Raises:
        UsageError: `layers` is "count", and there is no count.
    """
    settings = {name: value for name, value in widgets.items() if name not in AUTOMATIC or value >= CONFIG[name].low}
    if settings.get("learning_rate") == 0:
        settings["learning_rate"] = None
    if layers == COUNT and layer_count is None:
        raise UsageError("layers is 'count'; connect NADA Training Options and set its layer_count")
    return settings if layers == RECOMMENDED else {**settings, "layers": layer_count if layers == COUNT else layers}
