"""Capture a training iteration as a CUDA graph and replay it.

An iteration launches some thousand kernels, most of them so small that a fast card waits for the next launch. A
CUDA graph replays them all in one launch. It replays only kernels: whatever depends on values on the CPU, such as
random draws and the selection of layers, must come in as tensors or happen outside the graph.
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
WARM_UP = 3  # eager calls before capture, in which libraries build kernels, choose algorithms and allocate memory
TIMED_CALLS = 3  # number of calls in which graph and eager execution are timed
TOLERANCE = 0.02  # relative difference between graph and eager results: sums in another order, in half precision


class Recording:
    """Call a function of tensors eagerly at first, then replay it from a CUDA graph.

    The graph must reproduce the results of the last eager call, in less time. If it does not, or if capture fails, the
    function is called eagerly from then on. Weights that the function reads take effect with their current values, as
    long as their memory addresses stay the same.

    Args:
        record: captures a function with its tensors, and returns a function that replays it. Each replay overwrites
            the results of the last one.

    Attributes:
        given_up: whether all further calls are eager.
    """

    def __init__(self, record: Callable[[Function, Tensors], Function] | None = None):
        self._record = record or cuda_graph
        self._calls, self.given_up = 0, False
        self._replay: Function | None = None

    def __call__(self, function: Function, tensors: Tensors) -> Tensors:
        """Return `function(tensors)`, eager or replayed. Every call must pass the same function, names and shapes."""
        if self._replay:
            return self._replay(tensors)
        found = function(tensors)
        self._calls += 1
        if self._calls == WARM_UP:
            self._replay = self._begin(function, tensors, found)
            self.given_up = self._replay is None
        return found

    def _begin(self, function: Function, tensors: Tensors, wanted: Tensors) -> Function | None:
        """Capture the function; None if that fails, changes the results, or saves no time."""
        try:
            replay = self._record(function, tensors)
            compare(replay(tensors), wanted)
            eager, replayed = (_seconds(variant, tensors) for variant in (function, replay))
        except Exception as error:  # kernels refuse capture with errors of many kinds; a failure is not retried
            log.warning("training continues without a CUDA graph: %s", str(error)[:300] or type(error).__name__)
            return None
        log.info("an iteration as a CUDA graph takes %.2f times as long as without", replayed / eager)
        return replay if replayed < eager else None


def compare(found: Tensors, wanted: Tensors) -> None:
    """Check the results of a graph against those of eager execution.

    Raises:
        ArithmeticError: the results differ by more than `TOLERANCE`, or are not finite.
    """
    difference = sum((found[name] - wanted[name]).double().square().sum() for name in wanted)
    length = sum(tensor.double().square().sum() for tensor in wanted.values())
    if not difference <= TOLERANCE**2 * length:  # "not <=", so that NaN is refused too
        raise ArithmeticError("the CUDA graph gives other results than eager execution")


def cuda_graph(function: Function, tensors: Tensors) -> Function:
    """Capture a function as a CUDA graph; return a function that replays it.

    Args:
        function: a function that neither synchronizes nor moves data between devices, and has been called before.
        tensors: its input; each replay copies new values into the captured tensors.
    """
    held = {name: tensor.clone() for name, tensor in tensors.items()}
    device = next(iter(held.values())).device
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):  # capture needs a side stream, and one call on it beforehand
        function(held)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):  # other threads may use the device
        results = function(held)

    def replay(new: Tensors) -> Tensors:
        for name, tensor in held.items():
            tensor.copy_(new[name])
        graph.replay()
        return results

    return replay


def _seconds(variant: Function, tensors: Tensors) -> float:
    """Seconds that `TIMED_CALLS` calls take, until the device has finished them."""
    devices = {tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"}

    def finish() -> float:
        for device in devices:
            torch.cuda.synchronize(device)
        return time.perf_counter()

    began = finish()
    for _ in range(TIMED_CALLS):
        variant(tensors)
    return finish() - began
