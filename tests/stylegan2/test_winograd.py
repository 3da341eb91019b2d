"""Convolutions by Winograd's algorithm, compared with ordinary ones in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nada.stylegan2 import ops
from nada.stylegan2.ops import winograd

SHAPES = [(2, 32, 32), (1, 48, 20), (5, 12, 20)]  # images, height, width
LAYOUTS = [torch.contiguous_format, torch.channels_last]
NAMES = ("result", "gradient for x", "gradient for weight")


def tensors(shape: tuple[int, int, int], layout: torch.memory_format) -> tuple[torch.Tensor, ...]:
    """Features, weight, and gradient of the result."""
    torch.manual_seed(3)
    n, height, width = shape
    x, slope = (torch.randn(n, c, height, width).contiguous(memory_format=layout) for c in (128, 132))
    return x, torch.randn(132, 128, 3, 3) / 34, slope


def direct(x, weight, slope) -> tuple[torch.Tensor, ...]:
    """The ordinary convolution and its gradients."""
    x, weight = x.detach().requires_grad_(True), weight.detach().requires_grad_(True)
    y = F.conv2d(x, weight, padding=1)
    return y.detach(), *torch.autograd.grad(y, (x, weight), slope)


def ours(x, weight, slope) -> tuple[torch.Tensor, ...]:
    return winograd.convolve(x, weight), winograd.input_gradient(slope, weight), winograd.weight_gradient(slope, x)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels first", "channels last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_equal_ordinary_convolutions_to_rounding(shape, layout):
    given = tensors(shape, layout)
    exact = direct(*(tensor.double() for tensor in given))
    for name, found, wanted in zip(NAMES, ours(*given), exact, strict=True):
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 6e-6 * wanted.abs().max(), name


def test_they_give_the_same_bits_each_time():
    given = tensors(SHAPES[0], torch.channels_last)
    for first, second in zip(ours(*given), ours(*given), strict=True):
        assert torch.equal(first, second)


def test_what_is_kept_depends_on_no_mode_or_default_device():
    given = tensors(SHAPES[1], torch.channels_last)
    winograd._matrices.cache_clear()
    with torch.inference_mode(), torch.device("meta"):
        first = ours(*given)
    assert not any(matrix.is_inference() for matrix in winograd._matrices())
    for before, after in zip(first, ours(*given), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels first", "channels last"])
def test_the_layout_of_features_is_kept(layout):
    x, weight, slope = tensors(SHAPES[0], layout)
    assert winograd.convolve(x, weight).is_contiguous(memory_format=layout)
    assert winograd.input_gradient(slope, weight).is_contiguous(memory_format=layout)


def test_they_are_used_for_large_convolutions_in_single_precision_on_a_cpu(monkeypatch):
    monkeypatch.setattr(winograd, "CHANNELS", 48)  # as on one kind of processor
    monkeypatch.setattr(winograd, "LEAST", 16)
    x, weight = torch.zeros(1, 48, 16, 16), torch.zeros(48, 48, 3, 3)
    assert winograd.pays(x, weight)
    for other in (x.bfloat16(), x.double(), x.to("meta"), x[:, :, :12], x[:, :, 1:].repeat(2, 1, 1, 1)):
        assert not winograd.pays(other, weight)
    for other in (weight[:47], weight[:, :47], weight[:, :, :1, :1]):
        assert not winograd.pays(x, other)


def test_a_layer_is_the_same_with_and_without(monkeypatch):
    monkeypatch.setattr(winograd, "pays", lambda *_: True)
    x, weight, _ = tensors(SHAPES[0], torch.channels_last)
    torch.manual_seed(4)
    styles, demod, bias = torch.rand(2, 128) + 0.5, torch.rand(2, 132) + 0.5, torch.randn(132)
    inputs = [tensor.requires_grad_(True) for tensor in (x, weight, styles, demod, bias)]

    def layer() -> tuple[torch.Tensor, ...]:
        y = ops.styled_conv2d(*inputs[:4], None, inputs[4])
        return y.detach(), *torch.autograd.grad(y.square().sum(), inputs)

    used = layer()
    monkeypatch.setattr(winograd, "pays", lambda *_: False)
    plain = layer()
    assert not torch.equal(used[0], plain[0]), "the layer does not use it"
    for found, wanted in zip(used, plain, strict=True):
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
