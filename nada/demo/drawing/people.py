"""Hair and beards of people."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .anatomy import HAIR, Anatomy
from .canvas import FAR, Canvas
from .figure import Head, Pose, turned_back
from .noise import Noise
from .parameters import Parameters
from .pens import ellipse, fill, leaf, ramp, smooth_min
from .solids import Surface, ellipsoid, mapped, turned

HAIRCUTS = ("short", "bob", "long", "bun", "curly", "bald")
HAIRCUT_ENDS = (0.24, 0.42, 0.64, 0.78, 0.92, 1.01)  # upper ends of the parameter "pattern" for each of HAIRCUTS
BEARD_FROM = 0.72  # value of the parameter "marking" from which a person has a beard


def haircut_index(p: Parameters) -> Tensor:
    """Index [N] in HAIRCUTS of each person's haircut."""
    return torch.bucketize(p.pattern.flatten().contiguous(), torch.tensor(HAIRCUT_ENDS[:-1]), right=True)


def has_haircut(p: Parameters, *names: str) -> Tensor:
    """Mask [N, 1, 1] of the persons with one of the named haircuts."""
    wanted = torch.tensor([HAIRCUTS.index(name) for name in names])
    return torch.isin(haircut_index(p), wanted).view(-1, 1, 1)


def hair_color(p: Parameters) -> Tensor:
    """Color of hair, [N, 3, 1, 1]."""
    return ramp(HAIR, p.hair)


def paint_hair_behind(canvas: Canvas, p: Parameters, pose: Pose, noise: Noise) -> None:
    """Paint hair that falls behind the neck, a bun, or a mass of curls."""
    falls = has_haircut(p, "bob", "long")
    bottom = torch.where(has_haircut(p, "long"), 0.75 + 0.35 * p.fur, 0.34 + 0.16 * p.fur)
    cx, cy, _ = turned(pose.turn, 0.0, -0.12, -0.20)
    middle = 0.5 * (bottom + cy)
    wide = 0.455 + 0.03 * torch.sin(9 * pose.y) + 0.05 * p.fur
    mass = ellipse(pose.x - cx, pose.y - middle, wide, 0.5 * (bottom - cy) + 0.22) + FAR * ~falls
    solid = partial(ellipsoid, pose.x, pose.y, turn=pose.turn)
    grows = 0.50 + 0.12 * p.fur
    curls = solid(center=(0, -0.14, -0.12), radii=(grows, grows, grows * 0.8))
    lumps = 0.018 * torch.sin(24 * pose.x + 3 * torch.sin(9 * pose.y)) * torch.sin(23 * pose.y)
    curls.distance = curls.distance + lumps + FAR * ~has_haircut(p, "curly")
    bun = solid(center=(0, -0.62, -0.10), radii=(0.17, 0.16, 0.17))
    bun.distance = bun.distance + FAR * ~has_haircut(p, "bun")
    for part, normal in ((mass, None), (curls.distance, curls.normal), (bun.distance, bun.normal)):
        if (part < FAR / 2).any():
            canvas.paint(part, hair_color(p) * 0.82, normal or (pose.x * 0.6, pose.x * 0, pose.x * 0 + 0.7), furry=0.8)


def scalp(p: Parameters, pose: Pose) -> tuple[Surface, Tensor]:
    """Cap of hair: its surface, and distance to the area where hair grows (without the face)."""
    wide = 0.92 + 0.16 * p.width
    thick = 0.05 + 0.05 * p.fur * ~has_haircut(p, "bald", "bun")
    cap = ellipsoid(
        pose.x, pose.y, (0.0, -0.10, -0.035), (0.385 * wide + thick, 0.445 + thick, 0.43 + thick), pose.turn
    )
    ox, oy, oz = turned_back(pose.turn, pose.x, pose.y, cap.depth)
    part = 0.10 * (p.ear_tilt - 0.5)
    hairline = -0.30 - 0.10 * p.snout + 1.1 * (ox - part).abs() * (p.scenery - 0.5)
    face = torch.maximum(ellipse(ox, oy - 0.22, 0.335 * wide, 0.60), hairline - oy)
    neck = 0.30 - oy  # hair ends at the nape
    free = torch.maximum(face, -oz - 0.02)
    return cap, torch.maximum(torch.maximum(cap.distance, -free), -neck)


def paint_hair(canvas: Canvas, p: Parameters, pose: Pose, head: Head) -> None:
    """Paint hair on the head, and locks beside the face."""
    cap, distance = scalp(p, pose)
    falls, normal = has_haircut(p, "bob", "long"), cap.normal
    if falls.any():
        locks = _locks(p, pose, head)
        below = fill(locks - distance, 0.1) * falls  # where the closer of the two is a lock
        straight = (pose.x * 0.7, pose.x * 0, pose.x * 0 + 0.8)
        normal = mapped(lambda n, s: torch.lerp(n, s, below), normal, straight)
        distance = torch.where(falls, smooth_min(distance, locks, 0.05), distance)
    strands = 0.006 * torch.sin(60 * pose.x + 14 * pose.y)
    distance = distance + strands + FAR * has_haircut(p, "bald")
    tint = 1 + 0.10 * torch.sin(34 * pose.x + 9 * pose.y + 5 * p.scenery)
    canvas.paint(distance, hair_color(p) * tint.unsqueeze(1), normal, gloss=0.22, furry=0.8)


def _locks(p: Parameters, pose: Pose, head: Head) -> Tensor:
    """Distance to the locks that fall beside the face."""
    length = torch.where(has_haircut(p, "long"), 0.62 + 0.30 * p.fur, 0.26 + 0.12 * p.fur)
    locks = []
    for side in (-1.0, 1.0):
        bx, by, bz = turned(pose.turn, side * 0.37, -0.22, 0.06)
        tx, _, _ = turned(pose.turn, side * 0.43, 0.4, 0.02)
        lock = leaf(pose.x, pose.y, (bx, by), (tx, length + 0 * tx), 0.075 + 0.03 * p.fur, 0.15)[0]
        locks.append(torch.maximum(lock, torch.minimum(-head.surface.distance, head.surface.depth - bz - 0.08)))
    return torch.minimum(*locks)


def paint_beard(canvas: Canvas, p: Parameters, a: Anatomy, head: Head) -> None:
    """Paint a beard, from a moustache to a full one, on persons who have one."""
    has = (p.marking > BEARD_FROM) & ~has_haircut(p, "bob", "long", "bun")
    if not has.any():
        return
    full = ((p.marking - BEARD_FROM) / (1 - BEARD_FROM)).clamp(0, 1)
    ox, oy, oz = head.place
    y, half_width = a.mouth
    lip = ellipse(ox, oy - y, half_width * 0.92, 0.042)
    moustache = ellipse(ox, oy - (y - 0.055), 0.12, 0.034)
    chin = ellipse(ox, oy - (y + 0.08), 0.13 + 0.20 * full, 0.14 + 0.10 * full)
    cheeks = 0.25 - 0.18 * full + 0.5 * (ox.abs() - 0.22).clamp_max(0).abs() * 0.2 - oy
    beard = torch.maximum(chin, torch.maximum(cheeks, -lip))
    both = smooth_min(beard, moustache, 0.02) + FAR * ~has + FAR * (oz < -0.05)
    ragged = 0.006 * torch.sin(70 * ox + 8 * oy)
    canvas.paint(both + ragged, hair_color(p) * 0.92, head.surface.normal, furry=0.8, lines="detail", soft=2.0)
