"""Assemble a figure: body, head, ears and everything on them, in the order in which they hide each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .anatomy import Anatomy
from .canvas import FAR, Canvas, Manner
from .coat import coat_at, coat_color
from .noise import Noise
from .parameters import COLLAR_FROM, SECOND_EARS_FROM, Parameters
from .pens import color, ellipse, hsv, leaf, over, step
from .solids import Surface, Vector, dot, ellipsoid, joined, mapped, rotation, turned

SIZE = 1.0  # scale of a head of middle size
BODY_TURN, BODY_TILT = 0.45, 0.3  # share of the head's turn and tilt that the body follows


@dataclass
class Pose:
    """Place of the head: coordinates in its frame, and its rotation in space."""

    x: Tensor
    y: Tensor
    body_x: Tensor
    body_y: Tensor
    turn: Tensor
    body_turn: Tensor
    center: tuple[Tensor, Tensor]


@dataclass
class Head:
    """Surface of a head, and coordinates on it that turn with it."""

    surface: Surface
    muzzle: Surface
    place: tuple[Tensor, Tensor, Tensor]
    fuzz: Tensor


def pose_of(p: Parameters, px: Tensor, py: Tensor) -> Pose:
    """Pose from parameters, at picture coordinates px, py ([H, W] or [N, H, W])."""
    cx, cy = (p.x - 0.5) * 0.4, 0.10 + (p.y - 0.5) * 0.4
    scale = SIZE * (1 + 0.4 * (p.size - 0.5))
    dx, dy = (px - cx) / scale, (py - cy) / scale
    angle = (p.tilt - 0.5) * 0.524

    def rolled(by: Tensor) -> tuple[Tensor, Tensor]:
        c, s = torch.cos(by), torch.sin(by)
        return dx * c + dy * s, dy * c - dx * s

    yaw, pitch = (p.yaw - 0.5) * 1.22, (p.pitch - 0.5) * 0.42
    body_turn = rotation(BODY_TURN * yaw, 0 * pitch)
    return Pose(*rolled(angle), *rolled(BODY_TILT * angle), rotation(yaw, pitch), body_turn, (cx, cy))


def turned_back(turn: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Vector:
    """Map places x, y, z to the coordinates of the turned head, three [N, H, W]."""
    return mapped(lambda column: dot(column.view(-1, 3, 1, 1).unbind(1), (x, y, z)), turn.unbind(2))


def build_head(p: Parameters, a: Anatomy, pose: Pose, noise: Noise, manner: Manner) -> Head:
    """Combine skull, jaw and muzzle into one surface with fur on its outline."""
    wide = 0.92 + 0.16 * p.width
    solid = partial(ellipsoid, pose.x, pose.y, turn=pose.turn)
    cy, cz, rx, ry, rz = a.cranium
    cranium = solid(center=(0, cy, cz), radii=(rx * wide, ry, rz))
    cy, cz, rx, ry, rz = a.jaw
    jaw = solid(center=(0, cy, cz), radii=(rx * wide, ry, rz))
    cy, cz, rx, ry, rz = a.muzzle
    longer = a.long_snout * p.snout
    stout = 1.12 - 0.20 * p.snout
    muzzle = solid(center=(0, cy, cz + 0.5 * longer), radii=(rx * stout, ry * stout, rz + longer))
    surface = joined(joined(cranium, jaw, 0.14), muzzle, 0.07)
    length = torch.stack(surface.normal).square().sum(0).clamp_min(1e-4).rsqrt()
    surface.normal = mapped(lambda n: n * length, surface.normal)
    place = turned_back(pose.turn, pose.x, pose.y, surface.depth)
    angle = torch.atan2(pose.y, pose.x)
    tufts = torch.sin(19 * angle + 2 * torch.sin(5 * angle + 6 * p.fur)) + 0.7 * torch.sin(41 * angle)
    long = manner.fuzz * a.furry * (0.25 + 0.75 * p.fur)
    fuzz = 0.011 * long * (tufts + 0.9 * noise.amount * noise.strands(angle, 0.2 * surface.distance, 2.0))
    surface.distance = surface.distance + fuzz
    return Head(surface, muzzle, place, fuzz)


def front_of(p: Parameters, a: Anatomy, x: Tensor | float, y: Tensor | float) -> Tensor:
    """Depth (toward the viewer) of an unturned head at (x, y), [N, 1, 1]."""
    longer, wide = a.long_snout * p.snout, 0.92 + 0.16 * p.width
    stout = 1.12 - 0.20 * p.snout
    depths = []
    for (cy, cz, rx, ry, rz), grow, reach in ((a.cranium, wide, 0), (a.jaw, wide, 0), (a.muzzle, stout, longer)):
        tall = stout if grow is stout else 1.0
        height = 1 - (x / (rx * grow)) ** 2 - ((y - cy) / (ry * tall)) ** 2
        depths.append(cz + 0.5 * reach + (rz + reach) * height.clamp_min(0).sqrt() - 9.0 * (height <= 0))
    return torch.stack(depths).amax(0)


def paint_body(canvas: Canvas, p: Parameters, a: Anatomy, pose: Pose, head: Head) -> None:
    """Paint shoulders and neck, in fur or dressed."""
    solid = partial(ellipsoid, pose.body_x, pose.body_y, turn=pose.body_turn)
    coat = coat_color(p, a)
    if a.lips > 0.5:
        neck = solid(center=(0, 0.56, -0.10), radii=(0.175, 0.42, 0.18))
        canvas.paint(neck.distance, coat * 0.94, neck.normal, furry=0.0)
        torso = solid(center=(0, 1.32, -0.20), radii=(0.80, 0.62, 0.42))
        opening = ellipse(pose.body_x, pose.body_y - 0.66, 0.22, 0.16)
        cloth = torch.maximum(torso.distance, -opening)
        clothes = hsv(p.wear_hue + 0.45, 0.25 + 0.45 * p.scenery, 0.35 + 0.5 * p.tone)
        canvas.paint(cloth, clothes, torso.normal, furry=0.0, worn=True)
        seam = (opening - 0.035).abs() + FAR * (torso.distance > 0)
        canvas.line(seam)
    else:
        neck = solid(center=(0, 0.56, -0.12), radii=(0.34, 0.44, 0.30))
        torso = solid(center=(0, 1.24, -0.20), radii=(0.74, 0.62, 0.42))
        both = joined(torso, neck, 0.2)
        chest = step(-ellipse(pose.body_x, pose.body_y - 1.0, 0.22, 0.45), 0.0, 18) * (0.3 + 0.5 * a.pale_cheeks)
        fur = over(coat.expand(-1, -1, *pose.x.shape[1:]) * 0.92, 1 - (1 - coat) * 0.35, chest)
        canvas.paint(both.distance + head.fuzz, fur, both.normal, furry=a.furry)
    canvas.shade(0.65 * torch.exp(-head.surface.distance.clamp_min(0) / 0.12) * (pose.y > 0.1))


def paint_collar(canvas: Canvas, p: Parameters, a: Anatomy, pose: Pose) -> None:
    """Paint a collar with a tag for animals, or a scarf for people, if they wear one."""
    wears = p.collar > COLLAR_FROM
    if not wears.any():
        return
    solid = partial(ellipsoid, pose.body_x, pose.body_y, turn=pose.body_turn)
    person = a.lips > 0.5
    tall, wide = (0.12, 0.25) if person else (0.070, 0.335)
    band = solid(center=(0, 0.68 if person else 0.61, -0.06), radii=(wide, tall, 0.30))
    cloth = hsv(p.wear_hue, 0.75, 0.85)
    canvas.paint(band.distance + FAR * ~wears, cloth, band.normal, furry=0.0, gloss=0.25, worn=True)
    tx, ty, _ = turned(pose.body_turn, 0.0, 0.72, 0.24)
    if person:
        tail = leaf(pose.body_x, pose.body_y, (tx + 0.1, ty - 0.05), (tx + 0.16, ty + 0.4), 0.08, 0.0)[0]
        canvas.paint(tail + FAR * ~wears, cloth * 0.9, band.normal, furry=0.0, gloss=0.2, worn=True)
    else:
        tag = ellipse(pose.body_x - tx, pose.body_y - ty, 0.055, 0.06) + FAR * ~wears
        canvas.paint(tag, color(0.93, 0.76, 0.30), band.normal, gloss=0.9, lines="detail", worn=True)


def paint_head(canvas: Canvas, p: Parameters, a: Anatomy, head: Head) -> None:
    """Paint the head in the colors of its coat."""
    canvas.paint(head.surface.distance, coat_at(p, a, *head.place), head.surface.normal, gloss=0.06, furry=a.furry)
    if a.lips < 0.5:
        front = step(head.muzzle.depth - head.surface.depth, -0.03, 60)
        canvas.line(head.muzzle.distance.abs() + 0.012 + 0.2 * (1 - front))
        canvas.shade(0.30 * torch.exp(-head.muzzle.distance.clamp_min(0) / 0.035) * (head.muzzle.distance > 0))


def paint_ears(canvas: Canvas, p: Parameters, a: Anatomy, pose: Pose, head: Head) -> None:
    """Paint both ears, hidden by the head where it is closer to the viewer."""
    kind = step(p.ear_kind, SECOND_EARS_FROM, 26)
    coat = coat_color(p, a)
    first, second = a.ears

    def between(name: str, index: int | None = None) -> Tensor:
        u, v = (getattr(e, name) if index is None else getattr(e, name)[index] for e in (first, second))
        return u + (v - u) * kind

    length = 0.86 + 0.30 * p.ear_size
    lean = 0.16 * (p.ear_tilt - 0.5)
    width, point, inside = (between(name) for name in ("width", "point", "inside"))
    width = width * (0.90 + 0.22 * p.ear_size)
    dark = 1 - 0.32 * step(p.hair, 0.5) * (a.lips < 0.5)
    for side in (-1.0, 1.0):
        base = (between("base", 0), between("base", 1), between("base", 2))
        tip = [b + (between("tip", i) - b) * length for i, b in enumerate(base)]
        bx, by, bz = turned(pose.turn, side * base[0], base[1], base[2])
        tx, ty, tz = turned(pose.turn, side * (tip[0] + lean), tip[1], tip[2])
        foreshortened = 0.80 + 0.20 * torch.cos(1.3 * side * (pose.turn[:, 0, 2].view(-1, 1, 1) + 0.3 * side))
        distance, along, across = leaf(pose.x, pose.y, (bx, by), (tx, ty), width * foreshortened, point)
        depth = bz + (tz - bz) * along + 0.05 * (1 - across.square().clamp_max(1))
        shown = torch.maximum(distance + head.fuzz, torch.minimum(-head.surface.distance, head.surface.depth - depth))
        round_ = across.clamp(-1, 1)
        ux, uy = tx - bx, ty - by
        size = (ux * ux + uy * uy).rsqrt()
        normal = (-uy * size * round_ * 0.7, ux * size * round_ * 0.7 - 0.1, (1 - 0.5 * round_ * round_))
        hanging = step(-inside, -0.25, 12)
        fur = (
            coat
            * (1 - (1 - dark) * hanging).unsqueeze(1)
            * torch.lerp(torch.ones_like(along), 0.80 + 0.25 * (1 - along), 1 - hanging).unsqueeze(1)
        )
        canvas.paint(shown, fur, normal, gloss=0.03, furry=a.furry)
        hollow = torch.maximum(distance + (1 - inside) * width * 0.85 + FAR * (inside < 0.2), shown + 0.01)
        canvas.paint(hollow, 0.6 * color(*a.inner_ear) + 0.4 * coat, None, furry=0.3 * a.furry, lines="detail", soft=2)
        canvas.shade(0.35 * torch.exp(-distance.clamp_min(0) / 0.03) * (distance > 0) * (along < 0.3) * (inside < 0.2))
