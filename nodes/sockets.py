"""Socket types of the pack, widgets that several nodes share, and options that every supported ComfyUI understands."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from comfy_api.latest import io

from ..nada.settings import NamedSetting

CATEGORY = "StyleGAN-NADA"
LOADING, TRAINING, LATENTS, GENERATORS, IMAGES, PHOTOS, SAVING = (
    f"{CATEGORY}/{room}" for room in ("loading", "training", "latents", "generators", "images", "photos", "saving")
)

NADAGenerator = io.Custom("NADA_GENERATOR")
"""A `nada.Generator` on the CPU, its tensors fit for training. Nodes never change the one they are given."""

NADAClip = io.Custom("NADA_CLIP")
"""A `nada.ClipEnsemble` on the CPU, its tensors fit for training."""

NADALatents = io.Custom("NADA_LATENTS")
"""Latent codes ws: a float32 tensor [N, num_ws, w_dim] on the CPU."""

NADAStyle = io.Custom("NADA_STYLE")
"""A `nada.Style`. Nodes never change the one they are given."""

NADAMapper = io.Custom("NADA_MAPPER")
"""A `nada.LatentMapper` on the CPU, without gradients. Nodes never change the one they are given."""

NADAOptions = io.Custom("NADA_OPTIONS")
"""Settings of a training that have no widget on its node: {input of NADA Training Options: value}."""

NADASnapshots = io.Custom("NADA_SNAPSHOTS")
"""`nada.Snapshots` of a training, on the CPU."""

NADAEncoder = io.Custom("NADA_ENCODER")
"""A `nada.photo.contract.Encoder`, a module on the CPU without gradients."""

NADACrops = io.Custom("NADA_CROPS")
"""A list of `nada.photo.align.Placed`: squares in a batch of photos, one for each aligned picture."""

ADVANCED = {"advanced": True}
"""`extra_dict` of an advanced input, which the frontend folds if it can. The keyword `advanced` needs ComfyUI 0.10."""

MAX_SEED = 0xFFFFFFFFFFFFFFFF


def widget(setting: NamedSetting, high: float | None = None, main: bool = False, **changes: Any) -> io.Input:
    """Return the widget of a library setting, with name, default, range, choices and help from the configuration.

    Args:
        setting: setting of one type: bool, int, float or str.
        high: largest value of a number, below the library's.
        main: True for a widget that is always visible; others are optional, and the frontend folds them.
        changes: options of the widget to replace, such as `tooltip`.
    """
    options: dict[str, Any] = {"default": setting.default, "tooltip": setting.help}
    options |= {} if main else {"optional": True, "extra_dict": ADVANCED}
    (kind,) = setting.kinds
    if kind in (int, float):
        limits = {"min": setting.low, "max": setting.high if high is None else high}
        options |= {name: kind(limit) for name, limit in limits.items() if limit is not None}
    if kind is float:
        options["step"] = 0.01
    if setting.choices:
        options["options"] = list(setting.choices)
    socket = io.Combo if setting.choices else {bool: io.Boolean, int: io.Int, float: io.Float, str: io.String}[kind]
    return socket.Input(setting.name, **options | changes)


def training_seed(**changes: Any) -> io.Input:
    """Return the seed widget of a training, without control after generate. `changes` are options to replace."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=False,
        tooltip="Random seed. It does not change by itself, because each new seed trains again.",
        **changes,
    )


def preview_every(**changes: Any) -> io.Input:
    """Return the widget for the iterations between two previews. `changes` are options to replace."""
    return io.Int.Input(
        "preview_every",
        default=10,
        min=0,
        max=1000,
        tooltip="Number of iterations between two previews on the node; 0 shows only the last.",
        **changes,
    )


def preview_images() -> io.Input:
    """Return the widget for the number of pictures in a preview."""
    return io.Int.Input(
        "preview_images",
        default=4,
        min=1,
        max=36,
        optional=True,
        tooltip="Number of pictures that the preview shows before and after.",
        extra_dict=ADVANCED,
    )


def known_options(**options: Any) -> dict[str, Any]:
    """Return the options of a schema that this ComfyUI knows. An unknown one would keep the whole pack from loading."""
    known = {field.name for field in fields(io.Schema)}
    return {name: value for name, value in options.items() if name in known}
