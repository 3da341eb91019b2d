"""The fused kernels, in Triton's interpreter on the CPU and compiled without a GPU, and their selection."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nada.stylegan2.ops import kernels, passes

triton = pytest.importorskip("triton", reason="Triton comes with PyTorch on Linux only")


INTERPRETED = """
import torch
from nada.stylegan2 import Generator, GeneratorConfig
from nada.stylegan2.ops import fused, kernels, styled_conv

kernels.compare(fused, torch.device("cpu"))

torch.manual_seed(0)
synthesis = Generator(GeneratorConfig(16, (6, 5, 4), z_dim=8, w_dim=8, conv_clamp=1.5)).synthesis
for name in synthesis.conv_layers:
    torch.nn.init.normal_(synthesis.layer(name).noise_strength)
ws, slope = torch.randn(2, synthesis.num_ws, 8), torch.randn(2, 3, 16, 16)

def gradients():
    synthesis.zero_grad()
    image = synthesis(ws)
    image.backward(slope)
    return [image.detach(), *(p.grad.clone() for p in synthesis.parameters())]

plain = gradients()
styled_conv.passes_for = lambda x: fused
for one, other in zip(gradients(), plain, strict=True):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())
"""


@pytest.mark.slow
def test_they_give_the_numbers_of_the_plain_way():
    """Runs in a separate process, since Triton decides at import whether it interprets."""
    there = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", INTERPRETED], env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_wrong_kernel_is_found_out():
    def wrong(slope, x, styles):
        found, d_styles = passes.scale_backward(slope, x, styles)
        return found, d_styles * 1.01

    way = SimpleNamespace(finish=passes.finish, finish_backward=passes.finish_backward, scale_backward=wrong)
    with pytest.raises(ArithmeticError, match="styles'"):
        kernels.compare(way, torch.device("cpu"))


KERNELS = {
    "_finish": ({"y": "*A", "result": "*A", "taps": "*fp32", "demod": "*fp32", "noise": "*fp32", "bias": "*fp32",
                 "clamp": "fp32", "channels": "i32", "height": "i32", "width": "i32", "noise_step": "i32"},
                {"filtered": True, "noisy": True, "clamped": True, "leak": 0.2, "block": 1024}),
    "_finish_backward": ({"slope": "*A", "y": "*A", "result": "*A", "sums": "*fp32", "demod": "*fp32",
                          "noise": "*fp32", "clamp": "fp32", "channels": "i32", "pixels": "i32", "noise_step": "i32"},
                         {"noisy": True, "clamped": True, "leak": 0.2, "block": 1024}),
    "_filter": ({"source": "*A", "result": "*A", "taps": "*fp32", "height": "i32", "width": "i32", "pad": "i32"},
                {"block": 1024}),
    "_scale_backward": ({"slope": "*A", "x": "*A", "sums": "*fp32", "styles": "*fp32", "pixels": "i32"},
                        {"block": 16}),
}  # fmt: skip


@pytest.mark.parametrize(
    "kernel", [pytest.param(name, marks=[] if name == "_finish_backward" else [pytest.mark.slow]) for name in KERNELS]
)
@pytest.mark.parametrize(
    ("capability", "precision"),
    [(80, "bf16"), *(pytest.param(other, "fp32", marks=pytest.mark.slow) for other in (75, 90))],
)
def test_they_compile_for_cards(kernel, capability, precision, monkeypatch, tmp_path):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from nada.stylegan2.ops import fused

    if "nvidia" not in triton.backends.backends:
        pytest.skip("this Triton does not compile for NVIDIA's cards")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    arguments, constants = KERNELS[kernel]
    signature = {name: kind.replace("A", precision) for name, kind in arguments.items()}
    source = ASTSource(getattr(fused, kernel), signature | dict.fromkeys(constants, "constexpr"), constants)
    assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]


def test_on_a_cpu_nothing_is_built(monkeypatch):
    monkeypatch.setattr(kernels, "_chosen", lambda device: pytest.fail("no kernels are wanted here"))
    assert kernels.passes_for(torch.zeros(1, 1, 4, 4)) is passes


class OnCard:
    """The attributes of a GPU tensor that the selection looks at."""

    device, dtype = torch.device("cuda", 7), torch.float32

    def is_contiguous(self):
        return True


@pytest.fixture
def fresh():
    kernels._chosen.cache_clear()
    yield
    kernels._chosen.cache_clear()


@pytest.mark.parametrize("faster", [True, False])
def test_they_are_used_where_they_are_faster(fresh, monkeypatch, faster):
    monkeypatch.setattr(kernels, "compare", lambda way, device: None)
    monkeypatch.setattr(kernels, "_seconds", lambda way, device: 1.0 if (way is passes) == faster else 0.5)
    assert (kernels.passes_for(OnCard()) is not passes) == faster
    monkeypatch.setattr(kernels, "enabled", False)
    assert kernels.passes_for(OnCard()) is passes


def test_a_failure_is_logged_once_and_remembered(fresh, monkeypatch, caplog):
    tried = []

    def broken(way, device):
        tried.append(device)
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(kernels, "compare", broken)
    with caplog.at_level(logging.WARNING):
        assert kernels.passes_for(OnCard()) is passes
        assert kernels.passes_for(OnCard()) is passes
    assert tried == [OnCard.device]
    assert [record.message for record in caplog.records] == ["no fused kernels on cuda:7: no C compiler"]
