"""Build a scene: a figure of a species in its place, with everything that a style needs to make a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from . import face, figure, people, wear
from .anatomy import SPECIES, Anatomy
from .backdrop import backdrop
from .canvas import Canvas, Manner, Scene
from .coat import coat_color
from .noise import Noise
from .parameters import Parameters


def coordinates(size: int) -> tuple[Tensor, Tensor]:
    """Coordinates x and y of the pixels' centers, each [size, size] in -1..1."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    py, px = torch.meshgrid(axis, axis, indexing="ij")
    return px, py


def build_scene(p: Parameters, species: str | Anatomy, noise: Noise, manner: Manner) -> Scene:
    """Build the scene of N drawings; `species` is a name or an anatomy, such as `anatomy.mixed` returns."""
    a = SPECIES[species] if isinstance(species, str) else species
    px, py = coordinates(noise.size)
    shown_x, shown_y = px.expand(len(p), -1, -1), py.expand(len(p), -1, -1)
    if manner.tremble:
        shown_x = shown_x + manner.tremble * noise.cloud(7)
        shown_y = shown_y + manner.tremble * noise.cloud(7)
    pose = figure.pose_of(p, shown_x, shown_y)
    head = figure.build_head(p, a, pose, noise, manner)
    canvas = Canvas.blank(len(p), noise.size)
    person = a.lips > 0.5
    if person:
        people.paint_hair_behind(canvas, p, pose, noise)
    figure.paint_body(canvas, p, a, pose, head)
    figure.paint_collar(canvas, p, a, pose)
    if person:
        figure.paint_ears(canvas, p, a, pose, head)
    figure.paint_head(canvas, p, a, head)
    if person:
        people.paint_beard(canvas, p, a, head)
    face.paint_mouth(canvas, p, a, pose, head)
    face.paint_nose(canvas, p, a, pose, head)
    eyes = face.eye_frames(p, a, pose, head, manner)
    face.paint_eyes(canvas, p, a, eyes, manner)
    if person:
        people.paint_hair(canvas, p, pose, head)
    wear.paint_glasses(canvas, p, a, pose, eyes)
    wear.paint_hat(canvas, p, a, pose)
    if not person:
        figure.paint_ears(canvas, p, a, pose, head)
    place, place_lines = backdrop(p, shown_x, shown_y)
    return Scene(
        p, canvas, place, place_lines, px[None], py[None], pose.x, pose.y, head.place, pose.center, coat_color(p, a)
    )
