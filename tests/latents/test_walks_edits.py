"""Walks between latent codes, steps along directions, and mixtures by bands."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nada.errors import UsageError
from nada.latents.directions import edit_latents, principal_directions
from nada.latents.sampling import blend_latents
from nada.latents.walks import EASINGS, METHODS, interpolate_latents


@pytest.fixture
def codes():
    return torch.randn(4, 10, 8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("easing", EASINGS)
def test_a_walk_passes_every_code_at_its_time(codes, method, easing):
    walk = interpolate_latents(codes, 13, method=method, easing=easing)
    assert walk.shape == (13, 10, 8)
    assert torch.allclose(walk[::4], codes, atol=1e-5)
    loop = interpolate_latents(codes, 12, loop=True, method=method, easing=easing)
    assert torch.allclose(loop[::3], codes, atol=1e-5)
    again = interpolate_latents(codes.roll(-1, 0), 12, loop=True, method=method, easing=easing)
    assert torch.allclose(loop.roll(-3, 0), again, atol=1e-5)  # a loop has no beginning


def test_lerp_is_straight_and_even(codes):
    walk = interpolate_latents(codes[:2], 5)
    steps = walk.diff(dim=0)
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-6)
    eased = interpolate_latents(codes[:2], 5, easing="smooth").diff(dim=0).norm(dim=(1, 2))
    assert eased[0] < eased[1]
    assert torch.allclose(eased, eased.flip(0), atol=1e-5)


def test_slerp_turns_evenly_and_keeps_the_length_of_equally_long_codes():
    a, b = torch.tensor([3.0, 0, 0]), torch.tensor([0, 3.0, 0])
    walk = interpolate_latents(torch.stack([a, b])[:, None], 7, method="slerp")[:, 0].double().numpy()
    angles = np.linspace(0, np.pi / 2, 7)
    assert np.abs(walk - 3 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)).max() < 1e-6
    for other in (a, -a):  # no rotation needed, or none defined
        assert interpolate_latents(torch.stack([a, other])[:, None], 5, method="slerp").isfinite().all()


def test_cubic_has_no_corners(codes):
    def worst_turn(method):
        return interpolate_latents(codes, 301, method=method).diff(dim=0).diff(dim=0).norm(dim=(1, 2)).max()

    assert worst_turn("cubic") < worst_turn("lerp") / 10


def test_impossible_walks_are_refused(codes):
    with pytest.raises(UsageError, match="at least 2"):
        interpolate_latents(codes[:1], 5)
    with pytest.raises(UsageError, match="at least 4"):
        interpolate_latents(codes, 3)
    with pytest.raises(UsageError, match="lerp, slerp, cubic"):
        interpolate_latents(codes, 5, method="bezier")


def test_principal_directions_are_those_of_a_singular_value_decomposition(small):
    found = principal_directions(small, 5, samples=2000, seed=3)
    z = torch.randn(2000, small.config.z_dim, generator=torch.Generator().manual_seed(3))
    w = small.mapping.w(z).double().numpy()
    _, sigma, rows = np.linalg.svd(w - w.mean(0), full_matrices=False)
    for i in range(5):
        expected = rows[i] * sigma[i] / np.sqrt(1999)
        ours = found.vectors[i].double().numpy()
        assert min(np.abs(ours - expected).max(), np.abs(ours + expected).max()) < 1e-4 * sigma[0]
        assert ours[np.abs(ours).argmax()] > 0
    assert np.abs(found.explained.double().numpy() - (sigma**2 / (sigma**2).sum())[:5]).max() < 1e-5
    with pytest.raises(UsageError, match="directions"):
        principal_directions(small, small.config.w_dim + 1)


def test_an_edit_moves_only_its_codes(codes):
    step = torch.randn(8)
    moved = edit_latents(codes, step, 2.0, first=4, last=7)
    assert torch.equal(moved[:, :4], codes[:, :4])
    assert torch.equal(moved[:, 8:], codes[:, 8:])
    assert torch.allclose(moved[:, 4:8], codes[:, 4:8] + 2 * step)
    own = torch.randn(10, 8)
    assert torch.allclose(edit_latents(codes, own, -1.0), codes - own)
    with pytest.raises(UsageError, match=r"\[8\] or \[10, 8\]"):
        edit_latents(codes, torch.randn(9), 1.0)
    with pytest.raises(UsageError, match="0 to 9"):
        edit_latents(codes, step, 1.0, first=10)
    for odd in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="amount is"):
            edit_latents(codes, step, odd)


def test_bands_are_mixed_by_their_shares(codes):
    other = torch.randn(4, 10, 8)
    mixed = blend_latents(codes, other, 0.0, 1.0, 0.5)
    assert torch.equal(mixed[:, :4], codes[:, :4])
    assert torch.equal(mixed[:, 4:8], other[:, 4:8])
    assert torch.allclose(mixed[:, 8:], (codes[:, 8:] + other[:, 8:]) / 2)
    for odd in (float("nan"), 1e300, -0.1):
        with pytest.raises(UsageError, match="middle is"):
            blend_latents(codes, other, 0.0, odd, 0.5)
