"""The individual in a picture as a code: what the last dimensions of an image's embedding must be.

StyleGAN-NADA asks that a picture changes along the words and nothing else. An encoder that sees little of a creature
is content when all turn alike; here, what makes an individual has a fixed share of the embedding, which
words have no part in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nada.demo.drawing.backdrop import PLACES, place_index
from nada.demo.drawing.coat import PATTERNS, pattern_index
from nada.demo.drawing.parameters import COLLAR_FROM, GLASSES_FROM, HAT_FROM, SECOND_EARS_FROM
from nada.demo.world import Parameters

LOOKS = {
    "coat": 0.17, "shade": 0.07, "hair": 0.08, "fur": 0.09, "ear_size": 0.10, "width": 0.08, "snout": 0.06, "eye": 0.08,
    "lids": 0.09, "mouth": 0.11, "pitch": 0.10, "tone": 0.10, "warmth": 0.06, "light_y": 0.06,
}  # fmt: skip
SIDED = {"yaw": 0.18, "light_x": 0.11, "gaze_x": 0.09}  # what a mirror image has on the other side
WORN = {"collar": (COLLAR_FROM, 0.10), "glasses": (GLASSES_FROM, 0.14), "hat": (HAT_FROM, 0.14)}
KINDS = 0.12  # amplitude of place and marking
EARS, HUE, WEAR_HUE, POSE = 0.12, 0.11, 0.07, 0.19
FINENESS = 1.2  # radians of a pose's phase from one end of what is drawn to the other
UNIFORM = 12**-0.5  # deviation of uniform numbers in 0..1
DIMENSIONS = len(LOOKS) + len(SIDED) + len(WORN) + len(PLACES) + len(PATTERNS) + 1 + 4 + 8


def individual_code(p: Parameters, moves: Tensor) -> Tensor:
    """Codes [N, DIMENSIONS] of individuals as they appear in moved pictures.

    moves: affine maps [N, 2, 3] from places in the pictures as they are shown to places in the drawings, both in -1..1.
    A pose and a hue are points on circles: moves go much further than drawings differ.
    """
    side = torch.linalg.det(moves[:, :, :2]).sign()

    def flat(name: str) -> Tensor:
        return getattr(p, name).flatten()

    parts = [a * (flat(name) - 0.5) / UNIFORM for name, a in LOOKS.items()]
    parts += [a * side * (flat(name) - 0.5) / UNIFORM for name, a in SIDED.items()]
    parts += [a * (2.0 * (flat(name) > at) - 1) for name, (at, a) in WORN.items()]
    parts.append(EARS * (2.0 * (flat("ear_kind") > SECOND_EARS_FROM) - 1))
    for index, names in ((place_index(p), PLACES), (pattern_index(p), PATTERNS)):
        parts += [KINDS * ((index == k).float() - 1 / len(names)) for k in range(len(names))]
    phases = [(HUE, 2 * torch.pi * flat("hue")), (WEAR_HUE, 2 * torch.pi * flat("wear_hue"))]
    phases += [(POSE, FINENESS * part) for part in apparent_pose(p, moves)]
    parts += [a * wave(phase) for a, phase in phases for wave in (torch.sin, torch.cos)]
    return torch.stack(parts, 1)


def apparent_pose(p: Parameters, moves: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, y, size and tilt [N] of heads as they are shown, each within +-0.5 where the picture is not moved."""
    x, y, size, tilt = (getattr(p, name).flatten() - 0.5 for name in ("x", "y", "size", "tilt"))
    turn, shift = moves[:, :, :2], moves[:, :, 2]
    drawn = torch.stack([0.4 * x, 0.10 + 0.4 * y], 1)
    shown = torch.linalg.solve(turn, (drawn - shift)[:, :, None]).flatten(1)
    area = torch.linalg.det(turn)
    scale = (1 + 0.4 * size) / area.abs().sqrt()
    angle = area.sign() * (0.524 * tilt - torch.atan2(-turn[:, 0, 1], turn[:, 1, 1]))
    return shown[:, 0] / 0.4, (shown[:, 1] - 0.10) / 0.4, (scale - 1) / 0.4, angle / 0.524
