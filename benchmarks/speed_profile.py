"""Time the operations of an iteration by kind, and count the arithmetic and the bytes that each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

FREE = {"detach", "_unsafe_view", "empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided"}
ATTENTION = "_scaled_dot_product_flash_attention"
FORMULAS = flop_registry | {  # PyTorch has none for attention on a CPU, whose arguments are the same
    getattr(torch.ops.aten, f"{ATTENTION}_for_cpu{way}"): flop_registry[getattr(torch.ops.aten, ATTENTION + way)]
    for way in ("", "_backward")
}
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
COPIES = {"copy_", "clone", "_to_copy", "cat", "stack", "index", "constant_pad_nd", "repeat"}
KINDS = (
    "convolution, forward",
    "convolution, input gradient",
    "convolution, weight gradient",
    "filter (depthwise convolution)",
    "attention",
    "product",
    "pass",
    "copy or change of layout",
)


@dataclass
class Kernel:
    """One operation, such as a kernel launch: its floating point operations, and the bytes that it reads and writes."""

    flop: float
    bytes: int

    def seconds(self, operations: float, bandwidth: float) -> float:
        """Lower bound of its time, given the machine's operations and bytes per second."""
        return max(self.flop / operations, self.bytes / bandwidth)


def kernel_of(function: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Kernel | None:
    """Return the work of a call of an ATen operation; None for mere views and for memory that is not written."""
    if function.is_view or function.overloadpacket.__name__ in FREE:
        return None
    formula = FORMULAS.get(function.overloadpacket)
    flop = formula(*args, **kwargs, out_val=result) if formula else 0
    return Kernel(flop, bytes_of(tensors_in((args, kwargs, result))))


def tensors_in(tree: Any) -> list[Tensor]:
    """Find the tensors in nested lists, tuples and dicts."""
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Add up the sizes of tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


def kind_of(function: Any, args: Sequence[Any]) -> str:
    """Return the kind, one of `KINDS`, of a call of an ATen operation; a "pass" is whatever is no other kind."""
    forward, input_gradient, weight_gradient, depthwise, attention, product, other, copy = KINDS
    name = function.overloadpacket.__name__
    if name == "convolution":
        *_, groups = args
        return depthwise if groups > 1 else forward
    if name == "convolution_backward":
        *_, groups, (_, wants_weight, _) = args
        return depthwise if groups > 1 else weight_gradient if wants_weight else input_gradient
    if "attention" in name:
        return attention
    return product if name in PRODUCTS else copy if name in COPIES else other


class Profile(TorchDispatchMode):
    """Timer of the operations that are called in a `with` block.

    Attributes:
        clock: returns the time in seconds; on a GPU it first waits until all work is finished.
        calls: kind, seconds and work of each call.
        between: seconds between the calls, in Python and in PyTorch's dispatch, and of mere views.
    """

    def __init__(self, clock: Callable[[], float]):
        super().__init__()
        self.clock = clock
        self.calls: list[tuple[str, float, Kernel]] = []
        self.between, self.ended = 0.0, clock()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, began = kwargs or {}, self.clock()
        result = function(*args, **kwargs)
        ended = self.clock()
        kernel = kernel_of(function, args, kwargs, result)
        if kernel:
            self.calls.append((kind_of(function, args), ended - began, kernel))
        self.between += (began if kernel else ended) - self.ended
        self.ended = self.clock()  # the time that the timer itself takes counts nowhere
        return result

    def by_kind(self, operations: float, bandwidth: float) -> dict[str, dict[str, float]]:
        """Sum up the calls of each kind, and the least time that they take on a machine; see `Kernel.seconds`."""
        found = {}
        for kind in KINDS:
            calls = [(seconds, kernel) for name, seconds, kernel in self.calls if name == kind]
            found[kind] = {
                "calls": len(calls),
                "seconds": sum(seconds for seconds, _ in calls),
                "operations": sum(kernel.flop for _, kernel in calls),
                "bytes": sum(kernel.bytes for _, kernel in calls),
                "least": sum(kernel.seconds(operations, bandwidth) for _, kernel in calls),
            }
        return found
