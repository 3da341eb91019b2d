"""Find the square of a photo: from a detected face, or from numbers given by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from torch import Tensor

from ..errors import UsageError
from .crop import Crop, Point, eyes_crop, face_crop, middle_crop, square_crop
from .faces import LARGEST, Face, check_choice, choose_faces

FACE, EYES, POINTS, SQUARE, MIDDLE = METHODS = "face", "eyes", "points", "square", "middle"
_NUMBERS = {
    EYES: ((4,), "X,Y of the left and X,Y of the right eye"),
    POINTS: ((8,), "X,Y of the left eye, right eye, left and right corner of the mouth"),
    SQUARE: ((3, 4), "X,Y of its middle, its side, and optionally its roll in degrees"),
}


@dataclass(frozen=True)
class Placed:
    """A square, with the points that it was found from."""

    crop: Crop
    points: tuple[Point, ...] = ()
    """Points of the face, in pixels; none for a square that was given by hand."""
    photo: int = 0
    """Index of the photo in a batch."""


@dataclass(frozen=True)
class Placing:
    """Method for finding the square of a photo.

    Raises:
        UsageError: the method is unknown, or has too few or too many numbers.
    """

    method: str = FACE
    """One of `METHODS`: "face" uses a detector, the others take numbers given by hand, in pixels of the photo."""
    numbers: tuple[float, ...] = ()
    """Coordinates, see `parse_numbers`; none for a face and the middle."""
    which: str = LARGEST
    """Choice of the face: "largest", "all", or a number from 1, from the left."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"the square cannot be found by {self.method!r}; choose one of {', '.join(METHODS)}")
        counts, meaning = _NUMBERS.get(self.method, ((0,), "no numbers"))
        if len(self.numbers) not in counts or not all(map(isfinite, self.numbers)):
            raise UsageError(
                f"{self.method} takes {' or '.join(map(str, counts))} numbers in pixels ({meaning}), and got "
                f"{len(self.numbers)}: {', '.join(f'{number:g}' for number in self.numbers[:12]) or 'none'}"
            )
        check_choice(self.which)

    def place(self, photo: Tensor, detect: Callable[[Tensor], Sequence[Face]], index: int = 0) -> list[Placed]:
        """Return the squares of a photo: one, or with `which` "all" one for each face.

        Args:
            photo: [1, C, H, W] in [-1, 1].
            detect: returns the faces in the photo; called only for the method "face".
            index: index of the photo in its batch, for the result.

        Raises:
            UsageError: there is no face, or the square lies outside the photo.
        """
        size = (photo.shape[-2], photo.shape[-1])
        if self.method == FACE:
            faces = choose_faces(detect(photo), self.which, size)
            return [Placed(face.crop(size), face.points, index) for face in faces]
        if self.method == MIDDLE:
            return [Placed(middle_crop(size), photo=index)]
        if self.method == SQUARE:
            x, y, side, *roll = self.numbers
            return [Placed(square_crop((x, y), side, size, *roll), photo=index)]
        points = tuple(zip(self.numbers[::2], self.numbers[1::2], strict=True))
        crop = eyes_crop(points[0], points[1], size) if self.method == EYES else face_crop(points, size)
        return [Placed(crop, points, index)]


def parse_numbers(text: str) -> tuple[float, ...]:
    """Parse a text of numbers that are separated by commas, semicolons or spaces.

    Raises:
        UsageError: the text has anything else in it.
    """
    parts = re.split(r"[,;\s]+", text.strip()) if text.strip() else []
    try:
        return tuple(float(part) for part in parts)
    except ValueError as error:
        raise UsageError(f"{text[:100]!r} is no list of numbers; write for example 212.5,240,310,241") from error
