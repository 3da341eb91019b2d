"""Animated pictures."""

from __future__ import annotations

import pytest
import torch
from PIL import ImageChops

from nada import UsageError
from nada.pictures.animation import paired, wipe
from nada.pictures.grids import make_grid, tiles_of


def same(a, b) -> bool:
    return a.size == b.size and ImageChops.difference(a, b).getbbox() is None


def test_a_wipe_begins_with_before_and_has_after_in_the_middle():
    before, after = torch.full((4, 3, 8, 8), -1.0), torch.full((4, 3, 8, 8), 0.5)
    frames = wipe(tiles_of(before, 32), tiles_of(after, 32), 10)
    assert len(frames) == 10
    assert same(frames[0], make_grid(before, side=32))
    assert same(frames[5], make_grid(after, side=32))
    assert all(same(a, b) for a, b in zip(frames[1:5], frames[:5:-1], strict=True)), "the way back is the way there"
    assert not same(frames[1], frames[2])
    with pytest.raises(UsageError, match="frames is 1"):
        wipe(tiles_of(before), tiles_of(after), 1)


def test_pairs_have_before_on_the_left():
    before, after = torch.full((3, 3, 8, 8), -1.0), torch.full((3, 3, 8, 8), 1.0)
    frames = paired(tiles_of(before, 64), tiles_of(after, 64))
    assert len(frames) == 3
    assert frames[0].getpixel((1, 1)) == (0, 0, 0)
    assert frames[0].getpixel((frames[0].width - 2, 1)) == (255, 255, 255)
