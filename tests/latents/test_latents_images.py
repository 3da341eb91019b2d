"""Latents, image generation in pieces, and the pictures made of images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import alive

from nada.errors import UsageError
from nada.latents.rendering import generate
from nada.latents.sampling import mix_latents, sample_latents
from nada.pictures.charts import plot
from nada.pictures.convert import to_uint8
from nada.pictures.grids import before_after, filmstrip, filmstrip_geometry, make_grid
from nada.stylegan2 import GeneratorConfig


def test_all_bits_of_a_seed_count(small):
    seeds = (0, 1 << 32, 1 << 40, (1 << 64) - 1)
    codes = [sample_latents(small, 1, seed) for seed in seeds]
    for i in range(4):
        assert not any(torch.equal(codes[i], other) for other in codes[i + 1 :])


def test_classes_are_chosen_by_number():
    generator = alive(GeneratorConfig(8, (8, 8), z_dim=6, w_dim=6, mapping_layers=2, c_dim=3))
    codes = [sample_latents(generator, 2, label=i) for i in range(3)]
    assert not torch.allclose(codes[0], codes[1], atol=1e-3)
    labels = torch.tensor([2, 1])
    assert torch.allclose(
        sample_latents(generator, 2, label=labels), torch.stack([codes[2][0], codes[1][1]]), atol=1e-6
    )
    with pytest.raises(UsageError, match="classes 0 to 2"):
        sample_latents(generator, 1, label=3)


def test_each_latent_is_that_of_its_seed(small):
    many = sample_latents(small, 5, seed=10)
    assert torch.allclose(many[3:4], sample_latents(small, 1, seed=13), atol=1e-6)
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(13))
    assert torch.allclose(many[3:4], small.mapping(z, 0.7), atol=1e-6)
    assert not torch.allclose(many[3], many[2], atol=1e-2)
    assert sample_latents(small, 2, seed=2**64 - 1).shape == (2, 8, 20)


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_pieces_make_the_same_images(small, noise):
    ws = sample_latents(small, 5)
    whole = generate(small, ws, noise, seed=3, batch=5)
    assert torch.allclose(whole, generate(small, ws, noise, seed=3, batch=2), atol=1e-5)
    assert whole.shape == (5, 3, 32, 32)


def test_random_noise_belongs_to_the_seed_of_the_image(small):
    ws = sample_latents(small, 1).expand(3, -1, -1)
    images = generate(small, ws, "random", seed=4)
    assert not torch.equal(images[0], images[1])
    assert torch.allclose(images[2:], generate(small, ws[:1], "random", seed=6), atol=1e-5)


def test_mixing_takes_each_side_from_its_parent(small):
    a, b = sample_latents(small, 1, 0), sample_latents(small, 1, 1)
    mixed = mix_latents(a, b, 3)
    assert torch.equal(mixed[:, :3], a[:, :3])
    assert torch.equal(mixed[:, 3:], b[:, 3:])


def test_wrong_arguments_are_refused(small):
    with pytest.raises(UsageError, match="count is 0"):
        sample_latents(small, 0)
    with pytest.raises(UsageError, match="batch is 0"):
        generate(small, sample_latents(small, 1), batch=0)
    with pytest.raises(UsageError, match="const, random, none"):
        generate(small, sample_latents(small, 1), noise="white")


def test_range_and_layout_of_bytes():
    images = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert to_uint8(torch.zeros(2, 1, 4, 6)).shape == (2, 4, 6, 3)
    red = torch.stack([torch.ones(4, 4), -torch.ones(4, 4), -torch.ones(4, 4), torch.ones(4, 4)])[None]
    assert to_uint8(red)[0, 0, 0].tolist() == [255, 0, 0]


def test_grid_places_images_row_by_row():
    shades = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 128, 128)
    grid = np.asarray(make_grid(shades, columns=3))
    assert grid.shape == (128 * 2 + 4, 128 * 3 + 8, 3)
    assert [grid[64, 64 + i * 132, 0] for i in range(3)] == [0, 64, 128]
    assert [grid[196, 64 + i * 132, 0] for i in range(3)] == [191, 255, 255]  # the last place stays paper


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


@pytest.mark.parametrize("shape", [(16, 16), (256, 256), (512, 512), (128, 256), (300, 100)])
def test_the_geometry_of_a_filmstrip_says_where_each_image_is(shape):
    shades = [-1.0, -0.5, 0.0, 0.5, 0.9, -0.2]  # of three columns with two rows
    columns = torch.tensor(shades).view(3, 2, 1, 1, 1).expand(3, 2, 3, *shape)
    frames = [(str(i), images) for i, images in enumerate(columns)]
    strip, g = np.asarray(filmstrip(frames)), filmstrip_geometry(frames)
    assert (g["width"], g["height"], g["columns"], g["rows"]) == (strip.shape[1], strip.shape[0], 3, 2)
    left = [i * (g["tile_width"] + g["column_gap"]) for i in range(3)]
    top = [g["label_height"] + i * (g["tile_height"] + g["row_gap"]) for i in range(2)]
    places = [(y, x) for x in left for y in top]
    tiles = [strip[y : y + g["tile_height"], x : x + g["tile_width"]] for y, x in places]
    assert [{*tile.flat} for tile in tiles] == [{round((shade + 1) * 127.5)} for shade in shades]
    rest = strip[g["label_height"] :].copy()
    for y, x in places:
        y -= g["label_height"]
        rest[y : y + g["tile_height"], x : x + g["tile_width"]] = 255
    assert (rest == 255).all(), "nothing but paper beside the tiles"
    assert g["tile_width"] / g["tile_height"] == pytest.approx(shape[1] / shape[0], rel=0.01)


def test_the_frontend_asks_only_for_what_the_geometry_says():
    script = (Path(__file__).parents[2] / "web" / "filmstrip.js").read_text("utf-8")
    asked = set(re.findall(r"\bgeometry\.(\w+)", script))
    assert asked
    assert asked <= filmstrip_geometry([("start", torch.zeros(1, 3, 16, 16))]).keys()
    assert "naturalWidth" not in script, "sizes come from the server"


@pytest.mark.parametrize("shape", [(64, 128), (512, 256)])
def test_grids_of_rectangles_neither_squash_nor_cut(shape):
    images = torch.stack([torch.full((3, *shape), shade) for shade in (-1.0, 0.0, 1.0)])
    grid = np.asarray(make_grid(images, columns=1))
    height = grid.shape[0] // 3
    assert height / grid.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.05)
    assert [int(grid[height // 2 + i * (height + 2)].mean()) for i in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5], [1.0, float("nan"), 0.2], list(np.linspace(1, 0, 300))])
def test_plot_draws_any_curve(values):
    assert np.asarray(plot({"directional": values})).std() > 0
