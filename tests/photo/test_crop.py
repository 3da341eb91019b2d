"""The square of a face: its place, its picture, and pasting it back."""

from __future__ import annotations

import json
from math import cos, hypot, radians, sin, tau
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nada.errors import CheckpointError, UsageError
from nada.photo.crop import REGIONS, Crop, eyes_crop, face_crop, middle_crop, square_crop
from nada.pictures.convert import from_pil
from nada.pictures.reading import read_picture

TEMPLATE = [(192.98, 239.95), (318.90, 240.19), (201.26, 371.41), (313.09, 371.15)]  # a 512 px face of facexlib


def written_out(points) -> np.ndarray:
    """Corners of FFHQ's square by the data set's own description, in NumPy."""
    left, right, mouth_left, mouth_right = np.array(points)
    eye = (left + right) / 2
    eye_to_eye = right - left
    eye_to_mouth = (mouth_left + mouth_right) / 2 - eye
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = eye + eye_to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


@pytest.mark.parametrize("seed", range(8))
def test_the_square_is_that_of_the_formula(seed):
    random = np.random.default_rng(seed)
    points = np.array(TEMPLATE) + random.normal(0, 15, (4, 2))
    angle = random.uniform(-0.6, 0.6)
    points = (points - 256) @ [[cos(angle), sin(angle)], [-sin(angle), cos(angle)]] + 256
    crop = face_crop([tuple(point) for point in points], (512, 512))
    assert np.abs(np.array(crop.corners) - written_out(points)).max() < 1e-6
    places = np.array(crop.matrix) @ np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 1]]).T
    assert np.abs(places[:2].T - written_out(points)).max() < 1e-6


def test_a_known_template():
    crop = face_crop(TEMPLATE, (512, 512))
    assert crop.centre == pytest.approx((256.1, 253.2), abs=0.05)
    assert crop.side == pytest.approx(503.7, abs=0.05)


def test_eyes_alone_give_nearly_the_square_of_the_face():
    alone, whole = eyes_crop(*TEMPLATE[:2], (512, 512)), face_crop(TEMPLATE, (512, 512))
    assert alone.side == pytest.approx(whole.side, rel=0.01)
    assert hypot(*np.subtract(alone.centre, whole.centre)) < 0.01 * whole.side


@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0, 3.1])
def test_left_may_be_the_persons_left(angle):
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    left, right, *mouth = [tuple(point) for point in (np.array(TEMPLATE) - 256) @ turn + 256]
    crop = face_crop([left, right, *mouth], (512, 512))
    assert face_crop([right, left, *reversed(mouth)], (512, 512)).corners == pytest.approx(np.array(crop.corners))
    assert eyes_crop(*TEMPLATE[:2], (512, 512)) == eyes_crop(*TEMPLATE[1::-1], (512, 512))


def smooth(height: int, width: int, cycles: float = 6.0) -> torch.Tensor:
    """A smooth picture: [1, 3, height, width]."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return wave(x / width, y / height, cycles)


def wave(x: torch.Tensor, y: torch.Tensor, cycles: float = 6.0) -> torch.Tensor:
    bands = [(tau * cycles * x).sin(), (tau * cycles * y).cos(), (tau * cycles * (x + y) / 2).sin()]
    return 0.8 * torch.stack(bands)[None]


@pytest.mark.parametrize("side", [60.0, 150.0, 333.3])
@pytest.mark.parametrize("roll", [0.0, 17.0, -123.0])
def test_a_pixel_shows_its_place_in_the_photo(side, roll):
    """Enlarged and reduced squares are compared with the picture's formula at the mapped places."""
    photo = smooth(500, 600)
    crop = square_crop((310.0, 240.0), side, (500, 600), roll)
    places = torch.arange(64).add(0.5) / 64 - 0.5
    v, u = torch.meshgrid(places, places, indexing="ij")
    turn = radians(roll)
    x, y = 310 + side * (cos(turn) * u - sin(turn) * v), 240 + side * (sin(turn) * u + cos(turn) * v)
    assert (crop.sample(photo, 64) - wave(x / 600, y / 500)).abs().max() < 0.03


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.7, 9.0])
@pytest.mark.parametrize("roll", [0.0, 30.0])
def test_patterns_finer_than_a_pixel_become_grey(factor, roll):
    """Stripes narrower than a pixel must not appear as coarser stripes (aliasing)."""
    side = 64 * factor
    length = round(2 * side)
    stripes = torch.sin(tau * torch.arange(length) / (1.4 * factor)).expand(1, 3, length, length)
    image = square_crop((length / 2, length / 2), side, (length, length), roll).sample(stripes, 64)
    assert image[..., 4:-4, 4:-4].abs().max() < 0.2


def test_the_photo_itself_comes_out_of_a_square_of_its_own_size():
    photo = torch.rand(1, 3, 40, 56) * 2 - 1
    assert torch.allclose(middle_crop((40, 56)).sample(photo, 40), photo[..., 8:48], atol=1e-3)


@pytest.mark.parametrize("centre", [(20.0, 150.0), (290.0, 150.0), (150.0, 10.0), (150.0, 290.0), (5.0, 5.0)])
def test_beyond_the_edge_is_reflected_blurred_and_fades(centre):
    photo = smooth(300, 300, cycles=2)
    crop = square_crop(centre, 200, (300, 300))
    image = crop.sample(photo, 128)
    assert image.shape == (1, 3, 128, 128)
    assert image.isfinite().all()
    y, x = torch.meshgrid(*2 * [(torch.arange(128) + 0.5) / 128 * 200 - 100], indexing="ij")
    x, y = x + centre[0], y + centre[1]
    deep = (x > 45) & (x < 255) & (y > 45) & (y < 255)  # farther inside than the blur reaches
    assert (image - wave(x / 300, y / 300, 2))[..., deep].abs().max() < 0.02
    outside = (x < 0) | (x > 300) | (y < 0) | (y > 300)
    assert image[..., outside].std() < image[..., ~outside].std()


def test_a_square_far_larger_than_the_photo_repeats_reflections():
    image = square_crop((5, 5), 400, (10, 12)).sample(smooth(10, 12), 64)
    assert image.isfinite().all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_photos_of_any_channels(channels):
    photo = torch.rand(1, channels, 50, 60) * 2 - 1
    crop = middle_crop((50, 60))
    image = crop.sample(photo, 32)
    assert image.shape == (1, 3, 32, 32)
    assert crop.paste(photo, image)[0].shape == (1, 3, 50, 60)


@pytest.mark.parametrize("region", ["face", "square"])
@pytest.mark.parametrize("size", [64, 256, 700])
def test_pasted_back_unchanged_it_is_the_photo(region, size):
    photo = smooth(400, 500, cycles=4)
    crop = square_crop((230.0, 190.0), 260.0, (400, 500), 21.0)
    pasted, mask = crop.paste(photo, crop.sample(photo, size), region=region)
    assert torch.equal(pasted[:, :, mask[0, 0] == 0], photo[:, :, mask[0, 0] == 0])
    assert (pasted - photo).abs().max() < 0.02
    assert mask.min() == 0
    assert mask.max() == 1


def test_what_changed_is_seen_inside_the_mask_only():
    photo = smooth(300, 300)
    crop = square_crop((150.0, 150.0), 180.0, (300, 300), 45.0)
    pasted, mask = crop.paste(photo, torch.ones(1, 3, 128, 128), feather=0.05)
    assert torch.equal(pasted[..., mask[0, 0] == 0], photo[..., mask[0, 0] == 0])
    assert torch.allclose(pasted[..., mask[0, 0] == 1], torch.tensor(1.0))
    soft = (mask > 0) & (mask < 1)
    assert (mask[soft].diff().abs() < 1).all()
    assert 0.005 < soft.float().mean() < 0.1


@pytest.mark.parametrize("centre", [(-40.0, 150.0), (330.0, 310.0)])
def test_a_square_that_reaches_beyond_the_photo_is_pasted_where_there_is_photo(centre):
    photo = smooth(300, 300)
    crop = square_crop(centre, 220, (300, 300))
    pasted, mask = crop.paste(photo, crop.sample(photo, 64), region="square")
    assert pasted.shape == photo.shape
    assert 0 < mask.mean() < 0.6


def test_colors_are_matched_where_the_mask_is_soft():
    photo = smooth(300, 300, cycles=12)
    crop = square_crop((150, 150), 200, (300, 300))
    tinted = crop.sample(photo, 256) * 0.7 + torch.tensor([0.25, -0.1, 0.1])[:, None, None]
    plain, _ = crop.paste(photo, tinted)
    matched, _ = crop.paste(photo, tinted, match_color=True)
    assert (matched - photo).abs().mean() < 0.3 * (plain - photo).abs().mean()


def test_a_uniform_picture_has_no_contrast_to_match():
    crop = middle_crop((64, 64))
    pasted, mask = crop.paste(torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 3, 32, 32), match_color=True)
    assert torch.allclose(pasted[..., mask[0, 0] == 1], torch.tensor(0.5), atol=1e-5)


@pytest.mark.parametrize("match_color", [False, True])
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("side", [30, 64, 90, 200])
def test_an_unchanged_picture_changes_nothing(region, match_color, side):
    """The square lies inside the photo, overlaps it, or contains it, so that its soft edge lies outside."""
    photo = 0.6 + 0.2 * smooth(48, 64, cycles=3)
    crop = square_crop((32, 24), side, (48, 64))
    pasted, _ = crop.paste(photo, crop.sample(photo, 128), region=region, match_color=match_color)
    assert (pasted.mean() - photo.mean()).abs() < 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: face_crop(TEMPLATE[:3], (512, 512)), "four points"),
        (lambda: face_crop([(5, 5)] * 4, (512, 512)), "no face|side of 0"),
        (lambda: face_crop([(x + 9000, y) for x, y in TEMPLATE], (512, 512)), "outside the photo"),
        (lambda: square_crop((50, 50), 1, (100, 100)), "side of 1.0 pixels"),
        (lambda: square_crop((50, 50), float("nan"), (100, 100)), "pixels of the photo"),
        (lambda: middle_crop((2, 100)), "100 x 2 pixels"),
        (lambda: middle_crop((50, 50)).sample(torch.zeros(1, 3, 40, 40), 16), "same photo"),
        (lambda: middle_crop((50, 50)).sample(torch.zeros(2, 3, 50, 50), 16), "same photo"),
        (lambda: middle_crop((50, 50)).mask("nose"), "face, square"),
        (lambda: middle_crop((50, 50)).mask(feather=0.7), "0..0.5"),
    ],
)
def test_impossible_squares_get_a_sentence(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_crop_survives_json():
    crop = square_crop((123.456, 78.9), 321.5, (480, 640), 12.3)
    assert Crop.from_json(json.loads(json.dumps(crop.to_json()))) == crop


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"square": [1, 2, 3, 4]},
        {"square": [1, 2, 3], "photo": [50, 50]},
        {"square": [1, 2, 30, True], "photo": [50, 50]},
        {"square": [1, 2, 30, float("inf")], "photo": [50, 50]},
        {"square": [10, 10, 10**19, 0], "photo": [50, 50]},
        {"square": [10, 10, 10, 0], "photo": [50, 50, 3]},
        {"square": [10, 10, 10, 0], "photo": [0, 50]},
        {"square": [10, 10, 10, 0], "photo": [10**18, 50]},
        {"square": [900, 10, 10, 0], "photo": [50, 50]},
        {"square": "1234", "photo": [50, 50]},
    ],
)
def test_descriptions_of_strangers_are_refused(value):
    with pytest.raises(CheckpointError, match="crop's description is damaged"):
        Crop.from_json(value)


PHOTO = Path(__file__).parent / "pictures" / "astronaut.jpg"
POINTS = [(202.4, 101.0), (245.6, 103.3), (203.5, 140.0), (246.0, 141.0)]  # measured in the enlarged picture


def test_a_real_photograph_is_cropped_as_by_the_formula():
    """The square agrees with that from another detector (dlib): center (224.7, 106.6), side 173.7, roll 2.8."""
    photo = from_pil(read_picture(PHOTO))
    crop = face_crop(POINTS, (512, 512))
    assert crop.centre == pytest.approx((224.7, 106.6), abs=1.5)
    assert crop.side == pytest.approx(173.7, rel=0.01)
    assert crop.roll == pytest.approx(2.8, abs=2)
    image = crop.sample(photo, 256)
    # Pillow's own transform, with the corners from the description of the data set
    corners = written_out(POINTS)
    quad = tuple(corners.flatten())
    with Image.open(PHOTO) as picture:
        theirs = picture.convert("RGB").transform((256, 256), Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
    assert (image - from_pil(theirs)).abs().mean() < 2 / 255


@pytest.mark.parametrize("region", ["face", "square"])
def test_a_real_photograph_shows_no_seam_where_nothing_changed(region):
    photo = from_pil(read_picture(PHOTO))
    crop = face_crop(POINTS, (512, 512))
    pasted, mask = crop.paste(photo, crop.sample(photo, 1024), region=region)
    outside, changed = mask[0, 0] == 0, (pasted - photo).abs() * 127.5
    assert changed[..., outside].max() == 0
    assert changed[..., ~outside].mean() < 2  # hair, which is sampled twice
    edge = (mask[0, 0] > 0) & (mask[0, 0] < 1)
    assert changed[..., edge].mean() < 1


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("shape", [(64, 32), (24, 64)])
def test_an_image_that_is_not_square_changes_only_what_it_covers(region, shape):
    crop = square_crop((50.0, 45.0), 40.0, (90, 100), roll=20.0)
    photo = torch.zeros(1, 3, 90, 100)
    result, mask = crop.paste(photo, torch.ones(1, 3, *shape), region=region, feather=0.1)
    assert torch.allclose(result.amax(1, keepdim=True), mask, atol=1e-5), "no padding of the image is seen"
    whole = crop.mask(region, 0.1)
    assert bool((mask <= whole + 1e-6).all())
    assert 0.2 < float(mask.sum() / whole.sum()) < 0.95


@pytest.mark.parametrize("feather", [0.0, 0.12, 0.35, 0.5])
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("covered", [(1.0, 1.0), (0.5, 1.0), (1.0, 0.4)])
def test_the_middle_is_opaque_whatever_the_feather(region, feather, covered):
    assert middle_crop((200, 200)).mask(region, feather, covered).max() > 0.96
