"""Count kernels, arithmetic, bytes and memory of an iteration on a GPU, with tensors without data, so without a GPU.

The run is moved to PyTorch's "meta" device, which only knows shapes. As on a GPU, code that would wait for a value, or
read one, cannot do so: it fails there.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from speed_profile import Kernel, bytes_of, kernel_of, tensors_in
from speed_timed import Case, Timed
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nada import Adaptation
from nada.stylegan2.ops import passes, styled_conv

NOWHERE = torch.device("meta")
CARDS = {  # published figures: FLOP/s of fp32 matrix products (TF32 if available), bytes/s of memory
    "V100": (15.7e12, 0.9e12),
    "RTX 3090": (35.6e12, 0.936e12),
    "RTX 4090": (82.6e12, 1.008e12),
    "H200": (494e12, 4.8e12),
}


class Count(TorchDispatchMode):
    """Counter of operations on tensors of the device.

    Attributes:
        kernels: kernels in order.
        crossings: number of tensors that were moved to the device, or used there from the CPU.
        peak: peak of bytes of tensors made meanwhile, besides those that existed before.
    """

    def __init__(self, kept: list[Tensor]):
        super().__init__()
        self.kernels: list[Kernel] = []
        self.crossings = self.live = self.peak = 0
        self.quiet = False
        self.known = {id(storage): storage for storage in map(Tensor.untyped_storage, kept)}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        given, made = tensors_in((args, kwargs)), tensors_in(result)
        for tensor in made:
            self.watch(tensor)
        if not self.quiet and any(x.device == NOWHERE for x in (*given, *made)):
            self.crossings += sum(x.device.type == "cpu" and x.ndim > 0 for x in given)
            if kernel := kernel_of(function, args, kwargs, result):
                self.kernels.append(kernel)
        return result

    def watch(self, tensor: Tensor) -> None:
        """Count the memory of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        if tensor.device != NOWHERE or id(storage) in self.known:
            return
        self.known[id(storage)] = None
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.forget, id(storage), storage.nbytes())

    def forget(self, key: int, size: int) -> None:
        """Subtract the memory of a freed tensor."""
        del self.known[key]
        self.live -= size

    def as_one(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function as a single kernel that reads its arguments and writes its results."""

        @wraps(function)
        def fused(*args: Any) -> Any:
            self.quiet = True
            result = function(*args)
            self.quiet = False
            self.kernels.append(Kernel(0, bytes_of(tensors_in((args, result)))))
            return result

        return fused


def by_count(size: int, base: Case) -> list[dict[str, Any]]:
    """Count an iteration on a GPU for each variant."""
    case = base.on(size=size, device="cpu")
    ways = {
        "plain": (case, False),
        "fused kernels": (case, True),
        "fused, two pieces": (case.on(pieces=2), True),
        "fused, two pieces, block by block": (case.on(pieces=2, recompute=True), True),
    }
    return [{"name": name, **count(Timed(way).run, fused)} for name, (way, fused) in ways.items()]


def count(run: Adaptation, fused: bool) -> dict[str, Any]:
    """Count the second iteration of a run, which cannot be used afterwards.

    Args:
        run: run to count.
        fused: whether the operations around a layer's convolution count as single kernels, as with Triton.
    """
    without_data(run)
    next(run)
    run._loss = torch.zeros([])  # the only value that is waited for, at a time when it has been computed
    kept = tensors_of(run)
    with efficient_attention(), Count(kept) as counted:
        names = ("finish", "finish_backward", "scale_backward") if fused else ()
        single = SimpleNamespace(**{name: counted.as_one(getattr(passes, name)) for name in names})

        def chosen(x: Tensor) -> Any:  # a mock would keep its arguments, and their memory
            return single if fused else passes

        with mock.patch.object(styled_conv, "passes_for", chosen):
            next(run)
    return {
        "kernels": len(counted.kernels),
        "crossings": counted.crossings,
        "operations": sum(kernel.flop for kernel in counted.kernels),
        "bytes": sum(kernel.bytes for kernel in counted.kernels),
        "memory": bytes_of(kept) + counted.peak,
        "seconds": {card: sum(kernel.seconds(*rates) for kernel in counted.kernels) for card, rates in CARDS.items()},
    }


def without_data(run: Adaptation) -> None:
    """Move all tensors of an iteration to the "meta" device, without changing the models that the run was given."""
    run.frozen = run.sampler.generator = copy.deepcopy(run.frozen)
    run.objective.clip = copy.deepcopy(run.clip)
    torch.__future__.set_swap_module_params_on_conversion(True)  # keeps the identity of trained parameters
    try:
        for module in (run.frozen, run.trained, *(model.model.visual for model in run.clip)):
            module.to(NOWHERE)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    for pair in run.trainer.trainable.factors.values():
        pair.base = pair.base.to(NOWHERE)
        for factor in (pair.up, pair.down):
            torch.utils.swap_tensors(factor, factor.to(NOWHERE))
    for model in run.clip:
        model.mean, model.std = model.mean.to(NOWHERE), model.std.to(NOWHERE)
    if run.trainer.fixed:
        z, label, difference = run.trainer.fixed
        run.trainer.fixed = z.to(NOWHERE), label, difference.to(NOWHERE)
    run.objective.goal, noise = run.goal.to(NOWHERE), run.sampler.noise
    noise.numbers = noise.numbers.to(NOWHERE)
    for group in run.trainer.optimizer.param_groups:
        group |= {"fused": False, "foreach": True}  # PyTorch's default on CUDA


def tensors_of(run: Adaptation) -> list[Tensor]:
    """Tensors that are on the device between two iterations."""
    modules = (run.frozen, run.trained, *run.clip)
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    tensors += [value for state in run.trainer.optimizer.state.values() for value in state.values()]
    return [tensor for tensor in (*tensors, run.sampler.noise.numbers) if tensor.device == NOWHERE]


@contextmanager
def efficient_attention() -> Iterator[None]:
    """Count attention as computed on CUDA in full precision; step by step where PyTorch (2.4) has no meta version."""
    plain = F.scaled_dot_product_attention

    def attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
        with suppress(NotImplementedError):
            return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[0]
        return plain(q, k, v)

    with mock.patch.object(F, "scaled_dot_product_attention", attention):
        yield
