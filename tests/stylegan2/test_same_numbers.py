"""Faster variants of a computation give the same results as the plain one."""

from __future__ import annotations

import pytest
import torch
from helpers.models import TINY_CLIP

from nada.adapt import adapt
from nada.stylegan2 import ops, synthesis
from nada.training.config import AdaptConfig


@pytest.mark.parametrize("first", [4, 16])
def test_memory_layout_changes_no_number(small, monkeypatch, first):
    """Images, and gradients of weights and codes, in float64."""
    network = small.double().synthesis.requires_grad_(True)
    noise, ws = network.sample_noise(2), torch.randn(2, 8, 20).double().requires_grad_(True)

    def results(layout_from):
        monkeypatch.setattr(synthesis, "CHANNELS_LAST", layout_from)
        images = network(ws, noise)
        gradients = torch.autograd.grad(images.square().sum(), [ws, *network.parameters()])
        return images, *gradients

    plain, other = results(1 << 20), results(first)
    assert other[0].is_contiguous()
    for expected, found in zip(plain, other, strict=True):
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-9 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_colors_equal_a_convolution(layout):
    x = torch.randn(3, 7, 6, 4).double().contiguous(memory_format=layout).requires_grad_(True)
    weight, styles = (torch.randn(*shape).double().requires_grad_(True) for shape in ((3, 7, 1, 1), (3, 7)))
    plain = torch.cat([torch.conv2d(x[i : i + 1], weight * styles[i][:, None, None]) for i in range(3)])
    found = ops.modulated_conv1x1(x, weight, styles)
    assert torch.allclose(found, plain, rtol=1e-12)
    slopes = [torch.autograd.grad((y * y.detach().sin()).sum(), (x, weight, styles)) for y in (found, plain)]
    for ours, expected in zip(*slopes, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-10)


def test_tokens_in_another_order_change_no_number(clip):
    (model,) = clip
    images = torch.randn(3, 3, 32, 32, requires_grad=True)

    def results():
        embeddings = model.encode_image(images)
        return embeddings, torch.autograd.grad(embeddings.square().sum(), images)[0]

    found = results()
    changed = [m for m in model.model.visual.transformer.modules() if getattr(m, "batch_first", True) is False]
    assert len(changed) == 1 + TINY_CLIP["model_cfg"]["vision_cfg"]["layers"]
    for module in changed:
        module.batch_first = True
    for ours, plain in zip(found, results(), strict=True):
        assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-6 * float(plain.detach().abs().max()))


def test_half_precision_leads_the_same_way(small, clip, monkeypatch):
    monkeypatch.setattr(synthesis, "HALF_ON_CPU", 8)
    settings = {"layers": "all", "batch": 4, "iterations": 2, "learning_rate": 0.01}

    def second_step(precision):
        run = adapt(small, clip, AdaptConfig("photo", "sketch", precision=precision, **settings))
        next(run)
        run.trained.load_state_dict(parted)
        step = next(run)
        gradients = [p.grad.flatten() for p in step.generator.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 for g in gradients)
        return float(step.loss), torch.cat(gradients)

    run = adapt(small, clip, AdaptConfig("photo", "sketch", **settings | {"iterations": 20}))
    *_, last = run
    parted = {name: tensor.clone() for name, tensor in last.generator.state_dict().items()}
    (loss, full), (near, half) = second_step("full"), second_step("half")
    assert near == pytest.approx(loss, abs=0.05)
    assert near != loss
    assert torch.cosine_similarity(full, half, dim=0) > 0.95
    assert small.synthesis(torch.randn(2, 8, 20), half=True).dtype == torch.float32
