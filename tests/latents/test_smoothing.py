"""Codes of a video's frames are smoothed over time."""

from __future__ import annotations

import pytest
import torch

from nada.errors import UsageError
from nada.latents.smoothing import smooth_latents


def test_the_jitter_goes_and_the_way_stays():
    time = torch.linspace(0, 1, 50)[:, None, None]
    way = torch.cat([time, time.square()], -1).expand(-1, 3, -1)
    shaken = way + 0.1 * torch.randn(way.shape, generator=torch.Generator().manual_seed(0))
    smooth = smooth_latents(shaken, 2.0)
    assert (smooth - way)[5:-5].abs().mean() < 0.5 * (shaken - way)[5:-5].abs().mean()
    assert smooth.diff(dim=0).abs().mean() < 0.3 * shaken.diff(dim=0).abs().mean()


def test_what_stands_still_stays():
    still = torch.randn(1, 4, 6).expand(9, -1, -1)
    assert torch.allclose(smooth_latents(still, 3.0), still, atol=1e-5)
    assert torch.equal(smooth_latents(still, 0.0), still)
    assert smooth_latents(still[:1], 3.0).shape == (1, 4, 6)


def test_the_range_is_reported():
    for frames in (-1.0, 1e9, float("nan")):
        with pytest.raises(UsageError, match=r"0\.\.100"):
            smooth_latents(torch.zeros(2, 1, 1), frames)
