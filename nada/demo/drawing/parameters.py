"""The numbers behind a drawing: individual, pose, light and place.

Every parameter is uniform in 0..1. The same parameters give the same individual in every style and every species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MEANINGS = {
    # Pose
    "x": "place of the head, left to right (+-10 % of the width)",
    "y": "place of the head, high to low (+-10 % of the height)",
    "size": "scale of the head (-20 % to +20 %)",
    "tilt": "roll of the head (-15 to +15 degrees, clockwise)",
    "yaw": "where the head turns, from the left to the right of the picture (-35 to +35 degrees)",
    "pitch": "chin down to chin up (-12 to +12 degrees)",
    # Light
    "light_x": "side of the main light, left to right",
    "light_y": "height of the main light, level to overhead",
    "warmth": "color of the light, cool to warm",
    # Place
    "place": "studio, meadow, room or lights at night, a quarter each",
    "scenery": "where the things of the place are",
    "hue": "hue of the place",
    "tone": "brightness of the place, dark to light",
    # Build
    "coat": "color of fur or skin along the species' ramp, dark to light",
    "shade": "brightness of the coat",
    "pattern": "marking: none, patches, mask, spots, stripes (people: kind of hair)",
    "marking": "extent of the marking (people: beard)",
    "fur": "length of fur (people: of hair)",
    "hair": "color of hair, and of an animal's markings",
    "ear_kind": "kind of ears: the first of the species' two kinds, above 0.62 the second",
    "ear_size": "size of the ears",
    "ear_tilt": "how far the ears lean outward",
    "snout": "short and wide to long snout",
    "width": "narrow to wide head",
    # Expression
    "eye": "size of the eyes",
    "iris": "color of the eyes along the species' ramp",
    "gaze_x": "where the eyes look, left to right",
    "gaze_y": "where the eyes look, up to down",
    "lids": "closed (below 0.08), half closed, open, wide eyes",
    "brows": "frowning to raised brows",
    "mouth": "closed and serious, smiling, open",
    # What is worn
    "collar": "above 0.55: a collar (people: a scarf)",
    "glasses": "above 0.80: glasses",
    "hat": "above 0.80: a hat, its kind by how far above",
    "wear_hue": "hue of what is worn",
}
NAMES = tuple(MEANINGS)
COLLAR_FROM, GLASSES_FROM, HAT_FROM, CLOSED_BELOW, SECOND_EARS_FROM = 0.55, 0.80, 0.80, 0.08, 0.62


@dataclass(frozen=True)
class Parameters:
    """Parameters of N drawings; each name of `MEANINGS` is an attribute of shape [N, 1, 1].

    Attributes:
        values: [N, len(NAMES)], each in 0..1.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(NAMES):
            raise ValueError(f"parameters need the shape [N, {len(NAMES)}]; got {list(self.values.shape)}")

    def __len__(self) -> int:
        return len(self.values)

    def __getattr__(self, name: str) -> Tensor:
        if name not in MEANINGS:
            raise AttributeError(name)
        return self.values[:, NAMES.index(name)].view(-1, 1, 1)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Parameters:
        """Select some of the drawings' parameters."""
        return Parameters(self.values[index])

    def replaced(self, **values: float | Tensor) -> Parameters:
        """Copy the parameters with some of them set to other values (numbers, or tensors of N numbers)."""
        changed = self.values.clone()
        for name, value in values.items():
            if name not in MEANINGS:
                raise ValueError(f"there is no parameter {name!r}; there are {', '.join(NAMES)}")
            changed[:, NAMES.index(name)] = torch.as_tensor(value, dtype=changed.dtype).flatten()
        return Parameters(changed)


def random_parameters(count: int, generator: torch.Generator | None = None) -> Parameters:
    """Draw independent uniform parameters for `count` drawings."""
    return Parameters(torch.rand(count, len(NAMES), generator=generator))


def learned_parameters(count: int, generator: torch.Generator | None = None) -> Parameters:
    """Draw parameters for `count` individuals like those of the demo's generators, without glasses and hats."""
    return parameters_from_latents(torch.randn(count, len(NAMES), generator=generator))


def parameters_from_latents(z: Tensor) -> Parameters:
    """Convert latents [N, >= len(NAMES)] to parameters, normalized first as by StyleGAN2's mapping network.

    Nobody wears glasses or a hat: generators of photos do not make them, so texts that ask for them ask for something
    new.
    """
    if z.ndim != 2 or z.shape[1] < len(NAMES):
        raise ValueError(f"latents need the shape [N, {len(NAMES)} or more]; got {list(z.shape)}")
    z = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    values = 0.5 * (1 + torch.erf(z[:, : len(NAMES)] / math.sqrt(2)))
    for name, begins in (("glasses", GLASSES_FROM), ("hat", HAT_FROM)):
        values[:, NAMES.index(name)] *= begins
    return Parameters(values)
