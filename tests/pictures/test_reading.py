"""Picture files: only the listed formats, no picture too large, and pixels as people see them."""

from __future__ import annotations

import ast
import io
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from nada.errors import UsageError
from nada.pictures import reading
from nada.pictures.reading import FORMATS, load_pictures, read_picture

ROOT = Path(__file__).parents[2]
RED, GREY = (255, 0, 0), 128
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\n%%EOF\n"


def solid(color=RED, size=(8, 6), mode="RGB") -> Image.Image:
    return Image.new(mode, size, color)


def saved(picture: Image.Image, path: Path, form: str, **options) -> Path:
    picture.save(path, form, **options)
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_listed_formats_are_read_whatever_the_name(tmp_path, form):
    picture = read_picture(saved(solid(), tmp_path / "x.dat", form))
    assert (picture.mode, picture.size) == ("RGB", (8, 6))
    assert np.abs(np.asarray(picture).astype(int) - RED).max() < 8


def test_every_format_of_pillow_that_is_not_listed_is_refused_under_any_name(tmp_path, monkeypatch):
    """EPS would be passed to Ghostscript; the others are decoders that nobody needs here."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args: pytest.fail("a program was started"))
    Image.init()
    tried = 0
    for form in sorted(set(Image.SAVE) - {*FORMATS, "MPO"}):
        buffer = io.BytesIO()
        try:
            solid().save(buffer, form)
        except Exception:
            continue  # Pillow or a library of this machine cannot write it
        path = tmp_path / "x.png"
        path.write_bytes(buffer.getvalue())
        if buffer.getvalue():
            tried += 1
            with pytest.raises(UsageError, match="not a picture that can be read"):
                read_picture(path)
    assert tried > 10
    (tmp_path / "x.png").write_bytes(EPS)
    with pytest.raises(UsageError, match="not a picture that can be read"):
        load_pictures([tmp_path], (8, 8))


def test_pictures_are_opened_in_one_module_with_a_list_of_formats():
    opened = []
    for path in [*(ROOT / "nada").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]:
        text = path.read_text("utf-8")
        for call in ast.walk(ast.parse(text)) if "Image" in text else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Image.open"):
                opened.append((path.name, {option.arg for option in call.keywords}))
    assert opened
    assert all(place == ("reading.py", {"formats"}) for place in opened)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = saved(solid(size=(40, 30)), tmp_path / "a.png", "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda *args: pytest.fail("it was decoded"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as other packs in ComfyUI do
    with pytest.raises(UsageError, match="40 x 30 pixels; make it smaller"):
        read_picture(path, max_pixels=1199)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_stand_as_their_orientation_says(tmp_path, form):
    picture = solid(size=(8, 4))
    exif = picture.getexif()
    exif[0x0112] = 6
    assert read_picture(saved(picture, tmp_path / "a", form, exif=exif.tobytes())).size == (4, 8)


def test_damaged_exif_data_costs_the_orientation_only(tmp_path):
    path = saved(solid(size=(8, 4)), tmp_path / "a.jpg", "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\xff\xff")
    assert read_picture(path).size == (8, 4)


def transparent(mode: str) -> Image.Image:
    picture = solid((0, 0, 0, 0), mode="RGBA")
    picture.paste((*RED, 255), (0, 0, 4, 6))
    return picture.convert(mode)


@pytest.mark.parametrize(("mode", "form"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")])
def test_what_is_transparent_is_white(tmp_path, mode, form):
    options = {"lossless": True} if form == "WEBP" else {}
    pixels = np.asarray(read_picture(saved(transparent(mode), tmp_path / "a", form, **options)))
    assert (pixels[:, 4:] == 255).all()
    assert (pixels[:, :4] < 255).any()


def test_palettes_and_single_transparent_colors_are_transparent_too(tmp_path):
    palette = solid(0, mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.paste(1, (0, 0, 4, 6))
    for form in ("GIF", "PNG"):
        pixels = np.asarray(read_picture(saved(palette, tmp_path / "a", form, transparency=0)))
        assert (pixels[:, 4:] == 255).all()
        assert (pixels[:, :4] == RED).all()
    color = read_picture(saved(solid((1, 2, 3)), tmp_path / "b", "PNG", transparency=(1, 2, 3)))
    assert color.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("form", "kind"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "<i4")])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, form, kind):
    values = np.array([[0, 257 * 50, 257 * 200, 65535]])
    path = tmp_path / "a"
    if kind == ">u2":
        Image.frombytes("I;16B", (4, 1), values.astype(kind).tobytes()).save(path, form)
    else:
        Image.fromarray(values.astype(kind)).save(path, form)
    assert np.asarray(read_picture(path))[0, :, 0].tolist() == [0, 50, 200, 255]


@pytest.mark.parametrize("values", [np.full((2, 2), 70_000, np.int32), np.full((2, 2), 0.5, np.float32)])
def test_numbers_without_a_scale_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match="8 or 16 bits"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame_and_say_so(tmp_path, caplog, form):
    options = {"save_all": True, "append_images": [solid((0, 0, 255)), solid((0, 255, 0))]}
    with caplog.at_level(logging.WARNING):
        picture = read_picture(saved(solid(), tmp_path / "a", form, **options))
    assert np.abs(np.asarray(picture).astype(int) - RED).max() < 8
    assert "several frames; the first one is read" in caplog.text


def test_a_camera_jpeg_with_a_small_second_picture_is_no_animation(tmp_path, caplog):
    saved(solid(), tmp_path / "a.jpg", "MPO", save_all=True, append_images=[solid(GREY, (2, 2), "L")])
    with caplog.at_level(logging.WARNING):
        assert read_picture(tmp_path / "a.jpg").size == (8, 6)
    assert not caplog.text


def test_folders_offer_their_visible_pictures_by_name(tmp_path):
    for name, color in [("b.PNG", RED), ("a.png", (0, 255, 0)), ("._a.png", RED), ("c.txt", RED)]:
        saved(solid(color), tmp_path / name, "PNG")
    (tmp_path / "d.png").mkdir()
    pictures = load_pictures([tmp_path], (4, 4))
    assert pictures.shape == (2, 3, 4, 4)
    assert pictures[:, 0, 0, 0].tolist() == [-1, 1]


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(9)])
def test_damaged_files_end_in_a_sentence(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UsageError, match=r"a\.png is not a picture that can be read"):
        load_pictures([tmp_path / "a.png"], (8, 8))
    with pytest.raises(UsageError, match="there is no file or folder"):
        load_pictures([tmp_path / "missing.png"], (8, 8))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no pictures in"):
        load_pictures([tmp_path / "empty"], (8, 8))


def test_values_reach_from_minus_one_to_one(tmp_path):
    saved(solid((0, 255, 128)), tmp_path / "a.png", "PNG")
    (picture,) = load_pictures([tmp_path / "a.png"], (2, 2))
    assert torch.equal(picture[:, 0, 0], torch.tensor([0, 255, 128]) / 127.5 - 1)


def test_open_files_are_read_too():
    buffer = io.BytesIO()
    solid().save(buffer, "PNG")
    assert read_picture(io.BytesIO(buffer.getvalue())).size == (8, 6)
    with pytest.raises(UsageError, match="JPEG"):
        read_picture(io.BytesIO(buffer.getvalue()), ("JPEG",))


def test_ending_and_format_lists_belong_together():
    known = Image.registered_extensions()
    assert {known[ending] for ending in reading.ENDINGS} == set(FORMATS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("compression", ["raw", pytest.param("tiff_lzw", marks=pytest.mark.slow)])
def test_rotated_tiff_files_are_upright(tmp_path, mode, orientation, compression):
    """Pillow maps uncompressed ones into memory, and would scramble those that it rotates."""
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    picture = Image.fromarray(grey)
    picture = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
    plain = saved(picture, tmp_path / "plain.tif", "TIFF", compression=compression)
    turned = saved(picture, tmp_path / "turned.tif", "TIFF", compression=compression, tiffinfo={274: orientation})
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [4], 7: [6], 8: [2]}  # values of Image.Transpose, by the TIFF standard
    expected = read_picture(plain)
    for turn in turns.get(orientation, []):
        expected = expected.transpose(Image.Transpose(turn))
    found = read_picture(turned)
    assert found.size == expected.size
    assert np.array_equal(np.asarray(found), np.asarray(expected))


def display_p3() -> bytes:
    """A profile with the primaries of Display P3 and a gamma of 2.2, by version 2.4 of the ICC's specification."""
    number = lambda value: struct.pack(">i", round(value * 65536))
    xyz = lambda *values: b"XYZ \0\0\0\0" + b"".join(map(number, values))
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"P3 of a test"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.51512, 0.24120, -0.00105),
        b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz(0.15710, 0.06657, 0.78407),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    body, table, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize(("form", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("TIFF", "RGB")])
def test_colors_of_another_profile_become_those_of_srgb(tmp_path, form, mode):
    """(199, 120, 90) in Display P3 is more saturated than the same numbers in sRGB."""
    color = (199, 120, 90, 255)[: len(mode)]
    plain = read_picture(saved(solid(color, mode=mode), tmp_path / "plain", form))
    found = read_picture(saved(solid(color, mode=mode), tmp_path / "p3", form, icc_profile=display_p3()))
    red, green, blue = np.asarray(found)[2, 2].astype(int) - np.asarray(plain)[2, 2]
    assert 5 < red < 20
    assert -12 < green < 0
    assert -15 < blue < 0


@pytest.mark.parametrize("profile", [b"", b"x" * 300, bytes(1 << 23)])
def test_a_damaged_profile_is_ignored(tmp_path, profile):
    assert read_picture(saved(solid(), tmp_path / "x", "TIFF", icc_profile=profile)).getpixel((2, 2)) == RED


def test_a_profile_of_srgb_changes_no_number(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    found = read_picture(saved(noise, tmp_path / "x", "PNG", icc_profile=profile))
    assert np.array_equal(np.asarray(found), np.asarray(noise))


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colors_are_white_with_any_profile(tmp_path, mode):
    """A palette, a grey level, or a color of a PNG may be transparent without an alpha channel."""
    picture = solid((10, 20, 30) if mode == "RGB" else 7, mode=mode)
    picture.putpixel((2, 2), (200, 60, 60) if mode == "RGB" else 200)
    if mode == "P":
        picture.putpalette([level for level in range(256) for _ in "RGB"])
    options = {"transparency": (10, 20, 30) if mode == "RGB" else 7, "icc_profile": display_p3()}
    found = read_picture(saved(picture, tmp_path / "x", "PNG", **options))
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((2, 2)) != (255, 255, 255)
