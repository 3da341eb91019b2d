"""Glasses and hats."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .anatomy import Anatomy
from .canvas import FAR, Canvas
from .face import Eyes
from .figure import Pose, turned_back
from .parameters import GLASSES_FROM, HAT_FROM, Parameters
from .pens import color, hsv, leaf, segment
from .solids import ellipsoid, turned

HATS = ("cap", "bowler", "straw hat", "party hat")


def hat_index(p: Parameters) -> Tensor:
    """Index [N] in HATS of each person's hat, -1 for none."""
    number = ((p.hat.flatten() - HAT_FROM) / (1 - HAT_FROM) * len(HATS)).floor().clamp(max=len(HATS) - 1)
    return torch.where(p.hat.flatten() > HAT_FROM, number, -torch.ones_like(number)).long()


def paint_glasses(canvas: Canvas, p: Parameters, a: Anatomy, pose: Pose, eyes: Eyes) -> None:
    """Paint round glasses on persons who wear some."""
    wears = p.glasses > GLASSES_FROM
    if not wears.any():
        return
    radius = (0.142 / a.eye_size) * (a.eye_size / eyes.size)
    absent = FAR * ~wears + torch.where(eyes.behind > 0.14, FAR, 0.0)
    distance = (eyes.u.square() + eyes.v.square() + 1e-6).sqrt() - radius
    lens = distance * eyes.size
    (lx, ly), (rx, ry) = eyes.centers
    reach = radius * eyes.size
    bridge = segment(pose.x, pose.y, lx + 0.9 * reach, ly - 0.02, rx - 0.9 * reach, ry - 0.02) + FAR * ~wears
    frame = torch.minimum(lens.abs(), bridge)
    arms = []
    for side, (cx, cy) in ((-1.0, eyes.centers[0]), (1.0, eyes.centers[1])):
        tx, ty, _ = turned(pose.turn, side * (a.cranium[2] - 0.01), a.eye_at[1] - 0.03, 0.02)
        arms.append(segment(pose.x, pose.y, cx + side * 0.93 * reach, cy - 0.02, tx, ty) + FAR * ~wears)
    tint = (lens + absent < 0).float().unsqueeze(1) * 0.14
    canvas.color = canvas.color * (1 - tint) + tint * color(0.75, 0.88, 0.95)
    rims = torch.minimum(torch.minimum(frame, arms[0]), arms[1]) + absent
    dark = hsv(p.wear_hue, 0.55, 0.10 + 0.35 * (p.glasses - GLASSES_FROM) / (1 - GLASSES_FROM))
    canvas.paint(rims - 0.016, dark, gloss=0.8, furry=0.0, lines="none", worn=True)
    canvas.line(rims)
    shine = segment(eyes.u, eyes.v, -0.55 * radius, 0.1 * radius, -0.1 * radius, -0.55 * radius) * eyes.size
    canvas.spark = torch.maximum(canvas.spark, 0.5 * torch.exp(-((shine + absent) / 0.014).square()))


def paint_hat(canvas: Canvas, p: Parameters, a: Anatomy, pose: Pose) -> None:
    """Paint a cap, a bowler, a straw hat or a party hat on persons who wear one."""
    kind = hat_index(p).view(-1, 1, 1)
    if (kind < 0).all():
        return
    solid = partial(ellipsoid, pose.x, pose.y, turn=pose.turn)
    cy, _, rx, ry, rz = a.cranium
    wide, top = rx * (0.92 + 0.16 * p.width), cy - ry
    cloth = hsv(p.wear_hue, 0.62, 0.78)
    straw = color(0.90, 0.74, 0.42).expand_as(cloth)

    def among(*numbers: int) -> Tensor:
        """0 for persons who wear one of these hats, FAR for others."""
        return FAR * ~torch.isin(kind, torch.tensor(numbers))

    line = cy - 0.40 * ry  # lower edge of hats
    brim = solid(center=(0, line - 0.01, -0.02), radii=(wide * torch.where(kind == 2, 1.62, 1.22), 0.045, rz * 1.45))
    main = torch.where((kind == 2).unsqueeze(1), straw, cloth * 0.9)
    crown_tall = 0.62 * ry + torch.where(kind == 1, 0.20, torch.where(kind == 2, 0.10, 0.09))
    crown = solid(center=(0, line - 0.02, -0.02), radii=(wide * 0.93 + 0.05, crown_tall, rz + 0.02))
    _, oy, _ = turned_back(pose.turn, pose.x, pose.y, crown.depth)
    dome = torch.maximum(crown.distance, oy - line + 0.01)
    canvas.paint(brim.distance + among(1, 2), main * 0.85, brim.normal, gloss=0.1, furry=0.1, worn=True)
    ribs = 1 + 0.10 * torch.sin(60 * pose.x) * (kind == 0)
    canvas.paint(dome + among(0, 1, 2), main * ribs.unsqueeze(1), crown.normal, gloss=0.15, furry=0.1, worn=True)
    band = torch.maximum(dome, (oy - line + 0.055).abs() - 0.05)
    ribbon = torch.where((kind == 0).unsqueeze(1), cloth * 0.72, hsv(p.wear_hue + 0.5, 0.6, 0.5))
    canvas.paint(band + among(0, 1, 2), ribbon, crown.normal, gloss=0.2, lines="detail", worn=True)
    bx, by, _ = turned(pose.turn, 0.0, top + 0.10, 0.02)
    tx, ty, _ = turned(pose.turn, 0.0, top - 0.52, -0.06)
    cone, along, across = leaf(pose.x, pose.y, (bx, by), (tx, ty), 0.24, 1.0)
    stripes = torch.sin(26 * along + 3 * across) > 0
    paper = torch.where(stripes.unsqueeze(1), cloth, hsv(p.wear_hue + 0.35, 0.35, 0.97))
    bulge = (across * 0.8, across * 0, across * 0 + 0.7)
    canvas.paint(cone + among(3), paper, bulge, gloss=0.2, furry=0.0, worn=True)
    ball = solid(center=(0, top - torch.where(kind == 3, 0.50, 0.08), -0.05), radii=(0.075, 0.075, 0.075))
    canvas.paint(
        ball.distance + among(0, 3), hsv(p.wear_hue + 0.12, 0.25, 0.97), ball.normal,
        furry=0.8, worn=True,
    )  # fmt: skip
