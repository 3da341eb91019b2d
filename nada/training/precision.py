"""How exactly a GPU multiplies while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from ..errors import UsageError

BFLOAT16 = (8, 0)  # compute capability of the first CUDA cards that have it
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


def require_half(device: torch.device) -> None:
    """Make sure that a device computes in bfloat16, as `precision="half"` does.

    Raises:
        UsageError: it does not: it would take longer than in full precision, or fail in the middle.
    """
    if device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        if capability < BFLOAT16:
            card, has, needs = (
                torch.cuda.get_device_name(device),
                "{}.{}".format(*capability),
                "{}.{}".format(*BFLOAT16),
            )
            raise UsageError(
                f'precision is "half", which computes in bfloat16; {card} has compute capability {has} and no bfloat16 '
                f'(that takes {needs}). Set precision to "full"'
            )
    if not torch.amp.is_autocast_available(device.type):
        raise UsageError(
            f'precision is "half", which PyTorch {torch.__version__} does not support on {device.type}. Set precision '
            'to "full", or update PyTorch'
        )


def half_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Compute matrix products and convolutions in bfloat16 inside a `with` block.

    Raises:
        UsageError: as for `require_half`.
    """
    require_half(device)
    return torch.autocast(device.type, torch.bfloat16)
