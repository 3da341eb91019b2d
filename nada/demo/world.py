"""The demo world: faces of seven species in ten styles, drawn at any size from 35 numbers each.

`draw(parameters, species, style)` makes pictures. The same parameters give the same individual in every style and
species, so the images of an adaptation can be compared with the drawings that they should resemble.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .drawing.anatomy import SPECIES as ANATOMIES
from .drawing.anatomy import Anatomy
from .drawing.noise import Noise
from .drawing.parameters import (
    MEANINGS,
    NAMES,
    Parameters,
    learned_parameters,
    parameters_from_latents,
    random_parameters,
)
from .drawing.scene import build_scene
from .styles import STYLES as RENDERERS

SPECIES = tuple(ANATOMIES)
STYLES = tuple(RENDERERS)
SIZE = 128
AT_ONCE = 4  # number of drawings of SIZE per chunk: more do not fit into a processor's cache and are slower

__all__ = [
    "ANATOMIES",
    "AT_ONCE",
    "MEANINGS",
    "NAMES",
    "SIZE",
    "SPECIES",
    "STYLES",
    "Parameters",
    "draw",
    "learned_parameters",
    "parameters_from_latents",
    "random_parameters",
]


def draw(
    p: Parameters,
    species: str | Anatomy,
    style: str,
    generator: torch.Generator | None = None,
    *,
    size: int = SIZE,
    grain: float = 1.0,
    oversample: int = 1,
) -> Tensor:
    """Draw pictures [N, 3, size, size] in 0..1.

    Args:
        p: parameters of N drawings.
        species: a name in SPECIES, or an anatomy (`anatomy.mixed` makes creatures between two species).
        style: a name in STYLES.
        generator: source of random details that no parameter sets: grain, strands of fur, the tremor of a hand.
        size: side of the pictures in pixels.
        grain: scale of fine random texture; with 0, the parameters alone decide the picture.
        oversample: factor by which pictures are drawn larger and averaged, for smoother edges.

    Raises:
        ValueError: there is no such species or style.
    """
    if isinstance(species, str) and species not in ANATOMIES:
        raise ValueError(f"there is no species {species!r}; there are {', '.join(SPECIES)}")
    if style not in RENDERERS:
        raise ValueError(f"there is no style {style!r}; there are {', '.join(STYLES)}")
    chosen, done = RENDERERS[style], []
    at_once = max(1, AT_ONCE * SIZE**2 // (size * oversample) ** 2)
    for start in range(0, len(p), at_once):
        some = p[start : start + at_once]
        noise = Noise(len(some), size * oversample, generator, grain)
        pictures = chosen.render(build_scene(some, species, noise, chosen.manner), noise).clamp(0, 1)
        done.append(F.avg_pool2d(pictures, oversample) if oversample > 1 else pictures)
    return torch.cat(done)
