"""Recordings of what a GPU does: told once, repeated at one call (CUDA graphs).

A training step is some thousand kernels, most of them so small that a fast card waits for the next to be launched. A
recording replays them all in one launch. It repeats only kernels: what depends on values on the CPU - random draws,
which layers are chosen - has to come in as tensors, or to happen outside.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Tensors = dict[str, Tensor]
Function = Callable[[Tensors], Tensors]
WARM_UP = 3  # ordinary calls first, in which libraries build kernels, choose algorithms and take their memory
ROUNDS = 3  # that a recording and the ordinary way are timed in
ALIKE = 0.02  # of the results' length: sums in another order, in half precision


class Recording:
    """Takes the calls of a function of tensors, the first ones as they come, the others from a recording.

    A recording must give the results of the last ordinary call, and in less time; otherwise, or where none can be made,
    the function goes on being called. Weights that the function reads count as they are at each call, as long as they
    keep their place in memory.

    Args:
        record: (function, its tensors) -> the function that replays it. Its results are overwritten by the next call.

    Attributes:
        given_up: whether all calls to come are ordinary ones.
    """

    def __init__(self, record: Callable[[Function, Tensors], Function] | None = None):
        self._record = record or cuda_graph
        self._calls, self.given_up = 0, False
        self._replay: Function | None = None

    def __call__(self, function: Function, tensors: Tensors) -> Tensors:
        """`function(tensors)`: the same function, and tensors of the same names and shapes, at each call."""
        if self._replay:
            return self._replay(tensors)
        found = function(tensors)
        self._calls += 1
        if self._calls == WARM_UP:
            self._replay = self._begin(function, tensors, found)
            self.given_up = self._replay is None
        return found

    def _begin(self, function: Function, tensors: Tensors, wanted: Tensors) -> Function | None:
        try:
            replay = self._record(function, tensors)
            compare(replay(tensors), wanted)
            ordinary, recorded = (_seconds(way, tensors) for way in (function, replay))
        except Exception as error:  # whatever a kernel does not bear while it is recorded; a failure is not tried again
            log.warning("goes on without a recording: %s", str(error)[:300] or type(error).__name__)
            return None
        log.info("a recording takes %.2f times as long as the ordinary way", recorded / ordinary)
        return replay if recorded < ordinary else None


def compare(found: Tensors, wanted: Tensors) -> None:
    """Hold the results of a recording to those of the ordinary way.

    Raises:
        ArithmeticError: they differ.
    """
    difference = sum((found[name] - wanted[name]).double().square().sum() for name in wanted)
    length = sum(tensor.double().square().sum() for tensor in wanted.values())
    if not difference <= ALIKE**2 * length:  # neither where a result is not a number
        raise ArithmeticError("it gives other results than the ordinary way")


def cuda_graph(function: Function, tensors: Tensors) -> Function:
    """Record what a function does on a CUDA device.

    Args:
        function: waits for nothing, moves nothing between devices, and has launched all of its kernels before.
        tensors: what it takes; copied into the place that each replay reads from.
    """
    held = {name: tensor.clone() for name, tensor in tensors.items()}
    device = next(iter(held.values())).device
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):  # once more as it will be recorded: on another stream than the current one
        function(held)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):  # other threads may do as they like
        results = function(held)

    def replay(new: Tensors) -> Tensors:
        for name, tensor in held.items():
            tensor.copy_(new[name])
        graph.replay()
        return results

    return replay


def _seconds(way: Function, tensors: Tensors) -> float:
    """Of a few calls, until the device has done them."""
    devices = {tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"}

    def finish() -> float:
        for device in devices:
            torch.cuda.synchronize(device)
        return time.perf_counter()

    began = finish()
    for _ in range(ROUNDS):
        way(tensors)
    return finish() - began
