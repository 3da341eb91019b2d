"""Let GPUs compute float32 matrix products in TensorFloat-32 while training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

enabled = True
"""Set to False to keep the precision that the host program has set."""


@contextmanager
def tensor_float32(device: torch.device) -> Iterator[None]:
    """Let a CUDA device round the factors of float32 matrix products to TensorFloat-32, if it supports it.

    PyTorch does so for convolutions by default. Sums stay in full precision, and trainings reach the same results
    (docs/speed.md). On exit, the host program's setting is restored.
    """
    if not enabled or device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    # PyTorch >= 2.9 has one setting per operation, and raises if old and new settings are mixed.
    name, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, value)
    try:
        yield
    finally:
        setattr(matmul, name, before)
