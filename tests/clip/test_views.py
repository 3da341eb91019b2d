"""Randomly moved copies of images for CLIP."""

from __future__ import annotations

import torch
from helpers.models import alive

from nada.adapt import adapt
from nada.clip.views import random_crops, random_views, view_count
from nada.stylegan2 import GeneratorConfig
from nada.training.config import AdaptConfig


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


def test_both_twins_are_cropped_alike_and_crops_lie_inside():
    crop = random_crops(40, torch.Generator().manual_seed(2))
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing="ij")
    places = torch.stack([y, x])[None].expand(40, -1, -1, -1)
    parts = crop(places)
    assert parts.shape == (40, 2, 5, 6)
    assert torch.equal(parts, crop(places))
    corners = {tuple(part[:, 0, 0].tolist()) for part in parts}
    assert {row for row, _ in corners} == set(range(5)), "from the upper edge to the lower one"
    assert {column for _, column in corners} <= set(range(7))
    assert all(torch.equal(part[0] - part[0, 0, 0], y[:5, :6]) for part in parts), "a crop is one piece"


def test_only_small_clip_models_get_views_unasked(clip):
    assert clip.small
    assert [view_count(count, clip) for count in (None, 0, 5)] == [2, 0, 5]
    with torch.device("meta"):  # as large as a published model, without its memory
        clip.models[0].large = torch.nn.Linear(10_000, 10_000)
    assert not clip.small
    assert [view_count(count, clip) for count in (None, 0, 5)] == [0, 0, 5]


def test_the_record_says_how_many_views_there_were(small, clip):
    for asked, expected in ((None, 2), (0, 0)):
        (step,) = adapt(small, clip, AdaptConfig("photo", "sketch", iterations=1, layers="all", views=asked))
        assert step.generator.metadata["adaptations"][0]["views"] == expected
