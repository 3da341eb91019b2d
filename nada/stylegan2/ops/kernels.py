"""Which way the passes beside the convolutions are done on a device: plain, or fused by Triton.

Triton comes with PyTorch on Linux and compiles for the card at hand, into a cache of its own, when a kernel is first
used: nothing is built before a network runs on a GPU. There the kernels must give the numbers of the plain way, and in
less time; otherwise, or where they cannot be built, the plain way stays in use.
"""

from __future__ import annotations

import logging
import time
from functools import cache
from itertools import product
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import passes
from .resample import resample_filter

log = logging.getLogger(__name__)

TRIED = (2, 64, 256)  # images, channels and pixels a side that the ways are timed on
ROUNDS = 20
TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 3e-2}  # of the largest value; the plain way may multiply in TF32
enabled = True
"""Set to False for the plain way everywhere."""


def passes_for(x: Tensor) -> ModuleType:
    """The module, `passes` or `fused`, whose functions are to work on such activations."""
    if not enabled or x.device.type != "cuda" or x.dtype not in TOLERANCE or not x.is_contiguous():
        return passes
    return _chosen(x.device)


@cache  # a failure is not tried again
def _chosen(device: torch.device) -> ModuleType:
    try:
        from . import fused

        log.info("compiling kernels for %s, where Triton does not have them yet", device)
        compare(fused, device)
        seconds, plain_seconds = (_seconds(way, device) for way in (fused, passes))
    except Exception as error:  # Triton raises whatever its compiler, the C compiler and the driver do
        log.warning("no fused kernels on %s: %s", device, str(error)[:300] or type(error).__name__)
        return passes
    log.info("fused kernels take %.2f times as long as the plain way on %s", seconds / plain_seconds, device)
    return fused if seconds < plain_seconds else passes


def compare(way: ModuleType, device: torch.device) -> None:
    """Hold a way's results to those of the plain one, on a few random tensors.

    Raises:
        ArithmeticError: they differ.
    """
    for precision, up, (maps, clamp) in product(TOLERANCE, (False, True), ((0, None), (1, None), (2, 1.0))):
        given = _example((2, 3, 37), device, precision, up, maps)
        # The gradient of one and the same result: where one way rounds to the clamp and the other does not, it differs.
        given["result"] = passes.finish(given["y"].clone(), **given["rest"], clamp=clamp)
        found, wanted = (_results(w, given, clamp, maps > 0) for w in (way, passes))
        for name in wanted:
            error = (found[name].double() - wanted[name].double()).abs().max() / wanted[name].double().abs().max()
            if not error <= TOLERANCE[precision]:
                raise ArithmeticError(f"{name} is wrong by {error:.1e} of its largest value in {precision}")


def _example(
    size: tuple[int, int, int], device: torch.device, precision: torch.dtype, up: bool, maps: int
) -> dict[str, Any]:
    """Random arguments for images, channels and pixels a side; `maps` of noise."""
    n, channels, side = size
    random = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=random).to(device)
    larger = side + 1 if up else side
    return {
        "y": normal(n, channels, larger, larger).to(precision),
        "slope": normal(n, channels, side, side).to(precision),
        "x": normal(n, channels, side, side).to(precision),
        "result": normal(n, channels, side, side).to(precision),
        "styles": normal(n, channels),
        "rest": {
            "up_filter": resample_filter().to(device) if up else None,
            "demod": normal(n, channels).abs() + 0.5,
            "noise": normal(maps, 1, side, side) if maps else None,
            "bias": normal(channels),
        },
    }


def _results(way: ModuleType, given: dict[str, Any], clamp: float | None, wants_noise: bool) -> dict[str, Tensor]:
    """What the functions of a way make of them, by name."""
    y = way.finish(given["y"].clone(), **given["rest"], clamp=clamp)
    names = ("convolution's gradient", "demod's", "noise's", "bias's", "x's", "styles'")
    back = way.finish_backward(given["slope"], given["result"], **given["rest"], clamp=clamp, wants_noise=wants_noise)
    scaled = way.scale_backward(given["slope"].clone(), given["x"], given["styles"])
    found = {"result": y} | dict(zip(names, (*back, *scaled), strict=True))
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _seconds(way: ModuleType, device: torch.device) -> float:
    """Seconds of a layer that doubles the resolution and one that does not, forward and backward."""
    examples = [_example(TRIED, device, torch.float32, up, 1) for up in (True, False)]
    for i in range(1 + ROUNDS):
        if i == 1:  # the first one builds
            torch.cuda.synchronize(device)
            began = time.perf_counter()
        for given in examples:
            _results(way, given, None, False)
    torch.cuda.synchronize(device)
    return time.perf_counter() - began
