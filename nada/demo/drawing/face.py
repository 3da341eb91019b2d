"""The parts of a face, which lie on the head and turn with it: eyes, brows, nose, mouth, whiskers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .anatomy import Anatomy
from .canvas import FAR, Canvas, Manner
from .coat import coat_color
from .figure import Head, Pose, front_of
from .parameters import CLOSED_BELOW, Parameters
from .pens import arc, color, ellipse, ramp, segment, smooth_max, step
from .solids import Vector, turned

EYE_TURN = 0.42  # radians by which eyes look outward from straight ahead


@dataclass
class Frame:
    """Coordinates of a small flat part on the head; `behind` is at least 0 where the head hides it."""

    u: Tensor
    v: Tensor
    behind: Tensor


def on_head(p: Parameters, a: Anatomy, pose: Pose, head: Head, x: float, y: float, lift: float = 0.0) -> Frame:
    """Frame of a part that faces forward at (x, y) of the head."""
    z = front_of(p, a, x, y) + lift
    cx, cy, cz = turned(pose.turn, x, y, z)
    u2, v2 = turned(pose.turn, 1.0, 0.0, 0.0), turned(pose.turn, 0.0, 1.0, 0.0)
    u, v = _solved(pose.x - cx, pose.y - cy, u2, v2)
    return Frame(u, v, head.surface.depth - cz - 0.16)


def _solved(dx: Tensor, dy: Tensor, u2: Vector, v2: Vector) -> tuple[Tensor, Tensor]:
    """Solve u * u2 + v * v2 = (dx, dy) for (u, v); neither axis is foreshortened below a quarter."""
    det = (u2[0] * v2[1] - u2[1] * v2[0]).clamp_min(0.25)
    return (dx * v2[1] - dy * v2[0]) / det, (dy * u2[0] - dx * u2[1]) / det


@dataclass
class Eyes:
    """Coordinates in the closer eye, in units of its radius.

    `right` says which eye is closer; `size` is the radius in the head's frame. u points right, out points outside.
    """

    u: Tensor
    v: Tensor
    out: Tensor
    right: Tensor
    size: Tensor
    behind: Tensor
    centers: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def eye_frames(p: Parameters, a: Anatomy, pose: Pose, head: Head, manner: Manner) -> Eyes:
    """Places and coordinates of the eyes."""
    ex, ey = a.eye_at[0] * (0.92 + 0.16 * p.width), a.eye_at[1]
    size = a.eye_size * (0.86 + 0.28 * p.eye) * manner.eye_scale
    centers, frames = [], []
    for side in (-1.0, 1.0):
        cx, cy, cz = turned(pose.turn, side * ex, ey, front_of(p, a, ex, ey))
        turn = torch.as_tensor(EYE_TURN)
        u2 = turned(pose.turn, torch.cos(turn), 0.0, -side * torch.sin(turn))
        v2 = turned(pose.turn, 0.0, 1.0, 0.12)
        centers.append((cx, cy))
        frames.append((*_solved(pose.x - cx, pose.y - cy, u2, v2), cz))
    right = pose.x > 0.5 * (centers[0][0] + centers[1][0])
    u, v, cz = (torch.where(right, r, left) for left, r in zip(*frames, strict=True))
    u, v = u / size, v / size
    return Eyes(u, v, torch.where(right, u, -u), right, size, head.surface.depth - cz - 0.13, (centers[0], centers[1]))


def paint_eyes(canvas: Canvas, p: Parameters, a: Anatomy, eyes: Eyes, manner: Manner) -> None:
    """Paint white, iris, pupil, catchlight and lids of both eyes."""
    size, hidden = eyes.size, torch.where(eyes.behind > 0, FAR, 0.0)
    u, out, v = eyes.u, eyes.out, eyes.v + (a.slant * 0.9) * eyes.out
    openness = ((p.lids - CLOSED_BELOW) / (1 - CLOSED_BELOW)).clamp(0, 1)
    closed = p.lids < CLOSED_BELOW
    half_height = 0.30 + 0.62 * openness.sqrt()  # half height of the opening
    low = 0.86 * half_height + 0.10
    upper, lower = -half_height * (1 - 0.62 * out * out) - v, v - low * (1 - 0.75 * out * out)
    lids = smooth_max(upper, lower, 0.12)
    ball = ellipse(u, v, 1.10, 1.02)
    opening = torch.maximum(ball, lids) * size + hidden + FAR * closed
    rim = color(0.07, 0.05, 0.06) if a.lips < 0.5 else coat_color(p, a) * 0.42
    edge = torch.maximum(ball - 0.16, lids - (0.16 if a.lips < 0.5 else 0.10)) * size + hidden
    lash = (edge.abs() if a.lips < 0.5 else edge) + FAR * closed
    canvas.paint(lash if a.lips > 0.5 else edge + FAR * closed, rim, None, lines="none", furry=0.0)
    flat = (canvas.normal[0] * 0.3, canvas.normal[1] * 0.3, canvas.normal[2] * 0.3 + 0.7)
    white = canvas.paint(opening, color(0.94, 0.93, 0.91), flat, gloss=0.9, furry=0.0, lines="none")
    gx, gy = 0.46 * (p.gaze_x - 0.5) * (1.3 - 0.5 * a.iris_share), 0.30 * (p.gaze_y - 0.5)
    iris_u, iris_v = u - gx, v - gy
    radius = (iris_u.square() + iris_v.square() + 1e-6).sqrt()
    iris = ramp(a.irises, p.iris)
    share = a.iris_share * (1.04 if manner.eye_scale > 1.2 else 1.0)
    rays = 0.72 + 0.5 * (radius / share).clamp(0, 1) + 0.25 * step(iris_v, 0.1, 5)
    inside = torch.maximum((radius - share) * size, opening)
    canvas.paint(inside, (iris.expand(-1, -1, *u.shape[1:]) * rays.unsqueeze(1)).clamp(0, 1), lines="none")
    ring = torch.maximum((radius - share).abs() * size - 0.006, opening)
    canvas.paint(ring, iris * 0.3, lines="none")
    pupil = torch.maximum(ellipse(iris_u, iris_v, a.pupil[0] * share, a.pupil[1] * share) * size, opening)
    canvas.paint(pupil, color(0.02, 0.02, 0.03), lines="none")
    lid_shade = torch.exp(-(v + half_height).clamp_min(0) / 0.28) * 0.55
    canvas.shade(lid_shade * white)
    side = (p.light_x - 0.5) * 0.7
    first = ellipse(iris_u - side, iris_v + 0.36, 0.24, 0.22)
    second = ellipse(iris_u + side, iris_v - 0.40, 0.13, 0.10)
    spark = torch.maximum(torch.minimum(first, second) * size, opening)
    canvas.paint(spark, color(1.0, 1.0, 1.0), lines="none")
    canvas.eyes = torch.maximum(canvas.eyes, white)
    canvas.spark = torch.maximum(canvas.spark, (0.5 - spark / canvas.softness).clamp(0, 1))
    shut = (arc(u, v - 0.1, 0.95, -0.35) * size - 0.012) + hidden + FAR * ~closed
    canvas.paint(shut, rim * 0.8, lines="none")
    for line in (opening.abs(), pupil.abs(), shut.clamp_min(0), inside.abs() + 0.004):
        canvas.line(line)
    if a.lips > 0.5 or manner.eye_scale > 1.2:
        raised = -1.62 - 0.36 * (p.brows - 0.5)
        slope = 0.42 * (p.brows - 0.30)  # raised inner ends look kind, lowered ones stern
        thick = (0.19 if a.lips > 0.5 else 0.12) - 0.04 * out
        brow = (arc(u, v - raised - slope * out, 1.00, 0.22) - thick.clamp_min(0.05)) * size + hidden
        shade = ramp(_HAIR, p.hair) * 0.8 if a.lips > 0.5 else coat_color(p, a) * 0.5
        canvas.paint(brow, shade, lines="none", furry=0.6)
        canvas.line(brow.clamp_min(0))


_HAIR = ((0.09, 0.07, 0.07), (0.27, 0.16, 0.10), (0.40, 0.20, 0.10), (0.58, 0.42, 0.22), (0.52, 0.51, 0.50))


def paint_nose(canvas: Canvas, p: Parameters, a: Anatomy, pose: Pose, head: Head) -> None:
    """Paint a moist nose, a snout with nostrils, or the shadow under a person's nose."""
    y, rx, ry = a.nose
    at = on_head(p, a, pose, head, 0.0, y, 0.01)
    hidden = torch.where(at.behind > 0.12, FAR, 0.0)
    if a.lips > 0.5:
        dots = ellipse(at.u.abs() - 0.030, at.v - 0.055, 0.017, 0.011) + hidden
        canvas.paint(dots, coat_color(p, a) * 0.42, lines="none", soft=1.5)
        wings = arc(at.u, at.v - 0.045, 0.062, -0.02 + 0 * p.x) + hidden
        canvas.line(wings)
        canvas.shade(0.35 * torch.exp(-((at.v - 0.085).abs() / 0.025)) * (at.u.abs() < 0.05))
        return
    if a.nostrils > 0.5:
        disc = ellipse(at.u, at.v, rx, ry) + hidden
        face = coat_color(p, a) * color(1.0, 0.86, 0.86)
        dome = (at.u / rx * 0.35, at.v / ry * 0.35, torch.ones_like(at.u))
        canvas.paint(disc, face, dome, gloss=0.35, furry=0.05, lines="detail")
        holes = ellipse(at.u.abs() - 0.078, at.v, 0.036, 0.062) + hidden
        canvas.paint(holes, face * 0.35, lines="detail", soft=1.5)
        return
    taper = 1 - 0.32 * (at.v / ry).clamp(-1, 1)
    nose = ellipse(at.u / taper, at.v, rx, ry) + hidden
    dome = (at.u / rx * 0.7, at.v / ry * 0.7 - 0.15, torch.ones_like(at.u))
    shade = color(*a.nose_color) * (1.0 if a.nose_color[0] < 0.3 else (0.8 + 0.3 * p.shade.unsqueeze(1)))
    canvas.paint(nose, shade, dome, gloss=0.8, furry=0.0, lines="detail")
    holes = ellipse(at.u.abs() - 0.42 * rx, at.v - 0.30 * ry, 0.17 * rx, 0.20 * ry) + hidden
    canvas.paint(holes, color(*a.nose_color) * 0.35, lines="none")


def paint_mouth(canvas: Canvas, p: Parameters, a: Anatomy, pose: Pose, head: Head) -> None:
    """Paint a closed, smiling or open mouth; an open dog's mouth shows the tongue."""
    y, half_width = a.mouth
    at = on_head(p, a, pose, head, 0.0, y)
    hidden = torch.where(at.behind > 0.12, FAR, 0.0)
    smile, opened = p.mouth, ((p.mouth - 0.60) / 0.40).clamp(0, 1)
    u, v = at.u, at.v
    bend = 0.015 - 0.085 * smile
    if a.lips > 0.5:
        taper = (1 - (u / half_width).square()).clamp(0, 1)
        middle = v - bend * ((u / half_width).square() - 0.35)
        gap = 0.040 * opened * taper
        lips = (middle.abs() - (0.026 + 0.6 * gap) * taper) + hidden + FAR * (u.abs() > half_width)
        canvas.paint(lips, coat_color(p, a) * color(0.86, 0.50, 0.50), gloss=0.3, lines="none", soft=1.6)
        teeth = middle.abs() - gap + hidden + FAR * ((u.abs() > half_width * 0.92) | (opened < 0.08))
        canvas.paint(teeth, color(0.95, 0.94, 0.92), lines="none")
        line = (middle.square() + (u.abs() - half_width).clamp_min(0).square() + 1e-9).sqrt() + hidden
        canvas.paint(line - 0.006 + FAR * (opened > 0.15), coat_color(p, a) * 0.36, lines="none")
        canvas.line(torch.where(opened > 0.15, (middle.abs() - gap).abs() + FAR * (u.abs() > half_width), line))
        return
    drop = 0.11 * opened
    cavity = (
        torch.maximum(ellipse(u, v - 0.5 * drop - 0.01, 0.72 * half_width, 0.55 * drop + 0.004), -v - 0.03) + hidden
    )
    cavity = cavity + FAR * (opened < 0.05)
    canvas.paint(cavity, color(0.26, 0.06, 0.08), lines="detail", furry=0.0)
    long = 0.5 + 0.6 * a.tongue
    tongue = ellipse(u, v - (0.03 + 0.72 * drop * long), 0.40 * half_width, 0.62 * drop * long + 0.003) + hidden
    tongue = torch.maximum(tongue, -v + 0.012) + FAR * (opened < 0.05)
    canvas.paint(tongue, color(0.90, 0.42, 0.47), gloss=0.4, lines="detail", furry=0.0)
    nose_bottom = a.nose[0] + a.nose[2] - y
    stem = segment(u, v, 0.0, nose_bottom + 0 * p.x, 0.0, 0.0) if a.nostrils < 0.5 else FAR + 0 * u
    curves = (
        arc(u.abs() - 0.5 * half_width, v, 0.5 * half_width, bend)
        if a.nostrils < 0.5
        else arc(u, v, half_width, bend * 1.6)
    )
    lines = torch.minimum(stem, curves) + hidden
    canvas.paint(lines - 0.008, color(0.12, 0.07, 0.07), lines="none")
    canvas.line(lines)
    if a.whiskers > 0.2:
        paint_whiskers(canvas, a, u, v, hidden)


def paint_whiskers(canvas: Canvas, a: Anatomy, u: Tensor, v: Tensor, hidden: Tensor) -> None:
    """Paint three whiskers on each side, fine and pale."""
    side = u.abs() - 0.10
    nearest = torch.stack(
        [(v + 0.045 - rise - slope * side - 0.25 * side * side).abs() for rise, slope in
         ((-0.03, -0.32), (0.0, -0.05), (0.03, 0.22))]
    ).amin(0)  # fmt: skip
    ends = (-side).clamp_min(0) + (side - 0.42).clamp_min(0)
    line = nearest + ends + hidden
    cover = torch.exp(-(line / 0.010).square()) * (0.75 * a.whiskers)
    canvas.color = canvas.color + (0.97 - canvas.color) * cover.unsqueeze(1)
    canvas.line(line + 0.012)
