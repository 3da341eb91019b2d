"""LPIPS is used where it is at hand, and never fetched."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from nada.errors import NadaError
from nada.measure.lpips_distance import BACKBONE, lpips_distances


class Difference(torch.nn.Module):
    """Stands in for the network: the mean absolute difference."""

    def __init__(self, net, verbose):
        super().__init__()

    def forward(self, a, b):
        return (a - b).abs().mean((1, 2, 3), keepdim=True)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A machine on which the package is installed; the weights are not there yet."""
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Difference))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def test_without_the_package_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(NadaError, match="pip install lpips"):
        lpips_distances(torch.zeros(2, 3, 8, 8))


def test_without_the_weights_nothing_is_downloaded(package):
    with pytest.raises(NadaError, match=BACKBONE):
        lpips_distances(torch.zeros(2, 3, 8, 8))
    assert not list(package.iterdir())


def test_every_pair_is_compared_once(package):
    (package / "checkpoints").mkdir()
    (package / "checkpoints" / BACKBONE).touch()
    level = torch.tensor([-1.0, -0.5, 0.25, 1.0, 0.75])
    distances = lpips_distances(level[:, None, None, None].expand(-1, 3, 8, 8), batch=3)
    torch.testing.assert_close(distances, (level[:, None] - level).abs(), atol=1e-4, rtol=0)
