"""Checkpoints of rosinality/stylegan2-pytorch, and of the projects that kept its names (StyleGAN-NADA too)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blueprint import Blueprint, drop_filters, infer_config, refuse_lost_classes
from .canonical import W_AVG
from .document import Document
from .tensors import TensorView

MARKS = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight")
FILTERS = (".blur.kernel", ".upsample.kernel")
FILTER_GAIN = 4.0  # of every upsampling filter: zero insertion divides by it
AVERAGES = ("latent_avg", "mean_latent")

# A layer's tensor there -> here, and its rank here; theirs have dimensions of size 1 in addition.
FIELDS = {
    "conv.weight": ("weight", 4),
    "conv.modulation.weight": ("affine.weight", 2),
    "conv.modulation.bias": ("affine.bias", 1),
    "noise.weight": ("noise_strength", 0),
    "activate.bias": ("bias", 1),
    "bias": ("bias", 1),
}


def matches(document: Document) -> bool:
    """Whether the document holds such a generator."""
    return bool(document.prefixes_of(MARKS))


def convert(document: Document) -> Blueprint:
    """The generator under canonical names. Its channels and depths are read from the shapes.

    Raises:
        CheckpointError: it is incomplete, or of a kind that cannot be loaded.
    """
    prefix, notes = document.choose(MARKS)
    source = document.under(prefix).tensors
    average = next((document.tensors[name] for name in _averages_beside(prefix) if name in document.tensors), None)
    source = {name: view for name, view in source.items() if name not in AVERAGES}
    tensors = dict(_renamed(name, view) for name, view in drop_filters(source, FILTERS, FILTER_GAIN).items())
    if average is not None:
        tensors[W_AVG] = average.first_row()
    config = infer_config(tensors)
    if config.z_dim > config.w_dim:  # in this family of networks, one number is the width of both
        refuse_lost_classes(config.z_dim, config.w_dim)
    return Blueprint(config, tensors, notes)


def _averages_beside(prefix: str) -> Iterator[str]:
    """Where the average latent may be: among the generator's tensors, or beside anything that they are wrapped in."""
    words = prefix.split(".")[:-1]
    for depth in reversed(range(len(words) + 1)):
        yield from (".".join([*words[:depth], name]) for name in AVERAGES)


def convert_decoder(document: Document) -> Blueprint:
    """The generator inside a checkpoint of pSp, e4e or ReStyle; see `convert`."""
    blueprint = convert(document)
    blueprint.notes.append("The file is an encoder with its generator; only the generator was loaded.")
    return blueprint


def _renamed(name: str, view: TensorView) -> tuple[str, TensorView]:
    """Canonical name and shape; unknown names stay, to be complained about."""
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
