"""Convert TensorFlow pickles of NVlabs/stylegan2 and NVlabs/stylegan2-ada: the generators of configs B to F.

A file is a tuple (G, D, Gs) of networks, Gs with the moving average of the weights. A network consists of its variables
by name, the arguments that it was built with, the networks inside it, and its source code, of which only the name of
the function is read. Convolutions are stored as [height, width, in, out], dense layers as [in, out]. The bias of a
modulation is stored as its difference from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from ..errors import CheckpointError
from ..stylegan2 import GeneratorConfig
from .blueprint import Blueprint, confirm, infer_config
from .document import Document
from .tensors import TensorView

KIND = r"(^|\.)tflib\.|^tfutil\."
AVERAGE = re.compile(r"(^|\.)(2|Gs)\.$")  # prefixes that stand for Gs
CONST = re.compile(r"(.*?)synthesis\.(\d{1,4})x(\d{1,4})/Const/const")
BLOCK = re.compile(r"synthesis\.(\d{1,4})x(\d{1,4})/(\w+)/(\w+)")
LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
FIELDS = {"bias": "bias", "weight": "weight", "mod_weight": "affine.weight", "mod_bias": "affine.bias"}
FIELDS |= {"noise_strength": "noise_strength"}
HWIO = (3, 2, 0, 1)  # permutes [height, width, in, out] to [out, in, height, width]

# Arguments of the networks that change the arithmetic -> the only value that is supported, which is also the default.
FIXED = {"nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu", "use_noise": True, "normalize_latents": True}
FIXED |= {f"resample_kernel.{i}": tap for i, tap in enumerate((1, 3, 3, 1))}
READ = {"architecture", "conv_clamp", "mapping_lrmul", "label_size"}
# Arguments that the shapes of the tensors repeat, or that matter only while a network is trained.
IGNORED = {"latent_size", "dlatent_size", "resolution", "num_channels", "mapping_layers", "mapping_fmaps"}
IGNORED |= {"label_fmaps", "fmap_base", "fmap_max", "fmap_min", "fmap_decay", "num_fp16_res", "dtype", "w_avg_beta"}
IGNORED |= {"dlatent_avg_beta", "truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val"}
IGNORED |= {"style_mixing_prob", "structure", "synthesis_func", "mapping_func", "fused_modconv", "randomize_noise"}
IGNORED |= {"verbose", "impl"}


# Arguments of modified networks that repeat sizes of tensors, and how to compute them from the config.
REPEATED: dict[str, Callable[[GeneratorConfig], int]] = {
    "resolution_h": lambda config: config.size(config.resolution)[0],
    "resolution_w": lambda config: config.size(config.resolution)[1],
    "init_res.0": lambda config: config.start[0],
    "init_res.1": lambda config: config.start[1],
    "min_h": lambda config: config.start[0],
    "min_w": lambda config: config.start[1],
    "res_log2": lambda config: len(config.channels) - 1,
}


def convert(document: Document) -> Blueprint:
    """Convert a generator to canonical names.

    Raises:
        CheckpointError: the generator is incomplete, still growing, or of a kind that cannot be loaded.
    """
    prefix, notes = _choose(document)
    network = document.under(prefix)
    arguments = network.under("static_kwargs.").attributes
    _check(arguments, network)
    names = _Names(network)
    tensors: dict[str, Any] = {}
    for name, value in (network.tensors | _numbers(network)).items():
        tensors |= names.canonical(name, value)
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
    return Blueprint(config, tensors, notes + _contradictions(arguments, config))


def _choose(document: Document) -> tuple[str, list[str]]:
    """Return the key prefix of the generator's variables, that of the averaged one if the file has it, and notes."""
    found = (CONST.fullmatch(name) for name in document.tensors)
    prefixes = [m[1] for m in found if m and f"{m[1]}mapping.Dense0/weight" in document.tensors]
    if not prefixes:
        raise CheckpointError(
            "this is a TensorFlow pickle of NVIDIA's, but not of a StyleGAN2 generator (StyleGAN and config A are "
            "another architecture); take a config-e or config-f file, or its PyTorch version"
        )
    chosen = min(prefixes, key=lambda prefix: (not AVERAGE.search(prefix), prefix))
    raw = chosen and not AVERAGE.search(chosen)  # a network that is the whole file may be averaged
    return chosen, ["The file has no Gs, the moving average of the weights; those of G are raw ones."] if raw else []


def _contradictions(arguments: dict[str, Any], config: GeneratorConfig) -> list[str]:
    """Return sentences on arguments that contradict the shapes of the tensors, which are followed."""
    return [
        f"The file says that {name} is {str(arguments[name])[:40]}; its tensors say {size(config)}, and were followed."
        for name, size in REPEATED.items()
        if arguments.get(name) not in (None, size(config))
    ]


def _check(arguments: dict[str, Any], network: Document) -> None:
    """Refuse arguments that change the arithmetic of the network, or that are unknown.

    Raises:
        CheckpointError: the network was built with such an argument.
    """
    for name, value in arguments.items():
        if name in FIXED and value != FIXED[name]:
            raise CheckpointError(f"this network was built with {name} = {str(value)[:40]}; it must be {FIXED[name]}")
        if name not in FIXED and name not in REPEATED and name.partition(".")[0] not in READ | IGNORED:
            raise CheckpointError(f"this network was built with an argument that is not known here: {name[:80]}")
    if arguments.get("label_size") and "mapping.LabelEmbed/weight" not in network.tensors:
        raise CheckpointError(
            "this network takes labels the way NVlabs/stylegan2 did, which cannot be loaded; those of stylegan2-ada can"
        )
    if any(network.attributes.get(lod) for lod in ("lod", "synthesis.lod")):
        raise CheckpointError("this network was saved while it was still growing; take a later snapshot")


def _numbers(network: Document) -> dict[str, TensorView]:
    """Return the variables without dimensions as tensors: NumPy pickles them as numbers and not as arrays."""
    numbers = {n: v for n, v in network.attributes.items() if n.endswith("/noise_strength") and type(v) is float}
    return {name: TensorView.number(value) for name, value in numbers.items()}


class _Names:
    """Maps the names of a network's variables to canonical ones.

    Blocks are named by the size of their output, a multiple of the constant's size: "4x4", "8x8" and so on in NVIDIA's
    networks, "6x4", "12x8" and so on in networks of other aspect ratios.
    """

    def __init__(self, network: Document):
        match = next(filter(None, map(CONST.fullmatch, network.tensors)))
        self.start = int(match[2]) or 1, int(match[3]) or 1
        blocks = filter(None, map(BLOCK.fullmatch, network.tensors))
        self.last = max((self._resolution(m[1], m[2]) or 0 for m in blocks), default=4)

    def _resolution(self, height: str, width: str) -> int | None:
        """Return the resolution of the block with this size in its name, 4 for the first; None for an unknown size."""
        times, rest = divmod(int(height), self.start[0])
        return None if rest or int(width) != times * self.start[1] else 4 * times

    def canonical(self, name: str, view: TensorView) -> dict[str, TensorView]:
        """Return {canonical name: tensor}, {} for a variable that is only needed while the network grows.

        Unknown names are kept, so that the blueprint refuses them.
        """
        if name == "dlatent_avg":
            return {"mapping.w_avg": view}
        if m := re.fullmatch(r"mapping\.(?:Dense(\d{1,2})|LabelEmbed)/(weight|bias)", name):
            layer = f"mapping.fc{m[1]}" if m[1] else "mapping.embed"
            return {f"{layer}.{m[2]}": view.permuted(1, 0) if m[2] == "weight" else view}
        if m := re.fullmatch(r"synthesis\.noise(\d{1,2})", name):
            n = int(m[1])
            return {f"synthesis.b{1 << (n + 5) // 2}.conv{1 - n % 2}.noise_const": view.with_rank(2)}
        if m := re.fullmatch(r"synthesis\.ToRGB_lod(\d{1,2})/(\w+)", name):  # configs B to D, which grow
            return {} if int(m[1]) else self._of_block(self.last, "ToRGB", m[2], view) or {name: view}
        if (m := BLOCK.fullmatch(name)) and (resolution := self._resolution(m[1], m[2])):
            return self._of_block(resolution, m[3], m[4], view) or {name: view}
        return {name: view}

    def _of_block(self, resolution: int, layer: str, field: str, view: TensorView) -> dict[str, TensorView]:
        block = f"synthesis.b{resolution}"
        if (resolution, layer, field) == (4, "Const", "const"):
            return {f"{block}.const": view.with_rank(3)}
        if layer in LAYERS and field in FIELDS:
            return {f"{block}.{LAYERS[layer]}.{FIELDS[field]}": _reordered(view, layer, field)}
        return {}


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
