"""The included judge must be right on pictures that no training used, robust to attacks, and refuse what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.scripts import importable

from nada.demo.world import ANATOMIES, SPECIES, STYLES, draw, learned_parameters, random_parameters
from nada.measure.demo_judge import load_judge
from nada.measure.metrics import correlations

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "demo_world"


KINDS = [(style, species) for style in STYLES for species in SPECIES]
FEW_KINDS = [kind for kind in KINDS if "photo" in kind or "dog" in kind]  # each style, and each species


@pytest.fixture(scope="module")
def judge():
    return load_judge()


@pytest.fixture(scope="module")
def drawings(drawn):
    """{(style, species): pictures}."""
    return {kind: drawn(*kind) for kind in KINDS}


def accuracy(judge, drawings):
    right = []
    for (style, species), images in drawings.items():
        reading = judge.read(images)
        right.append(reading.styles.argmax(1) == judge.style_names.index(style))
        right.append(reading.species.argmax(1) == judge.species_names.index(species))
    return torch.cat(right).float().mean().item()


@pytest.mark.parametrize(
    "kinds", [pytest.param(FEW_KINDS, id="few"), pytest.param(KINDS, marks=pytest.mark.slow, id="all")]
)
def test_it_tells_styles_and_species(judge, drawn, kinds):
    assert accuracy(judge, {kind: drawn(*kind) for kind in kinds}) > 0.99


@pytest.mark.slow
def test_noise_and_blur_do_not_confuse_it(judge, drawings):
    noise = torch.Generator().manual_seed(0)
    noisy = {kind: x + 0.2 * torch.randn(x.shape, generator=noise) for kind, x in drawings.items()}
    assert accuracy(judge, noisy) > 0.95
    small = {kind: torch.nn.functional.avg_pool2d(x, 2) for kind, x in drawings.items()}
    assert accuracy(judge, small) > 0.9


@pytest.mark.parametrize("goal", ["sketch", "neon"])
@pytest.mark.slow
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


@pytest.mark.parametrize(
    "kind", ["smeared", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("faceless", "jumbled", "textured"))]
)
def test_it_refuses_spoiled_pictures(judge, drawn, kind):
    with importable(FOLDER):
        import spoiled

    kinds = [(style, species) for style in ("photo", "sketch") for species in SPECIES]
    images = torch.cat([drawn(*kind) for kind in kinds]) * 0.5 + 0.5
    reading = judge.read(getattr(spoiled, kind)(images, torch.Generator().manual_seed(0)) * 2 - 1)
    assert (reading.species.argmax(1) == len(judge.species_names)).float().mean() > 0.8


@pytest.mark.parametrize("style", ["photo", pytest.param("sketch", marks=pytest.mark.slow)])
def test_it_refuses_faces_without_eyes(judge, style):
    with importable(FOLDER):
        from album import without_eyes
    noise = torch.Generator().manual_seed(6)
    for species in ("bear", "rabbit", "cat"):
        p = learned_parameters(24, noise)
        blind, seeing = (draw(p, a, style, noise) for a in (without_eyes(ANATOMIES[species], bare=True), species))
        refused = [
            (judge.read(pictures * 2 - 1).species.argmax(1) == len(judge.species_names)).float().mean()
            for pictures in (blind, seeing)
        ]
        assert refused[0] > 0.6, species
        assert refused[1] < 0.1, species


@pytest.mark.parametrize(
    "style", [pytest.param(style, marks=[] if style == "sketch" else [pytest.mark.slow]) for style in STYLES]
)
def test_it_reads_the_same_face_in_every_style(judge, style):
    noise = torch.Generator().manual_seed(5)
    p = random_parameters(24, noise)
    reading = judge.read(draw(p, "dog", style, noise) * 2 - 1)
    found = correlations(p.values, reading.parameters)
    assert found[judge.parameter_names.index("tilt")] > 0.8
    assert found[judge.readable_parameters(style, "dog")].mean() > 0.6


def test_it_knows_the_words_of_the_demo(judge):
    assert judge.meaning("3d render in the style of Pixar") == ("style", "pixar")
    assert judge.meaning("  Pig ") == ("species", "pig")
    assert judge.meaning("zebra") is None
