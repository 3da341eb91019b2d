"""The individual in a picture: the part of an image's embedding that words do not reach.

StyleGAN-NADA asks that a picture changes along the words and nothing else. A CLIP that sees little of the individual
is content when all individuals turn alike; here everything that makes one has a fixed share of the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOOKS = {"coat": 0.20, "blaze": 0.16, "ear": 0.22, "ear_tilt": 0.20, "tone": 0.12, "light_x": 0.12, "gaze": 0.10}
SIDED = ("light_x", "gaze")  # what a mirror image has on the other side
HUE = 0.13
POSE = 0.26  # these are amplitudes, in an embedding of length 1
FINENESS = 1.8  # radians of a pose's phase from one end of what is drawn to the other
DIMENSIONS = len(LOOKS) + 2 + 2 * 4  # the embedding's last
DEVIATION = 12**-0.5  # standard deviation of uniform numbers in 0..1


def identity_code(p: dict[str, Tensor], moves: Tensor) -> Tensor:
    """The values that the last dimensions of pictures' embeddings should have, [N, DIMENSIONS].

    p: parameters {name: [N, 1, 1] in 0..1} of what was drawn. moves [N, 2, 3]: from places in the pictures as they are
    shown to places in the drawings, both in -1..1 (`torch.nn.functional.affine_grid`). Numbers are amplitudes, a
    cycle (the hue) a circle; a pose too is a point on a circle, because views move it much further than animals differ.
    """
    p = {name: value.flatten() for name, value in p.items()}
    side = torch.linalg.det(moves[:, :, :2]).sign()
    looks = [
        amplitude * (p[name] - 0.5) / DEVIATION * (side if name in SIDED else 1) for name, amplitude in LOOKS.items()
    ]
    circles = [(HUE, 2 * torch.pi * p["hue"])] + [(POSE, FINENESS * part) for part in apparent_pose(p, moves)]
    points = [amplitude * wave(phase) for amplitude, phase in circles for wave in (torch.sin, torch.cos)]
    return torch.stack([*looks, *points], 1)


def apparent_pose(p: dict[str, Tensor], moves: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, y, size and tilt [N] of heads (paint.head_coordinates) as they are shown, each within +-0.5 where unmoved."""
    turn, shift = moves[:, :, :2], moves[:, :, 2]
    drawn = torch.stack([0.06 * (p["x"] - 0.5), 0.06 + 0.05 * (p["y"] - 0.5)], 1)
    x, y = torch.linalg.solve(turn, (drawn - shift)[:, :, None]).flatten(1).T
    area = torch.linalg.det(turn)
    size = (1 + 0.10 * (p["size"] - 0.5)) / area.abs().sqrt()
    tilt = area.sign() * (0.18 * (p["tilt"] - 0.5) - torch.atan2(-turn[:, 0, 1], turn[:, 1, 1]))
    return x / 0.06, (y - 0.06) / 0.05, (size - 1) / 0.10, tilt / 0.18
