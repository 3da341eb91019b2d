"""The pool of noise maps for training."""

from __future__ import annotations

import torch

from nada.seeding import seeded
from nada.training.noise_pool import NoisePool


def test_maps_have_the_shapes_of_drawn_ones_and_are_noise(small):
    random = seeded(3)
    pool = NoisePool(small, random)
    first, second = (pool.draw(5, random) for _ in range(2))
    drawn = small.synthesis.sample_noise(5, random)
    assert {name: maps.shape for name, maps in first.items()} == {name: maps.shape for name, maps in drawn.items()}
    largest = first["b32.conv1"]
    assert abs(float(largest.mean())) < 0.1
    assert abs(float(largest.std()) - 1) < 0.1
    for other in (second["b32.conv1"][0], largest[1], first["b32.conv0"][0]):
        assert not torch.equal(largest[0], other)


def test_a_seed_gives_the_same_maps_again(small):
    drawn = []
    for _ in range(2):
        random = seeded(3)
        drawn.append(NoisePool(small, random).draw(2, random))
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
