"""Half precision: check that a device has bfloat16, and compute products in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..errors import UsageError

BFLOAT16 = (8, 0)  # compute capability of the first CUDA cards with bfloat16


def require_half(device: torch.device) -> None:
    """Check that a device computes in bfloat16, which `precision="half"` needs.

    Raises:
        UsageError: it does not, so that half precision would be slower than full precision, or fail.
    """
    if device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        if capability < BFLOAT16:
            card = torch.cuda.get_device_name(device)
            has, needs = ("{}.{}".format(*version) for version in (capability, BFLOAT16))
            raise UsageError(
                f'precision is "half", which computes in bfloat16; {card} has compute capability {has} and no bfloat16 '
                f'(which needs {needs}). Set precision to "full"'
            )
    if device.type == "cpu" and lacks_bfloat16(getattr(torch.cpu, "get_capabilities", dict)()):
        raise UsageError(
            'precision is "half", which computes in bfloat16; this processor has no instructions for that (avx512_bf16 '
            'or amx_bf16) and would take longer than in full precision. Set precision to "full"'
        )
    if not torch.amp.is_autocast_available(device.type):
        raise UsageError(
            f'precision is "half", which PyTorch {torch.__version__} does not support on {device.type}. Set precision '
            'to "full", or update PyTorch'
        )


def lacks_bfloat16(capabilities: Mapping[str, Any]) -> bool:
    """Whether a processor has no bfloat16, by `torch.cpu.get_capabilities()`; False where that does not tell."""
    found = [capabilities[name] for name in ("avx512_bf16", "amx_bf16") if name in capabilities]
    return bool(found) and not any(found)


def half_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Compute matrix products and convolutions in bfloat16 inside a `with` block.

    Raises:
        UsageError: as for `require_half`.
    """
    require_half(device)
    return torch.autocast(device.type, torch.bfloat16)
