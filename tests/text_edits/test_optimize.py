"""Latent optimization: the schedule, independence of images, and refusals."""

from __future__ import annotations

from math import cos, pi

import pytest
import torch

from nada.clip.loading import load_clip
from nada.errors import UsageError
from nada.latents.sampling import sample_latents
from nada.text_edits.optimize import OptimizeConfig, optimize_latents


def config(**changes) -> OptimizeConfig:
    return OptimizeConfig(**{"views": 0, "target": "sketch", "iterations": 4} | changes)


def test_step_size_rises_stays_and_falls():
    rate = config(iterations=100, learning_rate=0.2).scheduled_learning_rate
    assert rate(0) == 0
    assert rate(3) == pytest.approx(0.2 * 3 / 5)
    assert rate(5) == rate(40) == rate(75) == pytest.approx(0.2)
    assert rate(90) == pytest.approx(0.2 * (0.5 - 0.5 * cos(pi * 0.4)))
    assert rate(99) < 0.001


def test_losses_equal_the_formulas(small, clip):
    ws = sample_latents(small, 3)
    run = optimize_latents(small, clip, ws, config(l2_weight=0.02))
    next(run)
    moved = next(run).ws.double()
    step = next(run)
    (model,) = clip
    images = model.encode_image(small.synthesis(moved.float())).double()
    text = model.encode_text(["sketch"])[0].double()
    cosine = (images @ text) / (images.square().sum(1).sqrt() * text.square().sum().sqrt())
    l2 = ((moved - ws) ** 2).sum() / 3
    assert step.losses["clip"].item() == pytest.approx((1 - cosine).mean().item(), rel=1e-5)
    assert step.losses["l2"].item() == pytest.approx(l2.item(), rel=1e-5)
    assert step.loss.item() == pytest.approx((1 - cosine).mean().item() + 0.02 * l2.item(), rel=1e-5)


def test_comes_nearer_to_the_text_and_leaves_the_generator(tiny, clip):
    ws, before = sample_latents(tiny, 2), tiny.fingerprint()
    steps = [*optimize_latents(tiny, clip, ws, config(iterations=30, l2_weight=0.0))]
    assert steps[-1].losses["clip"] < steps[0].losses["clip"] - 0.05
    assert tiny.fingerprint() == before
    assert not torch.equal(steps[20].ws, steps[-1].ws), "records share their codes"


@pytest.mark.slow
def test_a_heavy_l2_weight_keeps_the_codes(tiny, clip):
    ws = sample_latents(tiny, 2)
    free, held = ([*optimize_latents(tiny, clip, ws, config(iterations=30, l2_weight=w))][-1].ws for w in (0.0, 10.0))
    assert (held - ws).norm() < 0.1 * (free - ws).norm()


def test_each_image_is_optimized_by_itself(small, clip):
    ws = sample_latents(small, 2)
    both = [*optimize_latents(small, clip, ws, config())][-1].ws
    alone = [*optimize_latents(small, clip, ws[1:], config())][-1].ws
    assert torch.allclose(both[1:], alone, atol=1e-3)


def test_works_under_inference_mode(small, clip_folder):
    with torch.inference_mode():
        ws = sample_latents(small, 2)
        *_, last = optimize_latents(small, load_clip(str(clip_folder)), ws, config())
    assert last.ws.shape == ws.shape


def test_what_does_not_fit_is_refused(small, clip):
    with pytest.raises(UsageError, match=r"takes \[N, 8, 20\]"):
        optimize_latents(small, clip, torch.zeros(1, 10, 20), config())
    with pytest.raises(UsageError, match=r"takes \[N, 8, 20\]"):
        optimize_latents(small, clip, torch.zeros(0, 8, 20), config())
    with pytest.raises(UsageError, match="learning_rate is 0"):
        config(learning_rate=0.0)
