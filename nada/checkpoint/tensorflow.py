"""TensorFlow pickles of NVlabs/stylegan2 and NVlabs/stylegan2-ada: the generators of configs B to F.

A file is a tuple (G, D, Gs) of networks, Gs with the moving average of the weights. A network is its variables by
name, the arguments it was built with, the networks inside it, and its source code, of which only the function's name is
looked at. Convolutions are stored as [height, width, in, out], dense layers as [in, out], and a modulation's bias
without the 1 that it is around.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from ..errors import CheckpointError
from .blueprint import Blueprint, confirm, infer_config
from .document import Document
from .tensors import TensorView

KIND = r"(^|\.)tflib\.|^tfutil\."
PREFIXES = ("2.", "", "0.")  # Gs of a tuple, Gs alone, G of a tuple
MARKS = ("synthesis.4x4/Const/const", "mapping.Dense0/weight")
LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
FIELDS = {"bias": "bias", "weight": "weight", "mod_weight": "affine.weight", "mod_bias": "affine.bias"}
FIELDS |= {"noise_strength": "noise_strength"}
HWIO = (3, 2, 0, 1)  # to [out, in, height, width]

# Arguments of the networks that change the arithmetic -> the only value that is known here. Left out, they have it.
FIXED = {"nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu", "use_noise": True, "normalize_latents": True}
FIXED |= {f"resample_kernel.{i}": tap for i, tap in enumerate((1, 3, 3, 1))}
READ = {"architecture", "conv_clamp", "mapping_lrmul", "label_size"}
# Arguments that the shapes of the tensors repeat, or that matter only while a network is trained.
IGNORED = {"latent_size", "dlatent_size", "resolution", "num_channels", "mapping_layers", "mapping_fmaps"}
IGNORED |= {"label_fmaps", "fmap_base", "fmap_max", "fmap_min", "fmap_decay", "num_fp16_res", "dtype", "w_avg_beta"}
IGNORED |= {"dlatent_avg_beta", "truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val"}
IGNORED |= {"style_mixing_prob", "structure", "synthesis_func", "mapping_func", "fused_modconv", "randomize_noise"}


def convert(document: Document) -> Blueprint:
    """The generator under canonical names.

    Raises:
        CheckpointError: it is incomplete, still growing, or of a kind that cannot be loaded.
    """
    prefix = next((p for p in PREFIXES if all(p + mark in document.tensors for mark in MARKS)), None)
    if prefix is None:
        raise CheckpointError(
            "this is a TensorFlow pickle of NVIDIA's, but not of a StyleGAN2 generator (StyleGAN and config A are "
            "another architecture); take a config-e or config-f file, or its PyTorch version"
        )
    network = document.under(prefix)
    arguments = network.under("static_kwargs.").attributes
    _check(arguments, network)
    tensors: dict[str, TensorView] = {}
    for name, value in (network.tensors | _numbers(network)).items():
        tensors |= _renamed(name, value, max_resolution=_resolution(network))
    config = infer_config(
        tensors,
        conv_clamp=arguments.get("conv_clamp"),
        mapping_lr_multiplier=arguments.get("mapping_lrmul", 0.01),
        demod_eps="scaled",
    )
    confirm(
        config,
        architecture=arguments.get("architecture", config.architecture),
        c_dim=arguments.get("label_size", config.c_dim),
    )
    return Blueprint(config, tensors)


def _check(arguments: dict[str, Any], network: Document) -> None:
    """Raises CheckpointError if the network was built with arguments that make it another one."""
    for name, value in arguments.items():
        if name in FIXED and value != FIXED[name]:
            raise CheckpointError(f"this network was built with {name} = {str(value)[:40]}; it must be {FIXED[name]}")
        if name not in FIXED and name.partition(".")[0] not in READ | IGNORED:
            raise CheckpointError(f"this network was built with an argument that is not known here: {name[:80]}")
    if arguments.get("label_size") and "mapping.LabelEmbed/weight" not in network.tensors:
        raise CheckpointError(
            "this network takes labels the way NVlabs/stylegan2 did, which cannot be loaded; those of stylegan2-ada can"
        )
    if any(network.attributes.get(lod) for lod in ("lod", "synthesis.lod")):
        raise CheckpointError("this network was saved while it was still growing; take a later snapshot")


def _resolution(network: Document) -> int:
    found = (re.fullmatch(r"synthesis\.(\d{1,4})x\1/.+", name) for name in network.tensors)
    return max((int(m[1]) for m in found if m), default=4)


def _numbers(network: Document) -> dict[str, TensorView]:
    """Variables of no dimensions, which NumPy pickles as numbers and not as arrays."""
    numbers = {n: v for n, v in network.attributes.items() if n.endswith("/noise_strength") and type(v) is float}
    return {name: TensorView.number(value) for name, value in numbers.items()}


def _renamed(name: str, view: TensorView, max_resolution: int) -> dict[str, TensorView]:
    """{canonical name: tensor}, empty for what is only needed while the network grows; unknown names stay."""
    if name == "dlatent_avg":
        return {"mapping.w_avg": view}
    if m := re.fullmatch(r"mapping\.(?:Dense(\d{1,2})|LabelEmbed)/(weight|bias)", name):
        layer = f"mapping.fc{m[1]}" if m[1] else "mapping.embed"
        return {f"{layer}.{m[2]}": view.permuted(1, 0) if m[2] == "weight" else view}
    if name == "synthesis.4x4/Const/const":
        return {"synthesis.b4.const": view.with_rank(3)}
    if m := re.fullmatch(r"synthesis\.noise(\d{1,2})", name):
        n = int(m[1])
        return {f"synthesis.b{1 << (n + 5) // 2}.conv{1 - n % 2}.noise_const": view.with_rank(2)}
    if m := re.fullmatch(r"synthesis\.ToRGB_lod(\d{1,2})/(.+)", name):  # configs B to D, which grow
        if int(m[1]):
            return {}
        name = f"synthesis.{max_resolution}x{max_resolution}/ToRGB/{m[2]}"
    if m := re.fullmatch(r"synthesis\.(\d{1,4})x\1/(\w+)/(\w+)", name):
        resolution, layer, field = m.groups()
        if layer in LAYERS and field in FIELDS:
            return {f"synthesis.b{resolution}.{LAYERS[layer]}.{FIELDS[field]}": _reordered(view, layer, field)}
    return {name: view}


def _reordered(view: TensorView, layer: str, field: str) -> TensorView:
    if field == "weight":
        return view.permuted(*HWIO).then(_flipped) if layer == "Conv0_up" else view.permuted(*HWIO)
    if field == "mod_weight":
        return view.permuted(1, 0)
    return view.then(_plus_one) if field == "mod_bias" else view


def _flipped(kernel: torch.Tensor) -> torch.Tensor:
    return kernel.flip(2, 3)  # TensorFlow convolves transposed, PyTorch correlates


def _plus_one(bias: torch.Tensor) -> torch.Tensor:
    return bias + 1
