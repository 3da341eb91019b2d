"""The inputs of the nodes that adapt, drawn from the library's configuration."""

from __future__ import annotations

from dataclasses import fields

from comfy_api.latest import io

from ..nada import PHASES, PRESETS, AdaptConfig
from .sockets import ADVANCED, NADAClip, NADAGenerator, preview_every, preview_images, training_seed, views

CONFIG = {field.name: field for field in fields(AdaptConfig)}
COUNT = "count"  # of `layers`: as many as layer_count says
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


def training_inputs(iterations: int | None = None, batch: int | None = None) -> list[io.Input]:
    """How long, and in what steps; with other defaults than the configuration's."""
    return [
        io.Int.Input(
            "iterations",
            default=iterations or CONFIG["iterations"].default,
            min=1,
            max=100_000,
            tooltip="Training steps. Too weak: more; losing shape and variety: fewer. A style takes 200-400, a change "
            "of subject 150-200, a small change 50.",
        ),
        io.Int.Input(
            "batch",
            default=batch or CONFIG["batch"].default,
            min=1,
            max=64,
            tooltip="Images per step. 4 is steadier and slower; 1 if the memory does not suffice.",
        ),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=0.1,
            step=0.0001,
            tooltip="Size of the steps; 0 for the rate that suits the generator's width (0.0016 for 512 features, as "
            "in the paper). Raise it if hardly anything changes, lower it if pictures break.",
        ),
        training_seed(),
        preview_every(),
    ]


def advanced_inputs() -> list[io.Input]:
    """Those that the frontend folds away."""
    return [
        io.Combo.Input(
            "layers",
            options=["auto", "all", COUNT, *PHASES],
            default="all",
            optional=True,
            tooltip="Which layers each step trains. 'all' trains every layer without picking: for styles, and fastest. "
            "'auto' picks the two thirds that the target text moves most: for another subject, such as dog -> pig. "
            "'count' picks as many as layer_count says. The others are fixed sets, after the authors' code.",
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
        _setting(io.Int, "select_every", 1000),
        _setting(io.Int, "select_batch", 64),
        _setting(io.Float, "mixing", 1.0),
        preview_images(),
        views(),
        _choice("train"),
        _setting(io.Int, "rank", 128),
        *(_switch(name) for name in ("train_torgb", "train_const", "train_mapping")),
        *(_setting(io.Float, f"{loss}_weight", 100.0) for loss in ("angle", "norm", "patch")),
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
        _choice("precision"),
        _switch("cuda_graphs"),
    ]


def _choice(name: str) -> io.Input:
    """One of several words of the configuration."""
    field = CONFIG[name]
    return io.Combo.Input(
        name,
        options=list(field.metadata["choices"]),
        default=field.default,
        optional=True,
        tooltip=field.metadata["help"],
        extra_dict=ADVANCED,
    )


def _switch(name: str) -> io.Input:
    """A yes or no of the configuration."""
    field = CONFIG[name]
    return io.Boolean.Input(
        name, default=field.default, optional=True, tooltip=field.metadata["help"], extra_dict=ADVANCED
    )


def _setting(kind: type[io.Input], name: str, high: float) -> io.Input:
    """A number of the configuration, with its own default, lower end and explanation."""
    field = CONFIG[name]
    return kind.Input(
        name,
        default=field.default,
        min=type(field.default)(field.metadata["low"]),
        max=high,
        optional=True,
        tooltip=field.metadata["help"],
        extra_dict=ADVANCED,
    )
