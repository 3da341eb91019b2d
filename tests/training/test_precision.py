"""TensorFloat-32 in trainings on CUDA devices, and restoring the host's setting; no device is needed."""

from __future__ import annotations

import pytest
import torch

from nada.errors import UsageError
from nada.generators.half_precision import half_precision, require_half
from nada.training import precision
from nada.training.precision import tensor_float32

CUDA, MATMUL = torch.device("cuda"), torch.backends.cuda.matmul
NAME, OFF, ON = ("fp32_precision", "ieee", "tf32") if hasattr(MATMUL, "fp32_precision") else ("allow_tf32", False, True)


@pytest.fixture(params=[OFF, ON])
def host(request):
    """The host's setting."""
    before = getattr(MATMUL, NAME)
    setattr(MATMUL, NAME, request.param)
    yield request.param
    setattr(MATMUL, NAME, before)


def test_products_are_rounded_only_meanwhile(host):
    with tensor_float32(CUDA):
        assert getattr(MATMUL, NAME) == ON
    assert getattr(MATMUL, NAME) == host
    with pytest.raises(KeyError), tensor_float32(CUDA):
        raise KeyError
    assert getattr(MATMUL, NAME) == host


def test_other_devices_and_those_who_will_not_keep_the_hosts(host, monkeypatch):
    with tensor_float32(torch.device("cpu")):
        assert getattr(MATMUL, NAME) == host
    monkeypatch.setattr(precision, "enabled", False)
    with tensor_float32(CUDA):
        assert getattr(MATMUL, NAME) == host


@pytest.mark.parametrize(("capability", "fits"), [((6, 1), False), ((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_half_precision_takes_a_card_with_bfloat16(monkeypatch, capability, fits):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce")
    if fits:
        require_half(CUDA)
        return
    with pytest.raises(
        UsageError, match=rf"GeForce has compute capability {capability[0]}\.\d and no bfloat16 .*\"full\""
    ):
        half_precision(CUDA)


def test_half_precision_where_pytorch_has_no_autocast_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: device in ("cpu", "cuda"))
    with pytest.raises(UsageError, match=r"does not support on mps.*\"full\""):
        require_half(torch.device("mps"))


@pytest.mark.parametrize(
    ("capabilities", "lacks"),
    [
        ({}, False),  # PyTorch does not tell, or the processor is not of that family
        ({"avx2": True}, False),
        ({"avx512_bf16": False, "amx_bf16": False}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, False),
        ({"avx512_bf16": False, "amx_bf16": True}, False),
    ],
)
def test_half_precision_takes_a_processor_with_bfloat16(monkeypatch, capabilities, lacks):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    if not lacks:
        require_half(torch.device("cpu"))
        return
    with pytest.raises(UsageError, match=r"no instructions for that .*\"full\""):
        require_half(torch.device("cpu"))


def test_half_precision_rounds_products():
    with half_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
