"""TensorFloat-32 in trainings on CUDA devices, and what the host had set; no device is needed for either."""

from __future__ import annotations

import pytest
import torch

from nada.training import precision
from nada.training.precision import tensor_float32

CUDA, MATMUL = torch.device("cuda"), torch.backends.cuda.matmul
NAME, OFF, ON = ("fp32_precision", "ieee", "tf32") if hasattr(MATMUL, "fp32_precision") else ("allow_tf32", False, True)


@pytest.fixture(params=[OFF, ON])
def host(request):
    """What the host has set."""
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
