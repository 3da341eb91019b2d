"""Random views, read from their affine maps: mirror, turn, zoom and shift, each in its range."""

from __future__ import annotations

import torch

from nada.clip.views import SHIFT, TURN, ZOOM, moved, random_moves
from nada.seeding import seeded

COUNT = 4000  # many, so that the extreme values come within a hundredth of the ends of their range


def assert_fills(values: torch.Tensor, low: float, high: float) -> None:
    """Check that values are uniform in a range, by their extremes and their mean."""
    span = high - low
    assert low <= float(values.min()) < low + 0.01 * span
    assert high - 0.01 * span < float(values.max()) <= high
    assert abs(float(values.mean()) - (low + high) / 2) < 0.03 * span  # 6 standard deviations of the mean


def test_half_of_the_views_are_mirrored_and_all_moves_fill_their_ranges():
    moves = random_moves(4, COUNT // 4, seeded(0)).double()
    assert moves.shape == (COUNT, 2, 3)
    determinant = torch.linalg.det(moves[:, :, :2])
    mirror, zoom = determinant.sign(), determinant.abs().sqrt()
    assert abs(float(mirror.mean())) < 0.1  # 6 standard deviations of the mean
    # Columns of the map: (zoom cos, zoom sin) times the mirror, and (-zoom sin, zoom cos).
    upright = moves[:, :, 0] * mirror[:, None]
    assert torch.allclose(upright, torch.stack([moves[:, 1, 1], -moves[:, 0, 1]], 1))
    assert_fills(torch.atan2(upright[:, 1], upright[:, 0]), -TURN, TURN)
    assert_fills(zoom, *ZOOM)
    for shift in moves[:, :, 2].T:
        assert_fills(shift, -SHIFT, SHIFT)


def test_a_mirrored_view_shows_the_other_side():
    images = torch.rand(2, 3, 16, 16, generator=seeded(1))
    mirror = torch.tensor([[-1.0, 0, 0], [0, 1, 0]]).expand(2, -1, -1)
    assert torch.allclose(moved(images, mirror), images.flip(3), atol=1e-6)
