"""Save generators in the file formats of other projects."""

from __future__ import annotations

import io
import os
from math import log2

import torch
from torch import Tensor

from ..errors import UsageError
from ..files import atomic_path
from ..stylegan2 import Generator, GeneratorConfig, standard_channels
from ..stylegan2.ops import resample_filter
from .canonical import W_AVG
from .rosinality import FIELDS, FILTER_GAIN
from .saving import check_finite

LR_MULTIPLIER = 0.01  # rosinality's default for the mapping network


def save_rosinality(generator: Generator, path: str | os.PathLike[str], new: bool = False) -> list[str]:
    """Write a generator as rosinality/stylegan2-pytorch does: a torch file with "g_ema" and "latent_avg".

    StyleGAN-NADA, pSp, e4e and many others read this format.

    Args:
        generator: the generator; its metadata is not written, the format has no place for it.
        path: the file to create or replace; ".pt" is customary.
        new: never replace a file; see `atomic_path`.

    Returns:
        Sentences for those who load the file, on differences that they may notice.

    Raises:
        UsageError: the format cannot express this kind of generator.
        NadaError: a tensor has numbers that are not finite, or the file cannot be written.
    """
    _refuse_others(generator.config)
    tensors = {name: tensor.detach().cpu() for name, tensor in generator.state_dict().items()}
    check_finite(tensors, path)
    average = tensors.pop(W_AVG)
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        renamed |= _renamed(name, tensor)
    checkpoint = {"g_ema": {name: t.clone() for name, t in renamed.items()}, "latent_avg": average.clone()}
    buffer = io.BytesIO()  # PyTorch's own writer would turn a full disk into an obscure error
    torch.save(checkpoint, buffer)
    with atomic_path(path, new) as temp:
        temp.write_bytes(buffer.getbuffer())
    return _notes(generator.config)


def _refuse_others(config: GeneratorConfig) -> None:
    """Refuse configurations that rosinality's class `Generator` does not have.

    Raises:
        UsageError: a field has a value that the format cannot express.
    """
    expressible = {
        "architecture": "skip",
        "c_dim": 0,
        "img_channels": 3,
        "start": (4, 4),
        "z_dim": config.w_dim,
        "mapping_lr_multiplier": LR_MULTIPLIER,
    }
    for name, value in expressible.items():
        if (own := getattr(config, name)) != value:
            raise UsageError(
                f"this generator's {name} is {own!r}, and rosinality's format can only express {value!r}; "
                "convert it to .safetensors instead"
            )


def _notes(config: GeneratorConfig) -> list[str]:
    notes = []
    usual = [standard_channels(config.resolution, base) for base in (16384, 32768)]
    if config.channels not in usual:
        widths = ", ".join(map(str, config.channels))
        notes.append(f"Its layers have unusual widths ({widths}); rosinality's code, which fixes them, needs a change.")
    if config.conv_clamp is not None:
        notes.append(f"The format has no clamping; images in which activations pass {config.conv_clamp:g} may differ.")
    if config.demod_eps == "raw":
        notes.append("The format places the 1e-8 of demodulation elsewhere; images differ by rounding.")
    return notes


def _renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return a tensor under rosinality's name, in its shape; a layer's weight comes with the layer's filter."""
    room, rest = name.split(".", 1)
    if room == "mapping":
        layer, field = rest.split(".")
        return {f"style.{int(layer.removeprefix('fc')) + 1}.{field}": tensor}
    block, layer, *fields = rest.split(".")
    if layer == "const":
        return {"input.input": tensor[None]}
    resolution, field = int(block.removeprefix("b")), ".".join(fields)
    index = int(log2(resolution)) - 3  # 0 for the block at 8x8
    if field == "noise_const":
        number = 0 if resolution == 4 else 2 * index + 1 + int(layer[-1])
        return {f"noises.noise_{number}": tensor[None, None]}
    prefix = _layer(resolution, index, layer)
    if layer == "torgb" and field == "bias":
        return {f"{prefix}.bias": tensor.reshape(1, -1, 1, 1)}
    renamed = {f"{prefix}.{THEIRS[field]}": _shaped(field, tensor)}
    if field == "weight" and resolution > 4 and layer in FILTERED:
        kernel = resample_filter()[0, 0]
        renamed[f"{prefix}.{FILTERED[layer]}"] = kernel * (FILTER_GAIN / kernel.sum())
    return renamed


FILTERED = {"conv0": "conv.blur.kernel", "torgb": "upsample.kernel"}
THEIRS = {ours: theirs for theirs, (ours, _) in FIELDS.items() if theirs != "bias"}


def _layer(resolution: int, index: int, layer: str) -> str:
    if resolution == 4:
        return {"conv1": "conv1", "torgb": "to_rgb1"}[layer]
    return f"to_rgbs.{index}" if layer == "torgb" else f"convs.{2 * index + int(layer[-1])}"


def _shaped(field: str, tensor: Tensor) -> Tensor:
    if field == "weight":
        return tensor[None]
    return tensor.reshape(1) if field == "noise_strength" else tensor
