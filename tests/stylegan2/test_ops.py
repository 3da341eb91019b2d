"""The operation of a synthesis layer and its gradient, compared with finite differences and plain autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nada.stylegan2 import ops

CASES = {
    "noise for each image": {},
    "one noise for all": {"maps": 1},
    "no noise": {"maps": 0},
    "twice the size": {"up": True},
    "clamped": {"clamp": 0.8},
    "all": {"up": True, "clamp": 0.8, "maps": 1},
}


def inputs(maps: int = 2, up: bool = False, clamp: float | None = None) -> tuple:
    """Arguments of `styled_conv2d` in float64: x [2, 3, 4, 5], 4 output channels."""
    torch.manual_seed(5)
    size = (8, 10) if up else (4, 5)
    shapes = {"x": (2, 3, 4, 5), "weight": (4, 3, 3, 3), "styles": (2, 3), "demod": (2, 4), "bias": (4,)}
    x, weight, styles, demod, bias = (torch.randn(*shape).double().requires_grad_(True) for shape in shapes.values())
    noise = torch.randn(maps, 1, *size).double().requires_grad_(True) if maps else None
    return x, weight, styles, demod, noise, bias, ops.resample_filter().double() if up else None, clamp


def plain(x, weight, styles, demod, noise, bias, _, clamp):
    """The operation without a change of size, image by image, with modulated weights."""
    images = []
    for i in range(len(x)):
        kernel = weight * styles[i][:, None, None] * demod[i][:, None, None, None]
        images.append(F.conv2d(x[i], kernel, padding=1))
    x = torch.stack(images) + (0 if noise is None else noise) + bias[:, None, None]
    x = F.leaky_relu(x, 0.2)
    return x if clamp is None else x.clamp(-clamp, clamp)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] if case in ("twice the size", "all") else []) for case in CASES],
)
def test_the_gradient_equals_finite_differences(case):
    assert torch.autograd.gradcheck(ops.styled_conv2d, inputs(**CASES[case]), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if not case.get("up")])
def test_result_and_gradient_equal_modulated_weights(case):
    given = inputs(**CASES[case])
    leaves = [t for t in given if isinstance(t, torch.Tensor) and t.requires_grad]
    ours, expected = ops.styled_conv2d(*given), plain(*given)
    assert torch.allclose(ours, expected, rtol=1e-10, atol=1e-12)
    slopes = [torch.autograd.grad((y * y.detach().cos()).sum(), leaves) for y in (ours, expected)]
    for found, wanted in zip(*slopes, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("wanted", [("x",), ("styles", "demod"), ("weight",), ("bias", "noise")])
def test_parts_of_the_gradient_alone_are_those_of_the_whole(wanted):
    names = ("x", "weight", "styles", "demod", "noise", "bias")
    given = inputs(maps=1, up=True, clamp=0.9)
    whole = dict(zip(names, torch.autograd.grad(ops.styled_conv2d(*given).square().sum(), given[:6]), strict=True))
    some = [t.detach().requires_grad_(name in wanted) for name, t in zip(names, given, strict=False)]
    found = torch.autograd.grad(
        ops.styled_conv2d(*some, *given[6:]).square().sum(), [some[names.index(n)] for n in wanted]
    )
    for name, gradient in zip(wanted, found, strict=True):
        assert torch.equal(gradient, whole[name])


def test_between_forward_and_backward_only_input_and_result_are_kept():
    x, weight, styles, demod, noise, bias, *_ = inputs()
    kept = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.add((tensor.data_ptr(), tuple(tensor.shape)))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = ops.styled_conv2d(x, weight, styles, demod, noise, bias)
    as_large = {entry for entry in kept if len(entry[1]) == 4 and entry[1][2:] == (4, 5) and entry[1][1] > 1}
    assert as_large == {(x.data_ptr(), (2, 3, 4, 5)), (y.data_ptr(), (2, 4, 4, 5))}
