"""The contract that every family of generators fulfils; StyleGAN2 (`nada.stylegan2`) is the first."""

from .contract import NOISE_MODES, PRECISIONS, Generator, Label, Layer, LayerKind, MappingNetwork, Noise, Synthesis

__all__ = [
    "NOISE_MODES",
    "PRECISIONS",
    "Generator",
    "Label",
    "Layer",
    "LayerKind",
    "MappingNetwork",
    "Noise",
    "Synthesis",
]
