"""The work of a step on a GPU, counted on tensors without data: reading a value, which would stall a GPU, fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.models import alive
from helpers.scripts import importable

from nada import layer_freeze
from nada.adapt import adapt
from nada.stylegan2 import GeneratorConfig
from nada.training.config import AdaptConfig


@pytest.fixture
def counting():
    """Import the benchmark that counts."""
    with importable(Path(__file__).parents[2] / "benchmarks"):
        import speed_count

        yield speed_count


@pytest.mark.parametrize(
    ("settings", "crossing"),
    [
        ({}, "z crossover"),
        pytest.param(
            {"views": 2, "mixing": 1.0, "angle_weight": 0.5, "norm_weight": 0.1},
            "z crossover moves",
            marks=pytest.mark.slow,
        ),
        pytest.param({"train": "lora", "train_mapping": True, "batch": 3}, "z crossover", marks=pytest.mark.slow),
        # to select the layers, and to train them
        pytest.param({"layers": 3, "global_weight": 0.2}, "z crossover z crossover", marks=pytest.mark.slow),
        pytest.param({"classes": 4}, "z label crossover", marks=pytest.mark.slow),
    ],
)
def test_a_step_waits_for_nothing_and_moves_only_what_was_drawn(clip, counting, monkeypatch, settings, crossing):
    settings = {"layers": "all", "views": 0} | settings
    classes = settings.pop("classes", 0)
    base = alive(GeneratorConfig(16, (12, 12, 10), 12, 12, mapping_layers=2, c_dim=classes))
    # Only the selection of layers, which the CPU makes, has to be waited for.
    monkeypatch.setattr(layer_freeze, "choose", lambda layers, scores, k: tuple(layer_freeze.candidates(layers))[:k])
    run = adapt(base, clip, AdaptConfig("photo", "sketch", **settings))
    assert counting.count(run, fused=False)["crossings"] == len(crossing.split())


def test_reading_a_value_is_noticed(tiny, clip, counting, monkeypatch):
    run = adapt(tiny, clip, AdaptConfig("photo", "sketch", layers="all"))
    losses = run.objective.losses
    monkeypatch.setattr(run.objective, "losses", lambda before, *rest: before.mean().item() and losses(before, *rest))
    with pytest.raises(RuntimeError, match="meta"):
        counting.count(run, fused=False)


def test_kernels_are_counted_with_their_work(counting):
    x, y = torch.empty(2, 64, 64, device="meta")
    with counting.Count([x, y]) as counted:
        product = x @ y
        product.view(32, 128).t()
        again = product + x
        del product
        again.add_(1)
    size = 64 * 64 * 4
    assert [kernel.flop for kernel in counted.kernels] == [2 * 64**3, 0, 0]
    assert [kernel.bytes for kernel in counted.kernels] == [3 * size, 3 * size, 2 * size]
    assert counted.peak == 2 * size
    assert counted.live == size
    least = counting.Kernel(flop=15.7e9, bytes=1)
    assert least.seconds(*counting.CARDS["V100"]) == pytest.approx(1e-3)
    assert counting.Kernel(0, int(4.8e9)).seconds(*counting.CARDS["H200"]) == pytest.approx(1e-3)


@pytest.mark.slow
def test_fused_passes_are_one_kernel_each_and_move_less(tiny, clip, counting):
    plain, fused = (
        counting.count(adapt(tiny, clip, AdaptConfig("photo", "sketch", layers="all")), kind) for kind in (False, True)
    )
    assert fused["kernels"] < plain["kernels"]
    assert fused["bytes"] < plain["bytes"]
    assert fused["memory"] == plain["memory"]


@pytest.mark.slow
def test_smaller_pieces_and_blocks_keep_less(clip, counting):
    def memory(pieces, recompute):
        base = alive(GeneratorConfig(64, (24, 24, 24, 24, 24), 12, 12, mapping_layers=2))
        run = adapt(base, clip, AdaptConfig("photo", "sketch", layers="all", views=0, batch=4))
        run.pieces, run.trained.synthesis.recompute = pieces, recompute
        return counting.count(run, fused=False)["memory"]

    assert memory(1, False) > memory(2, False) > memory(4, False) > memory(4, True)
