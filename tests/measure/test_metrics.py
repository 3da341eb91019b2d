"""The measures against other ways to compute them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from nada.errors import UsageError
from nada.measure.metrics import correlations, correspondence, diversity, interval, intra_cluster, quality, spread_kept


def embeddings(count, dimensions=12, seed=0):
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    a, b = a.double().numpy(), b.double().numpy()
    return float(np.dot(a, b) / math.sqrt(np.dot(a, a) * np.dot(b, b)))


def test_quality_is_the_mean_cosine():
    images, text = embeddings(9) * 3, embeddings(1, seed=1)[0] * 7
    assert quality(images, text) == pytest.approx(np.mean([cosine(i, text) for i in images]), abs=1e-6)


def test_diversity_is_the_mean_over_all_pairs():
    images = embeddings(9) * torch.arange(1, 10)[:, None]
    expected = np.mean([1 - cosine(a, b) for a, b in itertools.combinations(images, 2)])
    assert diversity(images) == pytest.approx(expected, abs=1e-9)


def test_equal_images_have_no_diversity():
    assert diversity(embeddings(1).expand(200, -1)) == pytest.approx(0, abs=1e-9)


def test_correspondence_survives_a_common_shift_and_notices_a_collapse():
    source = embeddings(50)
    moved = source + 5 * embeddings(1, seed=2)
    assert correspondence(source, moved)[0] == 1
    assert correspondence(source, source)[1] == pytest.approx(1, abs=1e-6)
    collapsed = embeddings(1).expand(50, -1) + 1e-3 * embeddings(50, seed=3)
    assert correspondence(source, collapsed)[0] < 0.2


def test_correlations_are_numpys():
    a, b = embeddings(40, 3), embeddings(40, 3, seed=1) + embeddings(40, 3)
    expected = [np.corrcoef(a[:, i].double(), b[:, i].double())[0, 1] for i in range(3)]
    assert correlations(a, b).tolist() == pytest.approx(expected, abs=1e-6)
    assert correlations(a, torch.ones(40, 3)).tolist() == [0, 0, 0]


def test_more_variety_does_not_count_as_kept():
    before = embeddings(30, 2)
    after = before * torch.tensor([0.5, 3.0])
    assert spread_kept(before, after).tolist() == pytest.approx([0.5, 1.0], abs=1e-6)


def test_intra_cluster_distance_is_that_within_the_groups():
    """Three groups far apart: between them is far, within them is what counts."""
    points = torch.cat(
        [torch.rand(8, 2, generator=torch.Generator().manual_seed(k)) + 100 * k for k in range(3)]
    ).double()
    expected = np.mean([torch.pdist(points[8 * k : 8 * k + 8]).mean().item() for k in range(3)])
    assert intra_cluster(torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist"), 3) == pytest.approx(
        expected
    )


def test_copies_of_a_few_images_have_no_intra_cluster_distance():
    points = embeddings(4).repeat_interleave(10, 0)
    assert intra_cluster(torch.cdist(points, points), 4) == pytest.approx(0, abs=1e-3)


def test_interval_of_five_measurements():
    """mean +- 2.776 s / sqrt(5), computed by hand."""
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776 * math.sqrt(2.5) / math.sqrt(5)
    assert found == pytest.approx({"mean": 3, "low": 3 - half, "high": 3 + half})
    assert interval([2.0]) == {"mean": 2.0}


def test_one_image_cannot_be_compared():
    with pytest.raises(UsageError, match="at least 2"):
        diversity(embeddings(1))
    with pytest.raises(UsageError, match="partner"):
        correspondence(embeddings(4), embeddings(5))
