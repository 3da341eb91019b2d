"""Faces in a photo, from any detector: the four points that FFHQ's square needs, and the choice among faces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from .crop import Crop, Point, face_crop

LARGEST, ALL = "largest", "all"
# Indices in MediaPipe's face mesh: rings around both eyes, and the corners of the mouth; left as seen in the picture.
LEFT_EYE, RIGHT_EYE = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)
MOUTH = 61, 291
MESH = 468  # number of points without those of the irises


@dataclass(frozen=True)
class Face:
    """A face that was found in a photo."""

    points: tuple[Point, Point, Point, Point]
    """Middle of the left and the right eye, left and right corner of the mouth, in pixels."""

    def crop(self, size: tuple[int, int]) -> Crop:
        """Return FFHQ's square around the face, in a photo of height and width `size`."""
        return face_crop(self.points, size)


def choose_faces(faces: Sequence[Face], which: str, size: tuple[int, int]) -> list[Face]:
    """Choose among the faces of a photo.

    Args:
        faces: all faces that were found.
        which: `LARGEST`; `ALL`, from left to right; or a number from 1, counted from the left.
        size: height and width of the photo.

    Raises:
        UsageError: there are no faces, or fewer than the number.
    """
    check_choice(which)
    if not faces:
        raise UsageError(
            f"no face was found in this photo of {size[1]} x {size[0]} pixels. Give the middles of both eyes by hand; "
            "or, if it is no face, a square by hand or the middle"
        )
    ordered = sorted(faces, key=lambda face: face.crop(size).centre[0])
    if which == LARGEST:
        return [max(ordered, key=lambda face: face.crop(size).side)]
    if which == ALL:
        return ordered
    if int(which) > len(ordered):
        raise UsageError(f"face {which} is asked for, and {len(ordered)} were found; they are counted from the left")
    return [ordered[int(which) - 1]]


def check_choice(which: str) -> None:
    """Check the choice of a face for `choose_faces`.

    Raises:
        UsageError: it is neither "largest" nor "all" nor a number from 1.
    """
    if which not in (LARGEST, ALL) and not re.fullmatch(r"[1-9][0-9]{0,3}", which):
        raise UsageError(f"the face is {which[:80]!r}; it must be {LARGEST}, {ALL}, or a number from 1, from the left")


def mesh_faces(landmarks: Any, index: int, size: tuple[int, int]) -> list[Face]:
    """Return the faces of one picture from the output of ComfyUI's "Detect Face Landmarks (MediaPipe)".

    Args:
        landmarks: FACE_LANDMARKS, {"frames": [[{"landmarks_xy": [478, 2] pixels, ...} per face] per picture],
            "image_size": (height, width), ...}.
        index: index of the picture in the batch.
        size: height and width of the photos.

    Raises:
        UsageError: these are no such landmarks, or they belong to other pictures.
    """
    match landmarks:
        case {"frames": [*frames], "image_size": (int(height), int(width))}:
            if (height, width) != tuple(size) or index >= len(frames):
                raise UsageError(
                    f"the face landmarks are those of {len(frames)} pictures of {width} x {height} pixels, the photo "
                    f"is number {index + 1} of {size[1]} x {size[0]}; give both nodes the same pictures"
                )
            return [_mesh_face(face) for face in frames[index]]
    raise UsageError("face_landmarks holds no landmarks; connect Detect Face Landmarks (MediaPipe)")


def _mesh_face(face: Any) -> Face:
    try:
        points = torch.as_tensor(face["landmarks_xy"]).double()
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"a face in face_landmarks has no points ({error}); detect the faces again") from error
    if points.ndim != 2 or len(points) < MESH or points.shape[1] < 2:
        raise UsageError(
            f"a face in face_landmarks has points {list(points.shape)} instead of [478, 2]; connect the landmarks of "
            "Detect Face Landmarks (MediaPipe)"
        )
    return Face((_mean(points, LEFT_EYE), _mean(points, RIGHT_EYE), _mean(points, MOUTH[:1]), _mean(points, MOUTH[1:])))


def _mean(points: Tensor, indices: Sequence[int]) -> Point:
    x, y = points[list(indices), :2].mean(dim=0).tolist()
    return x, y
