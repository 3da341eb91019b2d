"""Convert checkpoints of rosinality/stylegan2-pytorch, and of projects with its names, such as StyleGAN-NADA's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blueprint import Blueprint, drop_filters, infer_config, refuse_lost_classes
from .canonical import W_AVG
from .document import Document
from .tensors import TensorView

MARKS = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight")
FILTERS = (".blur.kernel", ".upsample.kernel")
FILTER_GAIN = 4.0  # sum of an upsampling filter, which makes up for the zeros inserted before it
AVERAGES = ("latent_avg", "mean_latent")

# Name of a layer's tensor in rosinality's files -> name and rank here; ranks there are larger by dimensions of size 1.
FIELDS = {
    "conv.weight": ("weight", 4),
    "conv.modulation.weight": ("affine.weight", 2),
    "conv.modulation.bias": ("affine.bias", 1),
    "noise.weight": ("noise_strength", 0),
    "activate.bias": ("bias", 1),
    "bias": ("bias", 1),
}


def matches(document: Document) -> bool:
    """Whether the document holds a generator under rosinality's names."""
    return bool(document.prefixes_of(MARKS))


def convert(document: Document) -> Blueprint:
    """Convert a generator to canonical names; its channels and depths follow from the shapes.

    Raises:
        CheckpointError: the generator is incomplete, or of a kind that cannot be loaded.
    """
    prefix, notes = document.choose(MARKS)
    source = document.under(prefix).tensors
    average = next((document.tensors[name] for name in _averages_beside(prefix) if name in document.tensors), None)
    source = {name: view for name, view in source.items() if name not in AVERAGES}
    tensors = dict(_renamed(name, view) for name, view in drop_filters(source, FILTERS, FILTER_GAIN).items())
    if average is not None:
        tensors[W_AVG] = average.first_row()
    config = infer_config(tensors)
    if config.z_dim > config.w_dim:  # in rosinality's networks both widths are the same
        refuse_lost_classes(config.z_dim, config.w_dim)
    return Blueprint(config, tensors, notes)


def _averages_beside(prefix: str) -> Iterator[str]:
    """Yield the names that the average latent may have: under the generator's prefix, and under each shorter one."""
    words = prefix.split(".")[:-1]
    for depth in reversed(range(len(words) + 1)):
        yield from (".".join([*words[:depth], name]) for name in AVERAGES)


def convert_decoder(document: Document) -> Blueprint:
    """Convert the generator inside a checkpoint of pSp, e4e or ReStyle; see `convert`."""
    blueprint = convert(document)
    blueprint.notes.append("The file is an encoder with its generator; only the generator was loaded.")
    return blueprint


def _renamed(name: str, view: TensorView) -> tuple[str, TensorView]:
    """Return a tensor's canonical name and shape; unknown names are kept, so that the blueprint refuses them."""
    if name == "input.input":
        return "synthesis.b4.const", view.with_rank(3)
    if m := re.fullmatch(r"style\.([1-9]\d?)\.(weight|bias)", name):  # style.0 normalizes z
        return f"mapping.fc{int(m[1]) - 1}.{m[2]}", view
    if m := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
        n = int(m[1])
        return f"synthesis.b{1 << (n + 5) // 2}.conv{1 - n % 2}.noise_const", view.with_rank(2)
    if m := re.fullmatch(r"(conv1|to_rgb1|convs\.\d{1,2}|to_rgbs\.\d{1,2})\.(.+)", name):
        field, rank = FIELDS.get(m[2], (None, 0))
        if field:
            return f"synthesis.{_layer(m[1])}.{field}", view.with_rank(rank)
    return name, view


def _layer(name: str) -> str:
    kind, _, index = name.partition(".")
    match kind:
        case "conv1":
            return "b4.conv1"
        case "to_rgb1":
            return "b4.torgb"
        case "convs":
            return f"b{8 << int(index) // 2}.conv{int(index) % 2}"
    return f"b{8 << int(index)}.torgb"
