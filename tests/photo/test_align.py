"""Find the square: faces from detectors, the selected face, and manual places."""

from __future__ import annotations

import sys
from math import dist
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nada.errors import NadaError, UsageError
from nada.photo.align import Placing, parse_numbers
from nada.photo.crop import eyes_crop, face_crop, middle_crop, square_crop
from nada.photo.detectors import yunet
from nada.photo.detectors.yunet import yunet_faces
from nada.photo.faces import LEFT_EYE, RIGHT_EYE, Face, choose_faces, mesh_faces

SIZE = (300, 400)


def face(x: float, y: float, eyes: float) -> Face:
    """A face around a place, with this distance between the eyes."""
    half = eyes / 2
    return Face(((x - half, y), (x + half, y), (x - half, y + eyes), (x + half, y + eyes)))


FACES = [face(300, 100, 30), face(60, 120, 20), face(180, 80, 10)]


@pytest.mark.parametrize(
    ("which", "eyes"), [("largest", [30]), ("all", [20, 10, 30]), ("1", [20]), ("2", [10]), ("3", [30])]
)
def test_which_face_is_meant(which, eyes):
    chosen = choose_faces(FACES, which, SIZE)
    assert [dist(*entry.points[:2]) for entry in chosen] == eyes


@pytest.mark.parametrize(
    ("faces", "which", "message"),
    [
        ([], "largest", "no face was found in this photo of 400 x 300 pixels.*by hand"),
        (FACES, "4", "face 4 is asked for, and 3 were found"),
        (FACES, "0", "must be largest, all, or a number"),
        (FACES, "x", "must be largest, all, or a number"),
        (FACES, "-1", "must be largest, all, or a number"),
        (FACES, "²", "must be largest, all, or a number"),
        (FACES, "1" * 9999, "must be largest, all, or a number"),
    ],
)
def test_faces_that_are_not_there_get_a_sentence(faces, which, message):
    with pytest.raises(UsageError, match=message):
        choose_faces(faces, which, SIZE)


def mesh() -> dict:
    """The output of ComfyUI's detector for one face: rings around the eyes, everything else at the chin."""
    places = np.full((478, 2), 200.0, dtype=np.float32)
    for middle, ring in (((100, 90), LEFT_EYE), ((150, 92), RIGHT_EYE)):
        for i, index in enumerate(ring):
            places[index] = middle[0] + 8 * np.cos(i * np.pi / 3), middle[1] + 4 * np.sin(i * np.pi / 3)
    places[61], places[291] = (105, 140), (146, 141)
    return {"landmarks_xy": places, "score": 0.9}


def landmarks(*frames: list, size: tuple = SIZE) -> dict:
    return {"frames": [*frames], "image_size": size, "connection_sets": {"lips": frozenset({(61, 291)})}}


def test_landmarks_of_comfyui_give_the_four_points():
    (found,) = mesh_faces(landmarks([], [mesh()]), 1, SIZE)
    expected = [(100, 90), (150, 92), (105, 140), (146, 141)]
    assert np.allclose(found.points, expected, atol=1e-4)
    assert found.crop(SIZE).side == pytest.approx(face_crop(expected, SIZE).side)
    assert mesh_faces(landmarks([], [mesh()]), 0, SIZE) == []


@pytest.mark.parametrize(
    ("value", "index", "message"),
    [
        (None, 0, "holds no landmarks"),
        ({"frames": 5, "image_size": SIZE}, 0, "holds no landmarks"),
        (landmarks([mesh()]), 1, "1 pictures of 400 x 300 pixels, the photo is number 2"),
        (landmarks([mesh()], size=(64, 64)), 0, "64 x 64 pixels.*400 x 300"),
        (landmarks([{}]), 0, "has no points"),
        (landmarks([{"landmarks_xy": "abc"}]), 0, "has no points"),
        (landmarks([{"landmarks_xy": np.zeros((68, 2))}]), 0, r"\[68, 2\]"),
        (landmarks([{"landmarks_xy": np.zeros((478, 2))}]), 0, None),
    ],
)
def test_landmarks_of_something_else_are_refused(value, index, message):
    if message is None:  # all points in one place: detected, but refused as a square
        (found,) = mesh_faces(value, index, SIZE)
        with pytest.raises(UsageError, match="no face"):
            found.crop(SIZE)
        return
    with pytest.raises(UsageError, match=message):
        mesh_faces(value, index, SIZE)


PHOTO = torch.zeros(1, 3, *SIZE)


def never(photo):
    raise AssertionError("a face was looked for")


def test_places_by_hand():
    points = [(100.0, 90.0), (150.0, 92.0), (105.0, 140.0), (146.0, 141.0)]
    flat = tuple(number for point in points for number in point)
    cases = [
        (Placing("points", flat), face_crop(points, SIZE)),
        (Placing("eyes", flat[:4]), eyes_crop(*points[:2], SIZE)),
        (Placing("square", (200, 150, 100)), square_crop((200, 150), 100, SIZE)),
        (Placing("square", (200, 150, 100, 30)), square_crop((200, 150), 100, SIZE, 30)),
        (Placing("middle"), middle_crop(SIZE)),
    ]
    for placing, crop in cases:
        (placed,) = placing.place(PHOTO, never)
        assert placed.crop == crop


def test_a_face_is_looked_for_in_the_photo():
    seen = []

    def detect(photo):
        seen.append(photo.shape)
        return FACES

    placed = Placing(which="all").place(PHOTO, detect)
    assert [len(entry.points) for entry in placed] == [4, 4, 4]
    assert seen == [PHOTO.shape]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Placing("nose"), "'nose'; choose one of face, eyes, points, square, middle"),
        (lambda: Placing("eyes", (1, 2, 3)), "takes 4 numbers in pixels.*got 3: 1, 2, 3"),
        (lambda: Placing("points", (1,) * 7), "takes 8 numbers"),
        (lambda: Placing("square", ()), "takes 3 or 4 numbers.*got 0: none"),
        (lambda: Placing("middle", (1,)), "takes 0 numbers"),
        (lambda: Placing("eyes", (1, 2, 3, float("inf"))), "takes 4 numbers"),
        (lambda: Placing(which="best"), "largest, all"),
        (lambda: parse_numbers("12, ab"), "no list of numbers"),
    ],
)
def test_wrong_places_get_a_sentence(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("text", ["1,2.5,-3", " 1; 2.5 ;-3 ", "1 2.5\n-3"])
def test_numbers_in_a_text(text):
    assert parse_numbers(text) == (1, 2.5, -3)
    assert parse_numbers(" ") == ()


class FakeOpenCV:
    """Stand-in for OpenCV that finds a face at a fixed place of the photo, at any reduced size."""

    __version__ = "4.99"
    error = ZeroDivisionError
    asked: list = []  # noqa: RUF012
    faces = ((0.5, 0.4, 0.1),)

    class FaceDetectorYN:
        @staticmethod
        def create(framework, model, config, size, score, overlap, most):
            assert framework == "onnx"
            if bytes(model) == b"broken":
                raise ZeroDivisionError("cannot parse\n this")
            FakeOpenCV.asked.append(size)
            return SimpleNamespace(detect=lambda pixels: FakeOpenCV.detect(size, pixels))

    @classmethod
    def detect(cls, size, pixels):
        assert pixels.dtype == np.uint8
        assert pixels.shape == (size[1], size[0], 3)
        rows = []
        for x, y, eyes in cls.faces:
            places = [(x - eyes / 2, y), (x + eyes / 2, y), (x, y), (x - eyes / 2, y + eyes), (x + eyes / 2, y + eyes)]
            rows.append([0, 0, 1, 1, *(n for px, py in places for n in (px * size[0], py * size[1])), 0.9])
        return 1, np.array(rows, dtype=np.float32) if rows else None


@pytest.fixture
def opencv(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", FakeOpenCV)
    monkeypatch.setattr(FakeOpenCV, "asked", [])
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"model")
    return model


@pytest.mark.parametrize("size", [(600, 800), (3000, 2000), (100, 90)])
def test_yunet_looks_for_large_and_for_small_faces_and_counts_each_once(opencv, monkeypatch, size):
    monkeypatch.setattr(FakeOpenCV, "faces", ((0.3, 0.4, 0.1), (0.7, 0.4, 0.05)))
    faces = yunet_faces(torch.zeros(1, 3, *size), opencv)
    assert all(max(asked) <= 1280 for asked in FakeOpenCV.asked)
    assert min(max(asked) for asked in FakeOpenCV.asked) == min(320, max(size))
    left, right = sorted(faces, key=lambda found: found.points[0])
    assert left.points[0] == pytest.approx((0.25 * size[1], 0.4 * size[0]), abs=1e-2)
    assert right.points[3] == pytest.approx((0.725 * size[1], 0.45 * size[0]), abs=1e-2)


def test_yunet_finds_none(opencv, monkeypatch):
    monkeypatch.setattr(FakeOpenCV, "faces", ())
    assert yunet_faces(PHOTO, opencv) == []


def test_what_keeps_yunet_from_working_gets_a_sentence(opencv, monkeypatch, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name, message in (
        ("broken.onnx", "OpenCV 4.99 cannot find faces with broken.onnx"),
        ("empty.onnx", "is empty"),
        ("absent.onnx", "cannot be read"),
    ):
        with pytest.raises(NadaError, match=message):
            yunet_faces(PHOTO, tmp_path / name)
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4.4"))
    with pytest.raises(NadaError, match="has no YuNet"):
        yunet_faces(PHOTO, opencv)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(NadaError, match=r"pip install opencv-python-headless.*by hand"):
        yunet_faces(PHOTO, opencv)


def test_yunet_itself_finds_the_astronaut():
    """Runs only where OpenCV is installed and the model was downloaded (`nada models yunet`)."""
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install stylegan-nada[photo]")
    from nada.cli.align import DETECTORS, open_photo
    from nada.published.catalog import YUNET

    model = DETECTORS.expanduser() / YUNET.file
    if not model.is_file():
        pytest.skip(f"the model of YuNet is not at {model}")
    photo = open_photo(Path(__file__).parent / "pictures" / "astronaut.jpg")
    (found,) = choose_faces(yunet_faces(photo, model), "largest", (512, 512))
    crop = found.crop((512, 512))
    assert crop.centre == pytest.approx((224.7, 106.6), abs=4)
    assert crop.side == pytest.approx(173.7, rel=0.08)


def test_a_face_in_profile_counts_once():
    """Its eyes are next to each other; the distance to the mouth tells its size."""
    face = Face(((100, 100), (104, 100), (100, 140), (106, 140)))
    near = Face(((103, 101), (107, 101), (103, 141), (109, 141)))
    assert yunet._same(near, face)
    assert not yunet._same(Face(tuple((x + 30, y) for x, y in face.points)), face)
