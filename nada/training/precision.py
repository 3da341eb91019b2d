"""How exactly a GPU multiplies while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

enabled = True
"""Set to False to leave products as the host has them."""


@contextmanager
def tensor_float32(device: torch.device) -> Iterator[None]:
    """Let a CUDA device round the factors of float32 matrix products to TensorFloat-32, where it has that.

    Convolutions do so by PyTorch's default. Sums stay in full precision, and trainings come to the same
    (docs/speed.md). What the host had set holds again afterwards.
    """
    if not enabled or device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    # Since 2.9, PyTorch has a setting for each kind of product, and does not bear both generations of it side by side.
    name, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, value)
    try:
        yield
    finally:
        setattr(matmul, name, before)
