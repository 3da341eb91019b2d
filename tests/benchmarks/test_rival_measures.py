"""The rivals' measures on points with known distances."""

from __future__ import annotations

import pytest
import torch

from benchmarks.rivals import measures
from nada.measure.demo_judge import load_judge


def test_frechet_distance_of_known_gaussians():
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 2, generator=rng, dtype=torch.float64)
    b = torch.randn(20_000, 2, generator=rng, dtype=torch.float64) * torch.tensor([2.0, 1.0]) + torch.tensor([3.0, 0])
    assert measures.frechet(a, b) == pytest.approx(9 + 1, rel=0.03)
    assert measures.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_a_picture_has_the_same_features_in_every_set():
    judge = load_judge()
    pictures = torch.rand(4, 3, 128, 128) * 2 - 1
    alone, among = measures.features(judge, pictures[:1]), measures.features(judge, pictures)
    assert torch.allclose(alone, among[:1], atol=1e-4 * float(among.abs().max()))


def test_features_that_differ_in_length_only_are_told_apart():
    points = torch.randn(200, 3, dtype=torch.float64) + 2
    same = measures.distances_to(points, points, points[:9], points[:9])
    larger = measures.distances_to(points, 2 * points, points[:9], points[:9])
    assert same["Frechet distance"] == pytest.approx(0, abs=1e-9)
    assert larger["Frechet distance"] > 0.9
    assert larger["precision"] < same["precision"]
    units = measures.distances_to(*(1000 * x for x in (points, 2 * points, points[:9], points[:9])))
    assert units == pytest.approx(larger), "in units of the true pictures' features"


def test_precision_and_recall_tell_collapse_from_artefacts():
    truth_points = torch.randn(200, 2, dtype=torch.float64)
    assert measures.precision_recall(truth_points, truth_points) == (1.0, 1.0)
    collapsed = truth_points[:1] + 1e-3 * torch.randn(200, 2, dtype=torch.float64)
    precision, recall = measures.precision_recall(truth_points, collapsed)
    assert precision > 0.9
    assert recall < 0.1
    precision, _ = measures.precision_recall(truth_points, truth_points + 100)
    assert precision == 0


def test_memorised_images_are_told_from_true_ones():
    points = torch.randn(420, 3, dtype=torch.float64)
    seen, true, fresh = points[:10], points[10:210], points[210:]
    copies = seen.repeat(20, 1) + 1e-3 * torch.randn(200, 3, dtype=torch.float64)
    assert measures.memorised(true, copies, seen) == 1.0
    assert measures.memorised(true, fresh, seen) < 0.15


def test_intra_cluster_distance():
    seen = torch.tensor([[0.0, 0.0], [10.0, 0.0], [50.0, 0.0]])
    made = torch.tensor([[0.0, 0.0], [0.0, 3.0], [1.0, 0.0], [10.0, 0.0], [10.0, 4.0], [49.0, 0.0]])
    first = (3 + 1 + 10**0.5) / 3
    assert measures.intra_cluster(made, seen) == pytest.approx((first + 4) / 2)
    assert measures.intra_cluster(made[:1], seen) == 0.0
