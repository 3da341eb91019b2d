"""Solids seen along z: ellipsoids that turn, with outline, depth and normal at every pixel.

x points right, y down, z toward the viewer. The projection is orthographic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .pens import Number, smooth_min

Vector = tuple[Tensor, Tensor, Tensor]
"""x, y and z, each [N, H, W] or broadcastable to that."""
Numbers = tuple[Number, Number, Number]


@dataclass
class Surface:
    """Visible surface of a solid: distance to its outline and depth [N, H, W], and the normal as (x, y, z)."""

    distance: Tensor
    depth: Tensor
    normal: Vector


def rotation(yaw: Tensor, pitch: Tensor) -> Tensor:
    """Rotations [N, 3, 3] from angles in radians [N, 1, 1]: first chin up (pitch), then to the right (yaw)."""
    cy, sy, cp, sp = (f(a).flatten() for a in (yaw, pitch) for f in (torch.cos, torch.sin))
    zero = torch.zeros_like(cy)
    rows = (torch.stack([cy, sy * sp, sy * cp], 1), torch.stack([zero, cp, -sp], 1))
    return torch.stack([*rows, torch.stack([-sy, cy * sp, cy * cp], 1)], 1)


def mapped(function: Callable[..., Tensor], *vectors: Iterable[Tensor]) -> Vector:
    """Apply a function to the x, the y and the z components of vectors."""
    x, y, z = (function(*parts) for parts in zip(*vectors, strict=True))
    return x, y, z


def dot(a: Iterable[Tensor], b: Iterable[Tensor]) -> Tensor:
    """Scalar product of vectors."""
    x, y, z = (u * v for u, v in zip(a, b, strict=True))
    return x + y + z


def turned(turn: Tensor, x: Number, y: Number, z: Number) -> Vector:
    """Rotate the point (x, y, z) (numbers or [N, 1, 1]) by rotations [N, 3, 3]."""
    point = [torch.as_tensor(v, dtype=turn.dtype) for v in (x, y, z)]
    return mapped(lambda row: dot(row.view(-1, 3, 1, 1).unbind(1), point), turn.unbind(1))


def ellipsoid(x: Tensor, y: Tensor, center: Numbers, radii: Numbers, turn: Tensor) -> Surface:
    """An ellipsoid with center and radii in the turning frame, seen at picture coordinates x, y [N, H, W]."""
    cx, cy, cz = turned(turn, *center)
    count = len(turn)
    r = torch.stack([torch.as_tensor(v, dtype=x.dtype).expand(count, 1, 1) for v in radii], 1).flatten(1)
    form = turn @ torch.diag_embed(r**-2) @ turn.transpose(1, 2)

    def entry(i: int, j: int) -> Tensor:
        return form[:, i, j].view(-1, 1, 1)

    zz, xz, yz = entry(2, 2), entry(0, 2), entry(1, 2)
    sxx, sxy, syy = entry(0, 0) - xz * xz / zz, entry(0, 1) - xz * yz / zz, entry(1, 1) - yz * yz / zz
    dx, dy = x - cx, y - cy
    gx, gy = sxx * dx + sxy * dy, sxy * dx + syy * dy
    inside = gx * dx + gy * dy
    k0 = (inside + 1e-6).sqrt()
    distance = k0 * (k0 - 1) * (gx * gx + gy * gy + 1e-6).rsqrt()
    lean = (xz * dx + yz * dy) / zz
    dz = ((1 - inside).clamp_min(0) / zz).sqrt() - lean / k0.clamp_min(1)
    nx = entry(0, 0) * dx + entry(0, 1) * dy + xz * dz
    ny = entry(0, 1) * dx + entry(1, 1) * dy + yz * dz
    nz = (xz * dx + yz * dy + zz * dz).clamp_min(0)
    scale = (nx * nx + ny * ny + nz * nz + 1e-6).rsqrt()
    depth = cz + dz - 2.5 * distance.clamp_min(0)
    return Surface(distance, depth, (nx * scale, ny * scale, nz * scale))


def joined(a: Surface, b: Surface, radius: float) -> Surface:
    """Join two solids into one, with the crease between them filled by about `radius`."""
    h = (0.5 + 0.5 * (b.depth - a.depth) / radius).clamp(0, 1)
    depth = torch.lerp(a.depth, b.depth, h) + radius * h * (1 - h)
    normal = mapped(lambda u, v: torch.lerp(u, v, h), a.normal, b.normal)
    return Surface(smooth_min(a.distance, b.distance, radius), depth, normal)
