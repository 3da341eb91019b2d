"""Canonical names of a generator's tensors (NVIDIA's names) with their shapes."""

from __future__ import annotations

from ..stylegan2 import GeneratorConfig

W_AVG = "mapping.w_avg"
EMBED = "mapping.embed.weight"  # only with classes
NOISE = ".noise_const"


def canonical_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    """Return {name: shape} of the state dict of `Generator(config)` without building the generator."""
    shapes = {W_AVG: (config.w_dim,), "synthesis.b4.const": (config.channels[0], *config.start)}
    inputs = config.z_dim
    if config.c_dim:
        shapes |= {EMBED: (config.w_dim, config.c_dim), "mapping.embed.bias": (config.w_dim,)}
        inputs += config.w_dim
    for i in range(config.mapping_layers):
        shapes[f"mapping.fc{i}.weight"] = (config.w_dim, config.w_dim if i else inputs)
        shapes[f"mapping.fc{i}.bias"] = (config.w_dim,)
    below = config.channels[0]
    for r, channels in zip(config.resolutions, config.channels, strict=True):
        block = f"synthesis.b{r}"
        size = config.size(r)
        if r > 4:
            shapes |= _convolution(f"{block}.conv0", below, channels, size, config.w_dim)
        if r > 4 and config.architecture == "resnet":
            shapes[f"{block}.skip.weight"] = (channels, below, 1, 1)
        shapes |= _convolution(f"{block}.conv1", channels, channels, size, config.w_dim)
        if config.architecture == "skip" or r == config.resolution:
            shapes |= _modulated(f"{block}.torgb", channels, config.img_channels, 1, config.w_dim)
        below = channels
    return shapes


def _convolution(
    layer: str, inputs: int, outputs: int, size: tuple[int, int], w_dim: int
) -> dict[str, tuple[int, ...]]:
    noise = {f"{layer}.noise_strength": (), f"{layer}{NOISE}": size}
    return _modulated(layer, inputs, outputs, 3, w_dim) | noise


def _modulated(layer: str, inputs: int, outputs: int, size: int, w_dim: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{layer}.weight": (outputs, inputs, size, size),
        f"{layer}.bias": (outputs,),
        f"{layer}.affine.weight": (inputs, w_dim),
        f"{layer}.affine.bias": (inputs,),
    }
