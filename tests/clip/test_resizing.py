"""Resizing by matrix products, compared with PyTorch's own kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nada.clip import resizing
from nada.clip.resizing import resized

SIZES = [
    ((1024, 1024), (224, 224)),
    ((64, 64), (224, 224)),
    ((300, 300), (224, 224)),
    ((96, 160), (48, 32)),
    ((40, 24), (64, 48)),
]


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_values_and_gradients_are_those_of_interpolate(old, new, mode):
    images = (torch.rand(1, 3, *old) * 2 - 1).requires_grad_()
    expected = F.interpolate(images, new, mode=mode, antialias=True, align_corners=False)
    ours = resized(images, new, mode)
    assert torch.allclose(ours, expected, atol=1e-6)
    slope = torch.randn(expected.shape)
    (wanted,), (found,) = (torch.autograd.grad(y, images, slope) for y in (expected, ours))
    assert (found - wanted).abs().max() < 2e-6 * wanted.abs().max()


def test_autocast_does_not_round_it():
    images = torch.rand(1, 3, 50, 50)
    with torch.autocast("cpu", torch.bfloat16):
        half = resized(images, (32, 32))
    assert torch.equal(half, resized(images, (32, 32)))


def test_what_inference_mode_kept_serves_training():
    resizing._weights.cache_clear()
    with torch.inference_mode():
        resized(torch.rand(1, 3, 50, 50), (32, 32))
    images = torch.rand(1, 3, 50, 50, requires_grad=True)
    resized(images, (32, 32)).sum().backward()
    assert images.grad.sum() == pytest.approx(3 * 32 * 32, rel=1e-4)


@pytest.mark.parametrize("lacks", [True, False])
def test_devices_need_nothing_but_products_in_float32(monkeypatch, lacks):
    """Uses neither float64 nor autocast, which some devices lack; the meta device stands for them."""
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: not lacks and device == "cpu")
    images = torch.empty(2, 3, 50, 40, device="meta")
    assert resized(images, (32, 32)).shape == (2, 3, 32, 32)
    assert resized(images, (32, 32)).dtype == torch.float32
