"""The geometry of a filmstrip, which the server sends to the frontend, and tiles that are not square."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nada.pictures.grids import filmstrip, filmstrip_geometry, make_grid


@pytest.mark.parametrize("shape", [(16, 16), (256, 256), (512, 512), (128, 256), (300, 100)])
def test_the_geometry_of_a_filmstrip_says_where_each_image_is(shape):
    shades = [-1.0, -0.5, 0.0, 0.5, 0.9, -0.2]  # a shade for each tile in three columns with two rows
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
