"""Runs in lock-step: shared parts are computed once, and each run gets the same results as alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from helpers.runs import out_of_memory

from nada.adapt import adapt
from nada.training.config import AdaptConfig
from nada.training.lock_step import FrozenSide
from nada.training.trainable import Trainable

TARGETS = ("sketch", "watercolor", "pixel art")
SETTINGS = {
    "plain": {},
    "views, crops and mixing": {"views": 2, "patch_weight": 0.5, "mixing": 0.9, "norm_weight": 0.5},
    "chosen layers": {"layers": 2},
    "low rank": {"train": "lora"},
}


def configs(**settings):
    first = AdaptConfig(**{"source": "photo", "target": TARGETS[0], "iterations": 3, "views": 0, **settings})
    return [replace(first, target=target) for target in TARGETS]


def alone(generator, clip, config):
    run = adapt(generator, clip, config)
    losses = [float(step.loss) for step in run]
    return losses, run.trained.state_dict()


def together(generator, clip, wanted, side):
    runs = [adapt(generator, clip, config) for config in wanted]
    for run in runs:
        run.frozen_side = side
    losses = [[float(step.loss) for step in steps] for steps in zip(*map(list, zip(*runs, strict=True)), strict=True)]
    return losses, [run.trained.state_dict() for run in runs]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, marks=[pytest.mark.slow] if name in ("plain", "low rank") else [], id=name)
        for name, settings in SETTINGS.items()
    ],
)
def test_losses_and_weights_are_those_of_runs_alone(tiny, clip, settings):
    wanted = configs(**settings)
    losses, weights = together(tiny, clip, wanted, FrozenSide())
    for config, found_losses, found in zip(wanted, losses, weights, strict=True):
        expected_losses, expected = alone(tiny, clip, config)
        assert found_losses == expected_losses
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), (config.target, name)


def test_gradients_are_those_of_a_run_alone(tiny, clip):
    """Compares gradients, as Adam would hide a factor."""
    gradients = []
    for side in (None, FrozenSide()):
        runs = [adapt(copy.deepcopy(tiny), clip, config) for config in configs(views=2)]
        found = []
        for run in runs:
            run.frozen_side = side
            next(run)
        for run in runs:
            step, run.trainer.step = run.trainer.step, found.append
            run.train_layers()
            run.trainer.step = step
        gradients.append(found)
    for one, other in zip(*gradients, strict=True):
        for name, gradient in one.items():
            assert torch.allclose(gradient, other[name], rtol=0, atol=1e-6 * float(gradient.abs().max() + 1e-12)), name


def test_the_frozen_side_is_computed_once(tiny, clip):
    runs = [adapt(tiny, clip, config) for config in configs()]
    images, embedded = [], []
    frozen, encode = tiny.synthesis.forward, clip.models[0].encode_image
    tiny.synthesis.forward = lambda *args, **options: images.append(1) or frozen(*args, **options)
    clip.models[0].encode_image = lambda images: embedded.append(1) or encode(images)
    side = FrozenSide()
    for run in runs:
        run.frozen_side = side
    for run in [*runs, *runs]:
        next(run)
    assert len(images) == 2, "once a step, not once a run"
    assert len(embedded) == 2 + 6


def test_a_run_that_is_behind_computes_its_own_side(tiny, clip):
    first, second = (adapt(tiny, clip, config) for config in configs()[:2])
    first.frozen_side = second.frozen_side = FrozenSide()
    found = [float(next(first).loss) for _ in range(3)]
    assert [float(next(second).loss) for _ in range(3)] == alone(tiny, clip, second.config)[0]
    assert found == alone(tiny, clip, first.config)[0]


def test_another_number_of_chunks_has_images_of_its_own():
    """Chunks decide the rounding: twins that are still equal would seem to differ by it."""
    side, draws, made = FrozenSide(), torch.zeros(4), []
    of = lambda pieces: side.of(draws, pieces, lambda: made.append(pieces) or torch.zeros(1))
    of(1)[1][0] = {}
    assert of(1)[1] == {0: {}}
    assert of(2)[1] == {}, "embeddings too"
    assert made == [1, 2]


def test_images_that_could_not_be_made_are_not_cached():
    """Another run may ask for the entry that was freed to make room for them."""
    side, draws = FrozenSide(), torch.zeros(4)
    side.of(draws, 1, lambda: torch.ones(1))
    with pytest.raises(torch.OutOfMemoryError):
        side.of(draws, 2, out_of_memory)
    assert torch.equal(side.of(draws, 1, lambda: torch.full((1,), 2.0))[0], torch.tensor([2.0]))


def test_out_of_memory_in_the_first_iteration_changes_nothing(tiny, clip, monkeypatch):
    side, wanted = FrozenSide(), configs(batch=3)[:2]
    expected, _ = together(tiny, clip, wanted, FrozenSide())
    runs = [adapt(tiny, clip, config) for config in wanted]
    for run in runs:
        run.frozen_side = side
    first = next(runs[0])
    with monkeypatch.context() as patch:
        patch.setattr(Trainable, "gradients", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            next(runs[1])
    assert runs[1].spare_memory()
    losses = [[float(first.loss), *(float(step.loss) for step in runs[0])], [float(step.loss) for step in runs[1]]]
    for one, other in zip(losses, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
