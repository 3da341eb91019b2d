"""Shapes and colors of the species as numbers: solids of the head, ears, eyes, nose and mouth.

Lengths are in units of the head's frame (a head is about 1 high), y points down, z toward the viewer. Since everything
is a number, a creature between two species is an average of theirs (`mixed`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

Vector = tuple[float, float, float]
Ramp = tuple[Vector, ...]


@dataclass(frozen=True)
class Ear:
    """One kind of ears: base and tip of the right ear, half its width, and its inside."""

    base: Vector
    tip: Vector
    width: float
    point: float  # 0 round .. 1 pointed
    inside: float  # share of the width that shows the inside; 0 for ears seen from the back


@dataclass(frozen=True)
class Anatomy:
    """The numbers of one species; solids are (center y, center z, radius x, radius y, radius z)."""

    cranium: tuple[float, ...]
    jaw: tuple[float, ...]
    muzzle: tuple[float, ...]
    long_snout: float  # additional length of the muzzle for the longest snout
    ears: tuple[Ear, Ear]
    eye_at: tuple[float, float]  # x and y of the right eye
    eye_size: float
    iris_share: float  # radius of the iris in a half open eye, as a share of the eye's
    pupil: tuple[float, float]  # width and height as shares of the iris
    slant: float  # radians by which the outer corner of an eye is higher
    nose: tuple[float, float, float]  # y, and radii
    nose_color: Vector
    nostrils: float  # size of nostrils on a flat snout, 0 for none
    mouth: tuple[float, float]  # y and half width
    lips: float  # 0 the mouth of an animal .. 1 lips
    tongue: float
    whiskers: float
    pale_muzzle: float  # how much paler than the coat the muzzle is
    pale_cheeks: float
    furry: float
    marked: float  # visibility of markings
    coats: Ramp
    irises: Ramp
    inner_ear: Vector


def mixed(a: Anatomy, b: Anatomy, share: float) -> Anatomy:
    """Interpolate two anatomies: `share` (0..1) of the way from `a` to `b`."""

    def between(u: Any, v: Any) -> Any:
        if isinstance(u, tuple):
            return tuple(between(s, t) for s, t in zip(u, v, strict=True))
        if isinstance(u, Ear):
            return Ear(*(between(getattr(u, f.name), getattr(v, f.name)) for f in fields(Ear)))
        return u + (v - u) * share

    return Anatomy(*(between(getattr(a, f.name), getattr(b, f.name)) for f in fields(Anatomy)))


DOG = Anatomy(
    cranium=(-0.08, 0.0, 0.45, 0.44, 0.44),
    jaw=(0.20, 0.06, 0.36, 0.32, 0.36),
    muzzle=(0.24, 0.40, 0.215, 0.185, 0.26),
    long_snout=0.16,
    ears=(
        Ear((0.34, -0.34, 0.02), (0.60, 0.26, 0.10), 0.19, 0.10, 0.0),
        Ear((0.29, -0.34, -0.05), (0.42, -0.86, -0.02), 0.20, 0.85, 0.6),
    ),
    eye_at=(0.185, -0.085),
    eye_size=0.098,
    iris_share=0.90,
    pupil=(0.60, 0.60),
    slant=0.05,
    nose=(0.145, 0.105, 0.075),
    nose_color=(0.09, 0.08, 0.085),
    nostrils=0.0,
    mouth=(0.33, 0.155),
    lips=0.0,
    tongue=1.0,
    whiskers=0.0,
    pale_muzzle=0.45,
    pale_cheeks=0.0,
    furry=0.9,
    marked=1.0,
    coats=((0.13, 0.12, 0.13), (0.34, 0.19, 0.11), (0.62, 0.34, 0.15), (0.86, 0.63, 0.34), (0.94, 0.90, 0.83)),
    irises=((0.16, 0.08, 0.04), (0.34, 0.18, 0.07), (0.50, 0.30, 0.10), (0.36, 0.52, 0.68)),
    inner_ear=(0.80, 0.55, 0.50),
)
CAT = Anatomy(
    cranium=(0.0, 0.0, 0.50, 0.43, 0.43),
    jaw=(0.20, 0.05, 0.40, 0.26, 0.34),
    muzzle=(0.23, 0.32, 0.20, 0.13, 0.17),
    long_snout=0.05,
    ears=(
        Ear((0.31, -0.28, -0.02), (0.43, -0.76, 0.02), 0.23, 0.95, 0.66),
        Ear((0.33, -0.28, -0.02), (0.50, -0.60, 0.06), 0.20, 0.75, 0.60),
    ),
    eye_at=(0.205, -0.01),
    eye_size=0.112,
    iris_share=0.95,
    pupil=(0.34, 0.88),
    slant=0.22,
    nose=(0.185, 0.058, 0.042),
    nose_color=(0.85, 0.50, 0.50),
    nostrils=0.0,
    mouth=(0.265, 0.105),
    lips=0.0,
    tongue=0.0,
    whiskers=1.0,
    pale_muzzle=0.62,
    pale_cheeks=0.15,
    furry=1.0,
    marked=1.0,
    coats=((0.15, 0.15, 0.17), (0.42, 0.43, 0.47), (0.56, 0.44, 0.32), (0.89, 0.56, 0.23), (0.95, 0.93, 0.90)),
    irises=((0.40, 0.62, 0.24), (0.62, 0.72, 0.26), (0.88, 0.66, 0.18), (0.34, 0.62, 0.80)),
    inner_ear=(0.90, 0.62, 0.60),
)
PIG = Anatomy(
    cranium=(0.0, 0.0, 0.50, 0.46, 0.44),
    jaw=(0.22, 0.05, 0.46, 0.34, 0.38),
    muzzle=(0.20, 0.40, 0.205, 0.165, 0.20),
    long_snout=0.10,
    ears=(
        Ear((0.33, -0.32, 0.05), (0.56, -0.52, 0.26), 0.20, 0.80, 0.0),
        Ear((0.31, -0.34, -0.02), (0.46, -0.72, 0.04), 0.19, 0.80, 0.62),
    ),
    eye_at=(0.215, -0.105),
    eye_size=0.075,
    iris_share=0.86,
    pupil=(0.62, 0.62),
    slant=0.0,
    nose=(0.20, 0.205, 0.155),
    nose_color=(0.93, 0.55, 0.56),
    nostrils=1.0,
    mouth=(0.44, 0.17),
    lips=0.0,
    tongue=0.0,
    whiskers=0.0,
    pale_muzzle=0.12,
    pale_cheeks=0.0,
    furry=0.25,
    marked=0.75,
    coats=((0.46, 0.30, 0.28), (0.84, 0.52, 0.50), (0.93, 0.62, 0.61), (0.97, 0.73, 0.71), (0.98, 0.83, 0.80)),
    irises=((0.16, 0.10, 0.08), (0.28, 0.18, 0.12), (0.34, 0.42, 0.50), (0.40, 0.58, 0.70)),
    inner_ear=(0.90, 0.50, 0.52),
)
BEAR = Anatomy(
    cranium=(-0.02, 0.0, 0.49, 0.45, 0.44),
    jaw=(0.20, 0.05, 0.45, 0.33, 0.37),
    muzzle=(0.25, 0.40, 0.21, 0.18, 0.22),
    long_snout=0.12,
    ears=(
        Ear((0.33, -0.28, -0.08), (0.47, -0.54, -0.06), 0.165, 0.0, 0.64),
        Ear((0.35, -0.26, -0.08), (0.53, -0.46, -0.06), 0.19, 0.0, 0.64),
    ),
    eye_at=(0.175, -0.06),
    eye_size=0.068,
    iris_share=0.95,
    pupil=(0.60, 0.60),
    slant=0.0,
    nose=(0.165, 0.105, 0.072),
    nose_color=(0.10, 0.08, 0.08),
    nostrils=0.0,
    mouth=(0.335, 0.125),
    lips=0.0,
    tongue=0.0,
    whiskers=0.0,
    pale_muzzle=0.34,
    pale_cheeks=0.0,
    furry=1.1,
    marked=0.45,
    coats=((0.13, 0.11, 0.11), (0.26, 0.16, 0.10), (0.38, 0.24, 0.14), (0.55, 0.37, 0.22), (0.95, 0.93, 0.88)),
    irises=((0.12, 0.06, 0.03), (0.22, 0.12, 0.05), (0.36, 0.20, 0.08), (0.46, 0.28, 0.10)),
    inner_ear=(0.56, 0.40, 0.34),
)
RABBIT = Anatomy(
    cranium=(0.06, 0.0, 0.41, 0.42, 0.41),
    jaw=(0.26, 0.06, 0.37, 0.27, 0.34),
    muzzle=(0.27, 0.32, 0.185, 0.135, 0.15),
    long_snout=0.06,
    ears=(
        Ear((0.17, -0.28, -0.02), (0.24, -1.02, -0.02), 0.125, 0.12, 0.60),
        Ear((0.27, -0.26, 0.0), (0.58, 0.42, 0.06), 0.16, 0.0, 0.0),
    ),
    eye_at=(0.225, 0.0),
    eye_size=0.095,
    iris_share=0.96,
    pupil=(0.62, 0.66),
    slant=0.0,
    nose=(0.225, 0.052, 0.036),
    nose_color=(0.90, 0.58, 0.58),
    nostrils=0.0,
    mouth=(0.30, 0.085),
    lips=0.0,
    tongue=0.0,
    whiskers=0.8,
    pale_muzzle=0.55,
    pale_cheeks=0.1,
    furry=1.0,
    marked=0.9,
    coats=((0.28, 0.25, 0.26), (0.52, 0.43, 0.36), (0.72, 0.60, 0.48), (0.82, 0.79, 0.76), (0.97, 0.96, 0.95)),
    irises=((0.16, 0.09, 0.06), (0.34, 0.20, 0.10), (0.45, 0.55, 0.66), (0.78, 0.34, 0.38)),
    inner_ear=(0.93, 0.68, 0.66),
)
FOX = Anatomy(
    cranium=(-0.04, 0.0, 0.45, 0.38, 0.40),
    jaw=(0.16, 0.05, 0.40, 0.23, 0.34),
    muzzle=(0.24, 0.42, 0.135, 0.125, 0.30),
    long_snout=0.14,
    ears=(
        Ear((0.27, -0.28, -0.04), (0.40, -0.84, -0.02), 0.21, 0.92, 0.62),
        Ear((0.30, -0.26, -0.04), (0.52, -0.76, 0.0), 0.25, 0.80, 0.66),
    ),
    eye_at=(0.19, -0.06),
    eye_size=0.086,
    iris_share=0.93,
    pupil=(0.42, 0.80),
    slant=0.34,
    nose=(0.20, 0.070, 0.055),
    nose_color=(0.09, 0.08, 0.085),
    nostrils=0.0,
    mouth=(0.325, 0.105),
    lips=0.0,
    tongue=0.0,
    whiskers=0.35,
    pale_muzzle=0.75,
    pale_cheeks=0.95,
    furry=1.1,
    marked=0.45,
    coats=((0.36, 0.20, 0.14), (0.66, 0.29, 0.10), (0.83, 0.38, 0.11), (0.92, 0.54, 0.22), (0.95, 0.84, 0.72)),
    irises=((0.58, 0.34, 0.08), (0.74, 0.48, 0.10), (0.84, 0.62, 0.16), (0.48, 0.52, 0.24)),
    inner_ear=(0.24, 0.17, 0.15),
)
PERSON = Anatomy(
    cranium=(-0.06, 0.0, 0.385, 0.45, 0.43),
    jaw=(0.20, 0.07, 0.305, 0.345, 0.34),
    muzzle=(0.10, 0.37, 0.058, 0.120, 0.115),
    long_snout=0.03,
    ears=(
        Ear((0.345, 0.02, -0.02), (0.43, 0.09, -0.06), 0.10, 0.0, 0.5),
        Ear((0.345, 0.01, -0.02), (0.47, 0.03, -0.06), 0.11, 0.0, 0.5),
    ),
    eye_at=(0.155, 0.005),
    eye_size=0.082,
    iris_share=0.62,
    pupil=(0.48, 0.48),
    slant=0.06,
    nose=(0.165, 0.070, 0.050),
    nose_color=(0.0, 0.0, 0.0),
    nostrils=0.0,
    mouth=(0.325, 0.125),
    lips=1.0,
    tongue=0.0,
    whiskers=0.0,
    pale_muzzle=0.0,
    pale_cheeks=0.0,
    furry=0.0,
    marked=0.0,
    coats=((0.33, 0.20, 0.14), (0.52, 0.34, 0.23), (0.72, 0.50, 0.36), (0.89, 0.68, 0.53), (0.97, 0.82, 0.72)),
    irises=((0.24, 0.13, 0.07), (0.42, 0.26, 0.12), (0.36, 0.50, 0.30), (0.30, 0.50, 0.72)),
    inner_ear=(0.72, 0.42, 0.36),
)
SPECIES = {"dog": DOG, "cat": CAT, "pig": PIG, "bear": BEAR, "rabbit": RABBIT, "fox": FOX, "person": PERSON}
HAIR = ((0.09, 0.07, 0.07), (0.27, 0.16, 0.10), (0.50, 0.24, 0.11), (0.84, 0.66, 0.36), (0.82, 0.81, 0.80))
