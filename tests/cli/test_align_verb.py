"""`nada align`: write pictures of the square, and paste them back into the photo."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nada.cli import align as verb
from nada.cli import main
from nada.photo.crop import square_crop
from nada.photo.faces import Face

PHOTO = Path(__file__).parents[1] / "photo" / "pictures" / "astronaut.jpg"
EYES = "202.4,101,245.6,103.3"


def align(tmp_path, *more: str, photo: Path = PHOTO) -> int:
    return main(["align", str(photo), "--out", str(tmp_path / "out"), "--size", "64", *more])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "where",
    [["--eyes", EYES], ["--square", "224,106,174,2.8"], ["--middle"], ["--points", f"{EYES},203.5,140,246,141"]],
)
def test_a_square_given_by_hand(tmp_path, capsys, where):
    assert align(tmp_path, *where, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert Image.open(tmp_path / "out" / "square.png").size == (64, 64)
    assert Image.open(tmp_path / "out" / "found.png").size == (512, 512)
    assert len(record["squares"]) == 1
    assert record["squares"][0]["matrix"][2] == [0, 0, 1]
    assert not (tmp_path / "out" / "pasted.png").exists()


def test_pasted_back_unchanged_it_is_the_photo(tmp_path):
    assert align(tmp_path, "--eyes", EYES, "--size", "512") == 0
    square = tmp_path / "out" / "square.png"
    assert align(tmp_path, "--eyes", EYES, "--paste", str(square), "--region", "square", "--overwrite") == 0
    difference = np.abs(pixels(tmp_path / "out" / "pasted.png") - pixels(PHOTO))
    assert difference.mean() < 0.2
    assert difference[300:].max() == 0


def test_every_face_gets_its_square(tmp_path, monkeypatch):
    faces = [Face(((x, 100), (x + 40, 100), (x, 140), (x + 40, 140))) for x in (50, 200, 350)]
    monkeypatch.setattr(verb, "find_faces", lambda photo, detector: faces)
    assert align(tmp_path, "--face", "all") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "square_1.png", "square_2.png", "square_3.png", "found.png",
    }  # fmt: skip
    assert align(tmp_path, "--face", "all", "--paste", str(PHOTO), "--overwrite") == 2


def test_the_square_is_fitted_to_a_generator(tmp_path, monkeypatch, capsys):
    seen = []

    def fit(generator, photo, start, progress):
        progress(1)
        seen.append((generator.config.resolution, tuple(photo.shape)))
        return square_crop(start.centre, 100, start.size)

    monkeypatch.setattr(verb, "fit_square", fit)
    monkeypatch.setattr(verb, "FITTED", tmp_path / "squares")
    for more in ((), ("--overwrite",)):
        assert align(tmp_path, "--middle", "--fit", "demo", "--device", "cpu", "--json", *more) == 0
        assert json.loads(capsys.readouterr().out)["squares"][0]["side"] == pytest.approx(100)
        assert seen == [(128, (1, 3, 512, 512))], "and what was done is not repeated"


def test_a_picture_that_is_not_square_is_pasted_in_its_shape(tmp_path):
    picture = Image.new("RGB", (128, 64), (255, 0, 0))
    picture.paste((0, 0, 255), (48, 16, 80, 48))
    picture.save(tmp_path / "wide.png")
    options = ("--square", "224,106,100", "--paste", str(tmp_path / "wide.png"), "--region", "square", "--feather", "0")
    assert align(tmp_path, *options) == 0
    blue = pixels(tmp_path / "out" / "pasted.png")[..., 2] - pixels(tmp_path / "out" / "pasted.png")[..., 0] > 200
    rows, columns = np.nonzero(blue[56:156, 174:274])
    assert rows.max() - rows.min() == pytest.approx(24, abs=2)
    assert columns.max() - columns.min() == pytest.approx(24, abs=2)


def test_exif_orientation_counts(tmp_path):
    picture = Image.open(PHOTO).rotate(90, expand=True)  # as stored by a camera held on its side
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "side.jpg", exif=exif, quality=95)
    assert align(tmp_path, "--eyes", EYES) == 0
    upright = pixels(tmp_path / "out" / "square.png")
    assert align(tmp_path, "--eyes", EYES, "--overwrite", photo=tmp_path / "side.jpg") == 0
    assert np.abs(pixels(tmp_path / "out" / "square.png") - upright).mean() < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eyes", "1,2,3"], "takes 4 numbers"),
        (["--eyes", "a,b"], "no list of numbers"),
        (["--eyes", "1,2,3,4", "--middle"], "not allowed with"),
        (["--square", "9000,9000,50"], "outside the photo"),
        (["--middle", "--size", "1"], "--size is 1"),
        (["--middle", "--feather", "3", "--paste", str(PHOTO)], "0..0.5"),
        (["--middle", "--paste", "absent.png"], "there is no file or folder"),
        (["--face", "nobody"], "largest, all"),
        (["--face", "1", "--detector", "absent.onnx"], "absent.onnx|OpenCV"),
    ],
)
def test_wrong_arguments_get_a_sentence(tmp_path, capsys, arguments, message):
    try:
        code = align(tmp_path, *arguments)
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2)
    assert re.search(message, capsys.readouterr().err)


def test_no_face_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verb, "find_faces", lambda photo, detector: [])
    assert align(tmp_path) == 2
    assert "no face was found" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pictures_are_not_replaced_unasked(tmp_path, capsys):
    assert align(tmp_path, "--middle") == 0
    assert align(tmp_path, "--middle") == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "mode"), [((10, 10), "RGB"), ((10, 12), "L"), ((30, 20), "RGBA"), ((300, 4), "RGB")])
def test_photos_of_any_kind(tmp_path, size, mode):
    Image.new(mode, size, 99 if mode == "L" else (9, 99, 9, 200)[: len(mode)]).save(tmp_path / "photo.png")
    assert align(tmp_path, "--middle", photo=tmp_path / "photo.png") == 0


def test_a_photo_without_pixels_to_cut_is_refused(tmp_path, capsys):
    Image.new("RGB", (3, 100)).save(tmp_path / "photo.png")
    assert align(tmp_path, "--middle", photo=tmp_path / "photo.png") == 2
    assert "3 x 100 pixels" in capsys.readouterr().err
