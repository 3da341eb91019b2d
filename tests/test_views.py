"""The moved copies that CLIP may be shown."""

from __future__ import annotations

import torch
from conftest import alive

from nada.adapt import adapt
from nada.config import AdaptConfig
from nada.stylegan2 import GeneratorConfig
from nada.views import random_views


def test_both_twins_are_moved_alike_and_views_differ():
    show = random_views(3, 2, torch.Generator().manual_seed(1))
    images = torch.rand(2, 3, 16, 16)
    views = show(images)
    assert views.shape == (6, 3, 16, 16)
    assert torch.equal(views, show(images))
    assert not torch.allclose(views[0], views[2])
    assert torch.allclose(show(torch.full((2, 3, 16, 16), 0.3)), torch.tensor(0.3), atol=1e-6), "edges are reflected"


def test_without_views_images_pass_untouched():
    images = torch.rand(2, 3, 8, 8)
    assert random_views(0, 2, torch.Generator())(images) is images


def test_adaptation_with_views_starts_at_one_and_trains(clip):
    generator = alive(GeneratorConfig(16, (8, 8, 8), 8, 8, mapping_layers=1))
    config = AdaptConfig("photo", "sketch", iterations=2, layers="all", views=2)
    steps = list(adapt(generator, clip, config))
    assert steps[0].loss.item() == 1
    assert steps[-1].generator.fingerprint() != generator.fingerprint()
