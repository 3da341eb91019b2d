"""Resizing by matrix products and sampling by gathers, compared with PyTorch's own kernels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import nada
from nada.clip import resizing
from nada.clip.resizing import resized
from nada.clip.views import moved, random_moves

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


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_samples_and_their_gradients_are_those_of_grid_sample(old, new):
    """Far beyond the edges too; of places on an edge, where a gradient has two sides, either is right."""
    images = torch.rand(2, 3, *old).requires_grad_()
    grid = (torch.rand(2, *new, 2) * 8 - 4).requires_grad_()
    expected = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    found = resizing._gathered(images, grid)
    assert torch.allclose(found, expected, atol=2e-4)
    slope = torch.randn(expected.shape)
    wanted, ours = (torch.autograd.grad(y, (images, grid), slope) for y in (expected, found))
    assert (ours[0] - wanted[0]).norm() < 1e-3 * wanted[0].norm()
    close = (ours[1] - wanted[1]).abs() < 1e-3 * wanted[1].abs().max()
    assert close.float().mean() > 0.999


def test_devices_without_a_backward_pass_gather(monkeypatch):
    monkeypatch.setattr(resizing, "KERNELS", ())
    monkeypatch.setattr(F, "grid_sample", None)
    images = torch.rand(1, 3, 20, 20, requires_grad=True)
    moves = random_moves(2, 1, torch.Generator().manual_seed(0))
    moved(images, moves).sum().backward()
    assert images.grad.abs().sum() > 0


def test_no_other_module_samples_on_a_device():
    """Photos and drawings are made on the CPU."""
    on_the_cpu = {
        "photo/resampling.py",
        "photo/detectors/yunet.py",
        "demo/drawing/noise.py",
        "measure/lpips_distance.py",
    }
    root = Path(nada.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"grid_sample\(|antialias=True,|antialias=True\)", path.read_text("utf-8"))
    }
    assert found - on_the_cpu == {"clip/resizing.py"}
