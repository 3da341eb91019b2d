"""Faster variants of a computation give the same results as the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.models import TINY_CLIP, alive

from nada.adapt import adapt
from nada.stylegan2 import GeneratorConfig, ops, synthesis
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


@pytest.mark.slow
def test_half_precision_leads_the_same_way(small, clip, monkeypatch, stepped):
    monkeypatch.setattr(synthesis, "BFLOAT16_FROM_ON_CPU", 8)
    settings = {"layers": "all", "batch": 4, "iterations": 2, "learning_rate": 0.01}

    def second_step(precision):
        run = adapt(small, clip, AdaptConfig("photo", "sketch", precision=precision, **settings))
        next(run)
        run.trained.load_state_dict(parted)
        step = next(run)
        assert all(gradient.dtype == torch.float32 for gradient in stepped.values())
        return float(step.loss), torch.cat([gradient.flatten() for gradient in stepped.values()])

    run = adapt(small, clip, AdaptConfig("photo", "sketch", **settings | {"iterations": 20}))
    *_, last = run
    parted = {name: tensor.clone() for name, tensor in last.generator.state_dict().items()}
    (loss, full), (near, half) = second_step("full"), second_step("half")
    assert near == pytest.approx(loss, abs=0.05)
    assert near != loss
    assert torch.cosine_similarity(full, half, dim=0) > 0.95
    codes = torch.randn(2, 8, 20)
    image = small.synthesis(codes, bfloat16=True)
    assert image.dtype == torch.float32
    assert torch.equal(image, small.synthesis(codes, half=True)), "the former name"


def modulated_convolution(x, weight, styles, demod, noise, bias, up_filter=None, clamp=None):
    """The operation of a synthesis layer as in the paper: modulated weights for each image, zeros between pixels."""
    if up_filter is not None:
        n, channels, height, width = x.shape
        spread = x.new_zeros(n, channels, 2 * height - 1, 2 * width - 1)
        spread[:, :, ::2, ::2] = x
        x, weight = F.pad(spread, (2, 2, 2, 2)), weight.flip(2, 3)
    kernels = weight * styles[:, None, :, None, None] * demod[:, :, None, None, None]
    padding = 1 if up_filter is None else 0
    y = torch.cat([F.conv2d(x[i : i + 1], kernels[i], padding=padding) for i in range(len(x))])
    if up_filter is not None:
        y = F.conv2d(y.flatten(0, 1)[:, None], up_filter, padding=1).unflatten(0, y.shape[:2])[:, :, 0]
    y = F.leaky_relu(y + bias[:, None, None] + (0 if noise is None else noise), 0.2)
    return y if clamp is None else y.clamp(-clamp, clamp)


def modulated_colors(x, weight, styles):
    return torch.cat([F.conv2d(x[i : i + 1], weight * styles[i][:, None, None]) for i in range(len(x))])


@pytest.fixture
def exact(monkeypatch):
    """Compute in float64 whatever is computed in float32."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


SETUPS = {
    "all layers": ({}, {}),
    "three layers, chosen by moved codes": ({"layers": 3}, {}),
    "mapping and colors": ({"train_mapping": True, "train_torgb": True}, {}),
    "style space, clamped": ({"train": "stylespace"}, {"conv_clamp": 0.7}),
    "affine maps, residual blocks": ({"train": "affine", "views": 2}, {"architecture": "resnet"}),
}
RARER = {"mapping and colors", "style space, clamped"}


@pytest.mark.parametrize(
    "setup", [pytest.param(name, marks=[pytest.mark.slow] if name in RARER else []) for name in SETUPS]
)
def test_a_step_has_the_gradients_of_the_operations_in_the_paper(exact, clip, monkeypatch, setup, stepped):
    """The second step, in pieces and in the layout of large images, against separate operations on whole batches."""
    settings, changes = SETUPS[setup]
    settings = {"layers": "all", "views": 0, "batch": 3, "select_batch": 4, "learning_rate": 0.01} | settings
    config = GeneratorConfig(32, (24, 20, 16, 12), z_dim=16, w_dim=20, mapping_layers=2, **changes)
    base = alive(config)
    for model in clip:  # texts are embedded in single precision, which both ways share
        model.model.visual.double()
        model.mean, model.std = model.mean.double(), model.std.double()

    def second_step(pieces):
        run = adapt(base, clip, AdaptConfig("photo", "sketch", iterations=2, **settings))
        next(run)
        run.pieces = pieces
        step = next(run)
        return step, dict(stepped)

    monkeypatch.setattr(synthesis, "CHANNELS_LAST", 8)
    step, found = second_step(2)
    monkeypatch.setattr(synthesis, "CHANNELS_LAST", 1 << 20)
    monkeypatch.setattr(ops, "styled_conv2d", modulated_convolution)
    monkeypatch.setattr(ops, "modulated_conv1x1", modulated_colors)
    for module in clip.modules():
        if hasattr(module, "batch_first"):
            module.batch_first = True
    plain, expected = second_step(1)
    assert step.layers == plain.layers
    assert float(step.loss) == pytest.approx(float(plain.loss), rel=1e-9)
    assert found.keys() == expected.keys() != set()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert gradient.dtype == torch.float64
        assert torch.allclose(found[name], gradient, rtol=1e-6, atol=1e-8 * largest), name
