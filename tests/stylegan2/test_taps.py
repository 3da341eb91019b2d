"""Weight gradients of upsampling convolutions by matrix products, compared with PyTorch's in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nada.stylegan2 import ops
from nada.stylegan2.ops import taps
from nada.stylegan2.ops.resample import UP, resample_filter

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels first", "channels last"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (6, 10)], ids=str)
def test_they_equal_those_of_a_transposed_convolution(shape, size, layout):
    torch.manual_seed(5)
    x = torch.randn(3, 20, *shape).contiguous(memory_format=layout)
    weight = torch.randn(28, 20, size, size, dtype=torch.float64, requires_grad=True)
    y = F.conv_transpose2d(x.double(), weight.transpose(0, 1), stride=UP)
    slope = torch.randn(y.shape).contiguous(memory_format=layout)
    (exact,) = torch.autograd.grad(y, weight, slope.double())
    found = taps.weight_gradient(slope, x, size)
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 3e-6 * exact.abs().max()


def test_they_are_used_in_single_precision_on_a_cpu_without_avx512(monkeypatch):
    x, weight = torch.zeros(1, taps.CHANNELS, 8, 8), torch.zeros(taps.CHANNELS, taps.CHANNELS, 3, 3)
    for without in (False, True):
        monkeypatch.setattr(taps, "WITHOUT_AVX512", without)
        assert taps.pays(x, weight) == without
    for other in (x.bfloat16(), x.double(), x.to("meta")):
        assert not taps.pays(other, weight)
    for other in (weight[1:], weight[:, 1:]):
        assert not taps.pays(x, other)


def test_an_upsampling_layer_is_the_same_with_and_without(monkeypatch):
    torch.manual_seed(6)
    x, weight = torch.randn(2, 24, 8, 8), torch.randn(20, 24, 3, 3) / 15
    styles, demod, bias = torch.rand(2, 24) + 0.5, torch.rand(2, 20) + 0.5, torch.randn(20)
    inputs = [tensor.requires_grad_(True) for tensor in (x, weight, styles, demod, bias)]
    called = []

    def layer(pays: bool) -> tuple[torch.Tensor, ...]:
        monkeypatch.setattr(taps, "pays", lambda *_: called.append(pays) or pays)
        y = ops.styled_conv2d(*inputs[:4], None, inputs[4], resample_filter())
        return torch.autograd.grad(y.square().sum(), inputs)

    for found, wanted in zip(layer(True), layer(False), strict=True):
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert called == [True, False]
