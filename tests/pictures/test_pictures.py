"""Images as pictures: conversion, grids and charts, for all sizes and numbers of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nada.errors import UsageError
from nada.pictures.charts import plot
from nada.pictures.convert import as_saved, middle, to_pil, to_rgb, to_uint8
from nada.pictures.grids import before_after, filmstrip, make_grid


def ramp(channels: int, height: int = 4, width: int = 4) -> Tensor:
    """Two images whose values are all different."""
    return torch.linspace(-1, 1, 2 * channels * height * width).view(2, channels, height, width)


def test_range_and_layout_of_bytes():
    images = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert to_uint8(torch.zeros(2, 1, 4, 6)).shape == (2, 4, 6, 3)
    red = torch.stack([torch.ones(4, 4), -torch.ones(4, 4), -torch.ones(4, 4), torch.ones(4, 4)])[None]
    assert to_uint8(red)[0, 0, 0].tolist() == [255, 0, 0, 255]


def test_grid_places_images_row_by_row():
    shades = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 128, 128)
    grid = np.asarray(make_grid(shades, columns=3))
    assert grid.shape == (128 * 2 + 4, 128 * 3 + 8, 3)
    assert [grid[64, 64 + i * 132, 0] for i in range(3)] == [0, 64, 128]
    assert [grid[196, 64 + i * 132, 0] for i in range(3)] == [191, 255, 255]  # the last place stays white


def test_before_and_after_share_places():
    before, after = -torch.ones(4, 3, 64, 64), torch.zeros(4, 3, 64, 64)
    picture = np.asarray(before_after(before, after, ("photo", "sketch " * 40)))
    half = picture.shape[1] // 2
    assert (picture[100, 50] == 0).all()
    assert (picture[100, half + 50] == 128).all()
    assert (picture[:28] < 255).any(), "the labels are missing"


def test_filmstrip_has_a_column_per_moment():
    strip = filmstrip([("start", torch.zeros(3, 3, 16, 16)), ("50", torch.ones(3, 3, 16, 16))])
    assert strip.size == (2 * 128 + 12, 28 + 3 * 128 + 2 * 4)


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (2, "RGBA"), (3, "RGB"), (4, "RGBA"), (7, "RGB")])
def test_pictures_keep_alpha(channels, mode):
    images = ramp(channels)
    first, _ = to_pil(images)
    assert first.mode == mode
    pixels = np.asarray(first).astype(float)
    colors = [0, 0, 0] if channels < 3 else [0, 1, 2]
    expected = [*colors, channels - 1] if mode == "RGBA" else colors
    assert np.abs(pixels - ((images[0, expected] + 1) * 127.5).permute(1, 2, 0).numpy()).max() <= 0.5
    assert as_saved(images).shape == (2, len(mode), 4, 4)


def test_rgb_of_any_generator():
    rgb = ramp(3)
    assert torch.equal(to_rgb(rgb), rgb)
    grey = ramp(1)
    assert torch.equal(to_rgb(grey), grey.expand(-1, 3, -1, -1))
    for background in (-1.0, 0.0, 1.0):
        for color in (ramp(3), ramp(1)):
            for alpha, expected in ((1.0, to_rgb(color)), (-1.0, torch.full((2, 3, 4, 4), background))):
                images = torch.cat([color, torch.full((2, 1, 4, 4), alpha)], dim=1)
                assert torch.allclose(to_rgb(images, background), expected, atol=1e-6)
    half = torch.cat([ramp(3), torch.zeros(2, 1, 4, 4)], dim=1)
    assert torch.allclose(to_rgb(half), (ramp(3) + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_rgb_has_gradients_for_every_channel(channels):
    images = (ramp(channels) * 0.9).requires_grad_()
    to_rgb(images, 0.3).square().sum().backward()
    assert (images.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize(("size", "middle_size"), [((512, 512), (384, 512)), ((5, 7), (1, 7)), ((4, 4), (4, 4))])
def test_the_middle_of_a_picture(size, middle_size):
    images = torch.zeros(1, 1, *size)
    rows, columns = middle(size, middle_size[1], middle_size[0])
    assert images[..., rows, columns].shape[-2:] == middle_size
    assert rows.start == (size[0] - middle_size[0]) // 2
    for width, height in ((size[1] + 1, 1), (1, size[0] + 1), (0, 1), (1, 0)):
        with pytest.raises(UsageError, match="cannot be cut out"):
            middle(size, width, height)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((64, 64), (128, 128)),
        ((128, 256), (128, 256)),
        ((1024, 512), (256, 128)),
        ((32, 16), (128, 64)),
        ((3, 512), (2, 256)),
    ],
)
@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 3, 4])
def test_tiles_keep_the_form_of_the_images(size, shown, channels):
    """Each image fills its own tile, whatever its form: nothing is squashed, cut off, or covered."""
    shades = (-1.0, 0.0, 1.0, -1.0, 0.0)
    images = torch.stack([torch.full((channels, *size), shade) for shade in shades])
    if channels == 4:
        images[:, 3] = 1
    grid = make_grid(images, columns=3)
    height, width = shown
    assert grid.mode == "RGB"
    assert grid.size == (3 * width + 8, 2 * height + 4)
    pixels = np.asarray(grid)
    for i, shade in enumerate(shades):
        top, left = i // 3 * (height + 4), i % 3 * (width + 4)
        tile = pixels[top : top + height, left : left + width]
        assert np.abs(tile.astype(float) - (shade + 1) * 127.5).max() <= 1
    assert (pixels[:, width : width + 4] == 255).all()
    strip = filmstrip([("start", images[:2]), ("50", images[:2])])
    assert strip.size == (2 * width + 12, 28 + 2 * height + 4)
    pair = before_after(images[:4], images[:4], ("before", "after"))
    assert pair.size == (2 * (2 * width + 4) + 12, 28 + 2 * height + 4)


def test_a_checkerboard_shows_through_what_is_transparent():
    images = torch.ones(1, 4, 128, 128)
    images[:, :3, :64], images[:, :3, 64:], images[:, 3, :, :64] = -1, 1, -1
    pixels = np.asarray(make_grid(images))
    assert {*pixels[:, :64].flatten()} == {255, 224}
    assert (pixels[:64, 64:] == 0).all()
    assert (pixels[64:, 64:] == 255).all()
    assert pixels[0, 0, 0] != pixels[0, 8, 0]


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5], [1.0, float("nan"), 0.2], list(np.linspace(1, 0, 300))])
def test_plot_draws_any_curve(values):
    assert np.asarray(plot({"directional": values})).std() > 0
