"""The profile of a step: operations are told apart, timed and compared with what a machine could do."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.scripts import importable
from torch.utils.flop_counter import FlopCounterMode

from nada.adapt import adapt
from nada.stylegan2 import ops
from nada.training.config import AdaptConfig


@pytest.fixture
def profiling():
    """Import the benchmark."""
    with importable(Path(__file__).parents[2] / "benchmarks"):
        import speed_profile

        yield speed_profile


@pytest.fixture
def profile(profiling):
    """A profile in whose time every operation takes a second, and so does every pause between two."""
    return profiling.Profile(itertools.count().__next__)


def calls(profile) -> dict[str, int]:
    return {kind: sums["calls"] for kind, sums in profile.by_kind(1, 1).items() if sums["calls"]}


def test_the_operations_of_a_layer_are_told_apart(profile):
    x, weight, styles, demod, bias = (
        torch.randn(*shape, requires_grad=True) for shape in ((2, 3, 4, 4), (5, 3, 3, 3), (2, 3), (2, 5), (5,))
    )
    with profile:
        y = ops.styled_conv2d(x, weight, styles, demod, None, bias, ops.resample_filter())
        y.backward(torch.ones_like(y))
    found = calls(profile)
    convolutions = {kind: count for kind, count in found.items() if "convolution" in kind}
    assert convolutions == {
        "convolution, forward": 1,
        "convolution, input gradient": 1,
        "convolution, weight gradient": 1,
        "filter (depthwise convolution)": 2,
    }
    assert found["pass"] > 5


def test_the_operations_of_clip_are_told_apart(profile):
    q, k, v = torch.randn(3, 1, 2, 4, 8, requires_grad=True).unbind(0)
    with profile:
        tokens = F.scaled_dot_product_attention(q, k, v).flatten(0, 1)
        (tokens @ tokens.mT).clone(memory_format=torch.contiguous_format).sum().backward()
    found = calls(profile)
    assert found["attention"] == 2
    assert found["product"] == 3
    assert found["copy or change of layout"] >= 1


def test_work_and_least_time_are_summed_up(profile):
    a, b = torch.randn(2, 16, 16)
    with profile:
        product = a @ b
        product.view(4, 64).t()
        product += a
    size, found = 16 * 16 * 4, profile.by_kind(operations=1024.0, bandwidth=512.0)
    assert found["product"] == {"calls": 1, "seconds": 1, "operations": 2 * 16**3, "bytes": 3 * size, "least": 8}
    assert found["pass"] == {"calls": 1, "seconds": 1, "operations": 0, "bytes": 3 * size, "least": 6}
    assert profile.between >= 2


def test_the_arithmetic_of_a_step_is_what_pytorch_counts(tiny, clip, profile):
    """Except for attention, which PyTorch does not count on a CPU."""
    run = adapt(tiny, clip, AdaptConfig("photo", "sketch", layers="all"))
    with FlopCounterMode(display=False) as counter, profile:
        next(run)
    found = profile.by_kind(1, 1)
    assert all(sums["calls"] and sums["bytes"] for sums in found.values())
    attention = found.pop("attention")["operations"]
    assert attention > 0
    assert sum(sums["operations"] for sums in found.values()) == counter.get_total_flops()


def test_a_profile_becomes_a_table(profiling):
    import speed_page

    sums = {"calls": 3, "seconds": 2.0, "operations": 3e11, "bytes": 4 * 10**9, "least": 1.5}
    kinds = {"product": sums, "attention": sums | {"calls": 0}, "pass": sums | {"operations": 0}}
    found = {"kinds": kinds, "between": 1.0, "waiting": 0.25, "per second": (2e11, 1e10)}
    row = {"profile": found, "device": "cpu", "steps": [{"processor": 4.5}]}
    assert speed_page.profile("layers all, 64 px", row).splitlines()[4:] == [
        "| product | 3 | 2.00 | 40% | 150 | 2.0 | 75% |",
        "| pass | 3 | 2.00 | 40% |  | 2.0 | 75% |",
        "| between operations |  | 1.00 | 20% |  |  |  |",
        "",
        "5.00 s in this iteration, without 0.25 s of waiting for a processor; 4.50 s in one without a timer. Its 300 "
        "GFLOP would take 1.50 s at the 200 GFLOP/s of a large matrix product here, 30% of the time; with what the "
        "passes move at the 10.0 GB/s of a large copy, 3.00 s, 60%.",
    ]
