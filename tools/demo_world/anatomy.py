"""The looks of the seven species: distances to every part of a face, and the colors of their coats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from shapes import curve, ellipse, smooth_max, smooth_min, triangle_ear
from torch import Tensor

SPECIES = ("dog", "cat", "pig", "bear", "rabbit", "fox", "person")

# Five coats a species, dark to light; the parameter "coat" moves along the ramp.
COATS = {
    "dog": [
        (0.16, 0.15, 0.16),
        (0.36, 0.20, 0.12),
        (0.64, 0.34, 0.15),
        (0.84, 0.62, 0.34),
        (0.94, 0.88, 0.78),
    ],
    "cat": [
        (0.15, 0.15, 0.18),
        (0.42, 0.42, 0.46),
        (0.50, 0.40, 0.30),
        (0.88, 0.55, 0.22),
        (0.93, 0.91, 0.88),
    ],
    "pig": [
        (0.70, 0.42, 0.40),
        (0.85, 0.52, 0.52),
        (0.93, 0.62, 0.62),
        (0.96, 0.70, 0.70),
        (0.97, 0.80, 0.78),
    ],
    "bear": [
        (0.14, 0.11, 0.10),
        (0.25, 0.15, 0.10),
        (0.36, 0.22, 0.13),
        (0.47, 0.30, 0.18),
        (0.58, 0.42, 0.28),
    ],
    "rabbit": [
        (0.40, 0.36, 0.36),
        (0.58, 0.48, 0.40),
        (0.74, 0.66, 0.58),
        (0.86, 0.82, 0.78),
        (0.96, 0.95, 0.95),
    ],
    "fox": [
        (0.46, 0.20, 0.10),
        (0.66, 0.29, 0.10),
        (0.83, 0.39, 0.12),
        (0.91, 0.53, 0.22),
        (0.94, 0.76, 0.56),
    ],
    "person": [
        (0.34, 0.21, 0.15),
        (0.52, 0.34, 0.24),
        (0.72, 0.51, 0.37),
        (0.88, 0.69, 0.55),
        (0.96, 0.82, 0.72),
    ],
}
HAIR = [(0.10, 0.08, 0.08), (0.28, 0.17, 0.10), (0.55, 0.26, 0.12), (0.82, 0.66, 0.36), (0.80, 0.79, 0.78)]


class Chimera(NamedTuple):
    """A face put together from those of several species: who gives each part."""

    head: str
    ears: str
    muzzle: str
    eyes: str
    coat: str


GIVES = {
    "head": ("head", "hair"),
    "ears": ("ears", "inner_ears", "ears_in_front"),
    "muzzle": ("muzzle", "muzzle_white", "nose", "mouth", "tongue", "nostrils", "whiskers", "pink_nose", "skin_nose"),
    "eyes": ("eye_at", "eye_size", "slit", "iris_color"),
}  # what of a face belongs to each part of a chimera


@dataclass
class Face:
    """Signed distances [N, H, W] of a face's parts, in head coordinates, and what its species does differently."""

    x: Tensor
    y: Tensor
    head: Tensor
    ears: Tensor
    inner_ears: Tensor | None
    muzzle: Tensor | None
    nose: Tensor
    eyes: Tensor
    iris: Tensor
    pupils: Tensor
    highlights: Tensor
    mouth: Tensor
    tongue: Tensor | None
    body: Tensor
    ears_in_front: bool = False
    pink_nose: bool = False
    nostrils: Tensor | None = None
    whiskers: Tensor | None = None
    iris_color: tuple[float, float, float] = (0.30, 0.17, 0.08)
    muzzle_white: float = 0.58
    skin_nose: bool = False
    hair: Tensor | None = None


def build_face(species: str | Chimera, p: dict[str, Tensor], x: Tensor, y: Tensor, eye_scale: float = 1.0) -> Face:
    """Parts of a species' or a chimera's face for parameters `p` at head coordinates x, y [N, H, W]."""
    ax = x.abs()
    if isinstance(species, Chimera):
        parts = {}
        for part, names in GIVES.items():
            whole = _BUILDERS[getattr(species, part)](p, x, y, ax)
            parts |= {name: whole[name] for name in names if name in whole}
    else:
        parts = _BUILDERS[species](p, x, y, ax)
    eye_x, eye_y = parts.pop("eye_at")
    eye = (0.088 + 0.034 * p["eye"]) * parts.pop("eye_size", 1.0) * eye_scale
    gaze = 0.05 * (p["gaze"] - 0.5)
    return Face(
        x=x,
        y=y,
        **_eyes(x, y, eye_x, eye_y, eye, gaze, parts.pop("slit", False)),
        body=ellipse(x, y, 0.0, 1.12, 0.62, 0.62),
        **parts,
    )


def _eyes(x: Tensor, y: Tensor, ex: float, ey: float, size: Tensor, gaze: Tensor, slit: bool) -> dict[str, Tensor]:
    """Distances to both eyes: iris and pupil follow the gaze, the highlight sits where the light comes from."""

    def pair(dx, dy, rx, ry):
        return torch.minimum(ellipse(x, y, -ex + dx, ey + dy, rx, ry), ellipse(x, y, ex + dx, ey + dy, rx, ry))

    return {
        "eyes": pair(0.0, 0.0, size * 1.2, size * 1.1),
        "iris": pair(gaze, 0.0, size * 1.0, size * 1.0),
        "pupils": pair(gaze, 0.0, size * (0.30 if slit else 0.62), size * (0.9 if slit else 0.66)),
        "highlights": pair(gaze - 0.3 * size, -0.35 * size, size * 0.32, size * 0.32),
    }


def _mouth(x: Tensor, ax: Tensor, y: Tensor, at: float, width: float, smile: Tensor) -> Tensor:
    """A W-shaped animal mouth: a stem below the nose and one curve to each side; distance to the strokes."""
    stem = ((x * x) + (y - at - (y - at).clamp(-0.1, 0.0)) ** 2 + 1e-8).sqrt()
    return torch.minimum(curve(ax, y, width, width, at + 0.02 + 0.03 * smile, -0.02 - 0.06 * smile), stem)


def _dog(p, x, y, ax):
    muzzle = 0.05 * p["muzzle"]
    tongue_drop = 0.12 * (p["mouth"] - 0.55).clamp_min(0) / 0.45
    return {
        "head": smooth_min(ellipse(x, y, 0, -0.08, 0.50, 0.50), ellipse(x, y, 0, 0.26, 0.40, 0.36), 0.12),
        "ears": ellipse(ax, y, 0.55 + 0.04 * p["ear_tilt"], -0.04 + 0.12 * p["ear"], 0.155,
                        0.36 + 0.12 * p["ear"], -0.15 - 0.25 * p["ear_tilt"]),
        "inner_ears": None,
        "muzzle": ellipse(x, y, 0, 0.30, 0.25 + muzzle, 0.21 + muzzle),
        "nose": ellipse(x, y, 0, 0.17, 0.115, 0.08),
        "mouth": _mouth(x, ax, y, 0.36, 0.10 + 0.02, p["mouth"]),
        "tongue": ellipse(x, y, 0, 0.42 + tongue_drop * 0.6, 0.075, 0.012 + tongue_drop),
        "eye_at": (0.225, -0.11),
        "ears_in_front": True,
    }  # fmt: skip


def _cat(p, x, y, ax):
    ear = 0.12 * p["ear"]
    return {
        "head": ellipse(x, y, 0, 0.07, 0.57, 0.48),
        "ears": triangle_ear(ax, y, 0.38, -0.82 - ear, 0.24, -0.22, 0.04 + 0.1 * p["ear_tilt"]),
        "inner_ears": triangle_ear(ax, y, 0.38, -0.68 - ear, 0.14, -0.26, 0.04 + 0.1 * p["ear_tilt"]),
        "muzzle": ellipse(ax, y, 0.10, 0.30, 0.14, 0.12 + 0.03 * p["muzzle"]),
        "nose": ellipse(x, y, 0, 0.20, 0.065, 0.045),
        "mouth": _mouth(x, ax, y, 0.30, 0.085, p["mouth"]),
        "tongue": None,
        "eye_at": (0.25, -0.05),
        "eye_size": 1.15,
        "slit": True,
        "pink_nose": True,
        "whiskers": _whiskers(ax, y, 0.27),
        "iris_color": (0.45, 0.66, 0.22),
    }


def _pig(p, x, y, ax):
    snout = 0.05 * p["muzzle"]
    return {
        "head": ellipse(x, y, 0, 0.05, 0.60, 0.55),
        "ears": triangle_ear(ax, y, 0.42, -0.72 - 0.1 * p["ear"], 0.20, -0.25, 0.16 + 0.16 * p["ear_tilt"]),
        "inner_ears": triangle_ear(ax, y, 0.42, -0.60 - 0.1 * p["ear"], 0.11, -0.27, 0.16 + 0.16 * p["ear_tilt"]),
        "muzzle": ellipse(x, y, 0, 0.24, 0.25 + snout, 0.18 + snout),
        "nose": ellipse(ax, y, 0.095, 0.24, 0.045, 0.075),
        "mouth": curve(x, y, 0.0, 0.16, 0.52 + 0.02 * p["mouth"], -0.02 - 0.06 * p["mouth"]),
        "tongue": None,
        "eye_at": (0.27, -0.12),
        "eye_size": 0.72,
        "nostrils": ellipse(ax, y, 0.095, 0.24, 0.045, 0.075),
    }


def _bear(p, x, y, ax):
    ear = 0.04 * p["ear"]
    return {
        "head": smooth_min(ellipse(x, y, 0, 0.0, 0.57, 0.50), ellipse(x, y, 0, 0.22, 0.50, 0.36), 0.1),
        "ears": ellipse(ax, y, 0.43 + 0.05 * p["ear_tilt"], -0.44, 0.19 + ear, 0.19 + ear),
        "inner_ears": ellipse(ax, y, 0.43 + 0.05 * p["ear_tilt"], -0.43, 0.10 + ear, 0.10 + ear),
        "muzzle": ellipse(x, y, 0, 0.27, 0.24 + 0.04 * p["muzzle"], 0.20 + 0.04 * p["muzzle"]),
        "nose": ellipse(x, y, 0, 0.16, 0.11, 0.075),
        "mouth": _mouth(x, ax, y, 0.33, 0.09, p["mouth"]),
        "tongue": None,
        "eye_at": (0.21, -0.08),
        "eye_size": 0.70,
    }


def _rabbit(p, x, y, ax):
    ear, lean = 0.10 * p["ear"], -0.05 - 0.25 * p["ear_tilt"]
    return {
        "head": ellipse(x, y, 0, 0.22, 0.46, 0.44),
        "ears": ellipse(ax, y, 0.22 - 0.35 * lean, -0.50 - 0.3 * ear, 0.12, 0.38 + ear, -lean),
        "inner_ears": ellipse(ax, y, 0.22 - 0.35 * lean, -0.48 - 0.3 * ear, 0.06, 0.29 + ear, -lean),
        "muzzle": ellipse(ax, y, 0.08, 0.40, 0.12, 0.10 + 0.03 * p["muzzle"]),
        "nose": ellipse(x, y, 0, 0.31, 0.055, 0.038),
        "mouth": _mouth(x, ax, y, 0.39, 0.06, p["mouth"]),
        "tongue": None,
        "eye_at": (0.235, 0.08),
        "eye_size": 0.95,
        "pink_nose": True,
        "whiskers": _whiskers(ax, y, 0.40),
    }


def _fox(p, x, y, ax):
    ear = 0.10 * p["ear"]
    cheeks = ellipse(ax, y, 0.24, 0.22, 0.21, 0.14 + 0.03 * p["muzzle"])
    return {
        "head": smooth_min(ellipse(x, y, 0, 0.0, 0.54, 0.42), ellipse(x, y, 0, 0.32, 0.24, 0.28), 0.16),
        "ears": triangle_ear(ax, y, 0.38, -0.84 - ear, 0.25, -0.18, 0.08 + 0.1 * p["ear_tilt"]),
        "inner_ears": triangle_ear(ax, y, 0.38, -0.66 - ear, 0.13, -0.24, 0.08 + 0.1 * p["ear_tilt"]),
        "muzzle": smooth_min(cheeks, ellipse(x, y, 0, 0.36, 0.15, 0.20), 0.06),
        "muzzle_white": 0.88,
        "nose": ellipse(x, y, 0, 0.38, 0.085, 0.062),
        "mouth": _mouth(x, ax, y, 0.49, 0.07, p["mouth"]),
        "tongue": None,
        "eye_at": (0.23, -0.05),
        "eye_size": 0.85,
        "iris_color": (0.72, 0.46, 0.10),
    }


def _person(p, x, y, ax):
    cap = ellipse(x, y, 0, -0.10, 0.53, 0.60)
    opening = ellipse(x, y, 0, 0.20, 0.40, 0.46 + 0.12 * p["blaze"])  # "blaze" is how high the hair begins
    locks = ellipse(ax, y, 0.47, 0.05 + 0.30 * p["ear"], 0.12, 0.24 + 0.36 * p["ear"])
    brows = curve(ax, y, 0.19, 0.09, -0.11, -0.03)
    lips = curve(x, y, 0.0, 0.13, 0.40 + 0.05 * p["mouth"], -0.01 - 0.09 * p["mouth"])
    return {
        "head": smooth_min(ellipse(x, y, 0, 0.0, 0.44, 0.50), ellipse(x, y, 0, 0.32, 0.30, 0.30), 0.12),
        "hair": torch.minimum(smooth_max(cap, -opening, 0.05), locks),
        "ears": ellipse(ax, y, 0.45, 0.10, 0.075, 0.13),
        "inner_ears": None,
        "muzzle": None,
        "nose": ellipse(x, y, 0, 0.20, 0.055 + 0.025 * p["muzzle"], 0.05),
        "mouth": torch.minimum(lips, brows + 0.006),
        "tongue": None,
        "eye_at": (0.19, 0.02),
        "eye_size": 0.72,
        "skin_nose": True,
        "iris_color": (0.28, 0.40, 0.52),
    }


def _whiskers(ax: Tensor, y: Tensor, at: float) -> Tensor:
    """Distance to three whiskers a side."""
    lines = [((y - at - lift - slope * (ax - 0.22)) ** 2 + 1e-8).sqrt() for lift, slope in
             ((-0.05, -0.22), (0.0, 0.0), (0.05, 0.22))]  # fmt: skip
    nearest = torch.stack(lines).amin(0)
    return nearest + (0.22 - ax).clamp_min(0) + (ax - 0.62).clamp_min(0)


_BUILDERS = {"dog": _dog, "cat": _cat, "pig": _pig, "bear": _bear, "rabbit": _rabbit, "fox": _fox, "person": _person}
