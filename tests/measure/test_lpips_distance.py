"""LPIPS of all pairs is used where it is at hand, is never fetched, and computes the features of few images twice."""

from __future__ import annotations

import sys

import pytest
import torch

from nada.errors import NadaError
from nada.lpips.network import BACKBONES, SIDE
from nada.measure import lpips_distance
from nada.measure.lpips_distance import BLOCK, lpips_distances


class Difference(torch.nn.Module):
    """Stands in for the network: the mean absolute difference."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def layers(self, images):
        assert images.shape[1:] == (3, SIDE, SIDE)
        self.sizes.append(len(images))
        return [images[:, :, ::64, ::64]]

    def distance(self, first, second):
        return (first[0] - second[0]).abs().mean((1, 2, 3))


@pytest.fixture
def network(monkeypatch):
    network = Difference()
    monkeypatch.setattr(lpips_distance, "find_lpips", lambda names: network if names == ["vgg"] else None)
    return network


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_generator_are_compared(network, channels):
    distances = lpips_distances(torch.rand(3, channels, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert distances.shape == (3, 3)
    assert distances[0, 1] > 0


def images_of(levels):
    return levels[:, None, None, None].expand(-1, 3, 8, 8)


def test_without_the_package_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(NadaError, match="pip install lpips"):
        lpips_distances(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("other", [[], [BACKBONES["alex"][0]]])
def test_without_the_weights_of_vgg_nothing_is_downloaded(monkeypatch, tmp_path, other):
    (tmp_path / "site" / "lpips" / "weights" / "v0.1").mkdir(parents=True)
    (tmp_path / "site" / "lpips" / "__init__.py").touch()
    (tmp_path / "checkpoints").mkdir()
    for name in other:
        (tmp_path / "checkpoints" / name).touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(NadaError, match="vgg16"):
        lpips_distances(torch.zeros(2, 3, 8, 8))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == other


@pytest.mark.parametrize("count", [2, BLOCK, BLOCK + 1, 3 * BLOCK - 1])
def test_every_pair_is_compared(network, count):
    levels = torch.rand(count) * 2 - 1
    distances = lpips_distances(images_of(levels))
    torch.testing.assert_close(distances, (levels[:, None] - levels).abs(), atol=1e-4, rtol=0)
    assert torch.equal(distances, distances.T)
    assert not distances.diagonal().any()


def test_features_are_computed_for_blocks_and_not_for_pairs(network):
    lpips_distances(images_of(torch.rand(100)))
    assert sum(network.sizes) <= 5.5 * 100
    assert max(network.sizes) <= BLOCK


def test_the_processor_takes_over_where_memory_is_short(network, monkeypatch):
    pairs, places = lpips_distance._pairs, []

    def short(model, images, device):
        places.append(device.type)
        if device.type == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pairs(model, images, device)

    monkeypatch.setattr(lpips_distance, "_pairs", short)
    levels = torch.tensor([-1.0, 0.5])
    found = lpips_distances(images_of(levels), torch.device("meta"))
    assert places == ["meta", "cpu"]
    torch.testing.assert_close(found[0, 1], torch.tensor(1.5), atol=1e-4, rtol=0)
