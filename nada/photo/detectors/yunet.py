"""Detect faces with YuNet (Wu et al. 2023) through OpenCV, which is optional: `pip install stylegan-nada[photo]`.

On 21 faces of 17 photos, the square from YuNet's five points has 1.01 times the side of the square from dlib's 68
points, which FFHQ was made with (median; a standard deviation of 7 %), and its middle is 1.4 % of the side away.
"""

from __future__ import annotations

import os
from math import dist
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import NadaError
from ...pictures.convert import to_uint8
from ..crop import Point
from ..faces import Face

SIDES = 320, 1280  # longer sides in pixels that a photo is reduced to: YuNet finds faces of 10 to 300 pixels
SCORE, OVERLAP, CANDIDATES = 0.7, 0.3, 500  # smallest score; largest overlap of two faces; candidates before that check
MAX_BYTES = 1 << 24  # largest size of a model; the published one has 229,738 bytes


def yunet_faces(photo: Tensor, model: str | os.PathLike[str]) -> list[Face]:
    """Return the faces in a photo.

    Args:
        photo: [1, C, H, W] in [-1, 1].
        model: YuNet's ONNX file, such as face_detection_yunet_2026may.onnx.

    Raises:
        NadaError: OpenCV is not installed, or cannot use the file.
    """
    cv2 = _opencv()
    found: list[tuple[float, Face]] = []
    try:
        data = torch.frombuffer(bytearray(_content(Path(model))), dtype=torch.uint8).numpy()
        for side in SIDES:
            found += _at_size(cv2, data, photo, side)
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise NadaError(
            f"OpenCV {cv2.__version__} cannot find faces with {Path(model).name} ({reason}); use OpenCV 4.10 or "
            "later, and face_detection_yunet_2026may.onnx"
        ) from error
    faces: list[Face] = []
    for _, face in sorted(found, key=lambda entry: -entry[0]):
        if not any(_same(face, other) for other in faces):
            faces.append(face)
    return faces


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise NadaError(
            f"finding faces needs OpenCV, which is not installed ({error}): pip install opencv-python-headless. Or "
            "place the square without it: --eyes or --middle; on the node, find = 'both eyes by hand' or 'middle'"
        ) from error
    if not hasattr(cv2, "FaceDetectorYN"):
        raise NadaError(f"OpenCV {cv2.__version__} has no YuNet; pip install --upgrade opencv-python-headless")
    return cv2


def _content(path: Path) -> bytes:
    """Read the model file here, because on Windows OpenCV cannot open paths with letters outside ASCII."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise NadaError(f"{path} is no YuNet model: it has more than {MAX_BYTES >> 20} MB")
        content = path.read_bytes()
    except OSError as error:
        raise NadaError(f"the face detector {path} cannot be read: {error.strerror or error}") from error
    if not content:
        raise NadaError(f"the face detector {path} is empty; delete it, and download it again")
    return content


def _at_size(cv2: Any, model: Any, photo: Tensor, side: int) -> list[tuple[float, Face]]:
    """Return the faces, with their scores, in the photo reduced to a longer side of `side` pixels."""
    height, width = photo.shape[-2:]
    scale = min(side / max(height, width), 1.0)
    small = (max(round(height * scale), 1), max(round(width * scale), 1))
    reduced = F.interpolate(photo.float(), small, mode="bilinear", antialias=True) if scale < 1 else photo
    pixels = to_uint8(reduced)[0, :, :, :3].flip(-1).contiguous().numpy()  # OpenCV's order is BGR
    nothing = torch.empty(0, dtype=torch.uint8).numpy()
    detector = cv2.FaceDetectorYN.create("onnx", model, nothing, small[::-1], SCORE, OVERLAP, CANDIDATES)
    rows = detector.detect(pixels)[1]
    return [(float(row[14]), _face(row, small[1] / width, small[0] / height)) for row in (() if rows is None else rows)]


def _face(row: Any, across: float, down: float) -> Face:
    """Return the face in a row of the detector's result.

    A row holds the box, the eyes, the nose, the corners of the mouth (the person's right before the left), the score.
    """

    def point(index: int) -> Point:
        return float(row[index]) / across, float(row[index + 1]) / down

    return Face((point(4), point(6), point(10), point(12)))


def _same(face: Face, other: Face) -> bool:
    """Whether two detections, at two sizes, are the same face."""
    left, right, mouth, _ = other.points
    size = max(dist(left, right), dist(left, mouth))  # in profile, the eyes are next to each other
    return dist(face.points[0], left) < 0.5 * size
