"""The included judge must be right on pictures that no training used, and robust to attacks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from helpers.scripts import importable

from nada.measure.demo_judge import load_judge
from nada.measure.metrics import correlations

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "demo_world"


@pytest.fixture(scope="module")
def world():
    """Import tools/demo_world/world.py, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("demo_world", FOLDER / "world.py")
    module = importlib.util.module_from_spec(spec)
    with importable(FOLDER):
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def judge():
    return load_judge()


@pytest.fixture(scope="module")
def drawings(world):
    """{(style, species): pictures [6, 3, 64, 64] in -1..1} of faces that no training used."""
    noise = torch.Generator().manual_seed(2**31 - 1)
    p = world.random_parameters(6, noise)
    return {(s, a): world.draw(p, a, s, noise) * 2 - 1 for s in world.STYLES for a in world.SPECIES}


def accuracy(judge, drawings):
    right = []
    for (style, species), images in drawings.items():
        reading = judge.read(images)
        right.append(reading.styles.argmax(1) == judge.style_names.index(style))
        right.append(reading.species.argmax(1) == judge.species_names.index(species))
    return torch.cat(right).float().mean().item()


def test_it_tells_styles_and_species(judge, drawings):
    assert accuracy(judge, drawings) > 0.99


def test_noise_and_blur_do_not_confuse_it(judge, drawings):
    noise = torch.Generator().manual_seed(0)
    noisy = {kind: x + 0.2 * torch.randn(x.shape, generator=noise) for kind, x in drawings.items()}
    assert accuracy(judge, noisy) > 0.95
    small = {kind: torch.nn.functional.avg_pool2d(x, 2) for kind, x in drawings.items()}
    assert accuracy(judge, small) > 0.9


@pytest.mark.parametrize("goal", ["sketch", "neon"])
def test_a_pattern_made_to_please_it_does_not(judge, drawings, goal):
    """Ten gradient steps against the judge, of at most 8 of 255 levels, change its answer for few photos."""
    images = torch.cat([x for (style, _), x in drawings.items() if style == "photo"])
    wanted = torch.full((len(images),), judge.style_names.index(goal))
    pattern = torch.zeros_like(images)
    for _ in range(10):
        pattern.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(judge(images + pattern)[0], wanted)
        (slope,) = torch.autograd.grad(loss, pattern)
        pattern = (pattern - 0.01 * slope.sign()).clamp(-16 / 255, 16 / 255).detach()
    fooled = judge.read(images + pattern).styles.argmax(1) == wanted
    assert fooled.float().mean() < 0.1


def test_it_reads_the_same_face_in_every_style(judge, world):
    noise = torch.Generator().manual_seed(5)
    p = world.random_parameters(40, noise)
    known = torch.cat([value.flatten(1) for value in p.values()], 1)
    for style in world.STYLES:
        reading = judge.read(world.draw(p, "dog", style, noise) * 2 - 1)
        found = correlations(known, reading.parameters)
        assert found[judge.parameter_names.index("tilt")] > 0.8, style
        assert found[judge.readable_parameters(style, "dog")].mean() > 0.6, style


def test_it_knows_the_words_of_the_demo(judge):
    assert judge.meaning("3d render in the style of Pixar") == ("style", "pixar")
    assert judge.meaning("  Pig ") == ("species", "pig")
    assert judge.meaning("zebra") is None
