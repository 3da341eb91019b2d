"""Nodes with animated pictures, and the memory that nodes request when they only make pictures."""

from __future__ import annotations

import weakref

import pytest
import torch
from helpers.models import alive, moved
from PIL import Image

import nada
from nada import GeneratorConfig


@pytest.fixture
def codes(small):
    return nada.sample_latents(small, 2)


def test_a_wipe_shows_both_generators(host, small, codes):
    done = host.nodes.NADABeforeAfterAnimation.execute(small, moved(small), codes, 4, 64, 24.0)
    frames = done.args[0]
    assert frames.shape[0] == 4
    assert not torch.equal(frames[0], frames[2])
    assert torch.equal(done.ui, frames)
    with pytest.raises(nada.UsageError, match="the latents are for another generator"):
        host.nodes.NADABeforeAfterAnimation.execute(small, small, codes[:, :2], 4, 64, 24.0)


def test_a_walk_ends_where_it_began(host, small):
    walk = host.nodes.NADALatentWalk.execute
    frames = walk(small, 0, 2, 8, 0.7, 64, 24.0).args[0]
    assert frames.shape[:3] == (8, 64, 64)
    steps = [(a - b).abs().mean() for a, b in zip(frames, frames.roll(-1, 0), strict=True)]
    assert max(steps) < 3 * (sum(steps) / len(steps)), "the step from the last frame to the first is like the others"
    both = walk(small, 0, 2, 8, 0.7, 64, 24.0, base=moved(small)).args[0]
    assert both.shape[2] > 2 * 64
    assert torch.equal(both[:, :, -64:], frames), "the generator is on the right"


@pytest.mark.parametrize("node", ["walk", "walk with base", "wipe"])
def test_few_images_are_in_memory_in_full_resolution(host, tiny, monkeypatch, node):
    alive, most = [], []
    generate = host.nodes.animate.generate

    def noted(*given, **options):
        images = generate(*given, **options)
        alive.append(weakref.ref(images))
        most.append(sum(len(image) for reference in alive if (image := reference()) is not None))
        return images

    monkeypatch.setattr(host.nodes.animate, "generate", noted)
    nodes, count = host.nodes, 50
    run = {
        "walk": lambda: nodes.NADALatentWalk.execute(tiny, 0, 2, count, 0.7, 64, 24.0),
        "walk with base": lambda: nodes.NADALatentWalk.execute(tiny, 0, 2, count, 0.7, 64, 24.0, base=tiny),
        "wipe": lambda: nodes.NADABeforeAfterAnimation.execute(
            tiny, tiny, nada.sample_latents(tiny, count), 2, 64, 24.0
        ),
    }
    run[node]()
    assert max(most) <= 16 < count, "one chunk while the next is made"


@pytest.mark.parametrize("fps", [float("nan"), float("inf"), 0.0, 1e300])
def test_odd_speeds_are_refused_before_any_frame_is_made(host, small, codes, fps, monkeypatch):
    monkeypatch.setattr(host.nodes.animate, "generate", None)
    with pytest.raises(nada.UsageError, match="fps is"):
        host.nodes.NADABeforeAfterAnimation.execute(small, small, codes, 2, 64, fps)
    with pytest.raises(nada.UsageError, match="fps is"):
        host.nodes.NADALatentWalk.execute(small, 0, 2, 2, 0.7, 64, fps)


@pytest.mark.parametrize("node", ["compare", "pick", "walk", "wipe", "images", "evaluate"])
def test_making_pictures_asks_for_the_memory_that_it_takes(host, small, clip, codes, node, monkeypatch):
    """Nodes request memory for weights and a few pictures, not all memory, for which other models would be unloaded."""
    asked = []
    memory = host.nodes.host.memory
    monkeypatch.setattr(memory, "free_memory", lambda needed, device: asked.append(needed))
    monkeypatch.setattr(host.nodes.host, "_move", lambda modules, device: None)
    host.device = torch.device("meta")  # any device except the CPU
    weights = sum(p.numel() * p.element_size() for p in small.parameters())
    monkeypatch.setattr(host.nodes.evaluate, "judge_for", lambda generator, device: None)
    nodes = host.nodes
    run = {
        "compare": lambda: nodes.NADACompareGrid.execute(small, codes, "a | b", generator_b=small),
        "pick": lambda: nodes.NADAPickSnapshot.execute("last", 1, generator=small),
        "walk": lambda: nodes.NADALatentWalk.execute(small, 0, 2, 2, 0.7, 64, 24.0),
        "wipe": lambda: nodes.NADABeforeAfterAnimation.execute(small, small, codes, 2, 64, 24.0),
        "images": lambda: nodes.GenerateImages.execute(small, codes, "const"),
        "evaluate": lambda: nodes.NADAEvaluate.execute(small, clip, "sketch", 2, 1),
    }
    run[node]()
    assert asked
    assert all(weights < needed < 4e9 for needed in asked), asked


def test_columns_without_a_label_have_the_letter_of_their_input(host, tiny, monkeypatch):
    shown = []
    monkeypatch.setattr(
        host.nodes.compare, "filmstrip", lambda frames: shown.extend(frames) or Image.new("RGB", (8, 8))
    )
    codes = nada.sample_latents(tiny, 1)
    host.nodes.NADACompareGrid.execute(tiny, codes, "photo", generator_d=tiny, generator_b=None, generator_f=tiny)
    assert [label for label, _ in shown] == ["photo", "D", "F"]
    shown.clear()
    host.nodes.NADACompareGrid.execute(tiny, codes, "a | b | c | d", generator_d=tiny)
    assert [label for label, _ in shown] == ["a", "b"]


def test_a_wipe_needs_pictures_of_one_shape(host, small):
    tall = alive(GeneratorConfig(32, small.config.channels, z_dim=16, w_dim=20, mapping_layers=2, start=(4, 2)))
    with pytest.raises(nada.UsageError, match="different shapes"):
        host.nodes.NADABeforeAfterAnimation.execute(small, tall, nada.sample_latents(small, 1), 2, 64, 24.0)
