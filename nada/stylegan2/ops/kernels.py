"""Choose between plain and fused (Triton) passes around the convolutions, for each device.

Triton comes with PyTorch on Linux and compiles for the installed card, into a cache of its own, when a kernel is first
used: nothing is built before a network runs on a GPU. Kernels are used if they give the numbers of the plain passes in
less time; otherwise, or if they cannot be built, the plain passes stay in use.
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

TRIED = (2, 64, 256)  # images, channels and pixels a side of the timed example
ROUNDS = 20
TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 3e-2}  # relative to the largest value; plain passes may use TF32
enabled = True
"""Switch for fused kernels; False uses the plain passes everywhere."""


def passes_for(x: Tensor) -> ModuleType:
    """Return the module, `passes` or `fused`, whose functions to use for such activations."""
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
    except Exception as error:  # Triton passes on any error of its compiler, the C compiler and the driver
        log.warning("no fused kernels on %s: %s", device, str(error)[:300] or type(error).__name__)
        return passes
    log.info("fused kernels take %.2f times as long as the plain way on %s", seconds / plain_seconds, device)
    return fused if seconds < plain_seconds else passes


def compare(way: ModuleType, device: torch.device) -> None:
    """Compare the results of an implementation with those of the plain one, on a few random tensors.

    Args:
        way: a module with the functions of `passes`.
        device: device of the tensors.

    Raises:
        ArithmeticError: a result differs by more than `TOLERANCE`.
    """
    for precision, up, (maps, clamp) in product(TOLERANCE, (False, True), ((0, None), (1, None), (2, 1.0))):
        given = _example((2, 3, 37), device, precision, up, maps)
        # Both gradients start from one result: where only one of two results is rounded to the clamp, they differ.
        given["result"] = passes.finish(given["y"].clone(), **given["rest"], clamp=clamp)
        found, wanted = (_results(w, given, clamp, maps > 0) for w in (way, passes))
        for name in wanted:
            error = (found[name].double() - wanted[name].double()).abs().max() / wanted[name].double().abs().max()
            if not error <= TOLERANCE[precision]:
                raise ArithmeticError(f"{name} is wrong by {error:.1e} of its largest value in {precision}")


def _example(
    size: tuple[int, int, int], device: torch.device, precision: torch.dtype, up: bool, maps: int
) -> dict[str, Any]:
    """Return random arguments for `size` images, channels and pixels a side, with `maps` noise maps."""
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
    """Return the results of an implementation for the given arguments, by name."""
    y = way.finish(given["y"].clone(), **given["rest"], clamp=clamp)
    names = ("convolution's gradient", "demod's", "noise's", "bias's", "x's", "styles'")
    back = way.finish_backward(given["slope"], given["result"], **given["rest"], clamp=clamp, wants_noise=wants_noise)
    scaled = way.scale_backward(given["slope"].clone(), given["x"], given["styles"])
    found = {"result": y} | dict(zip(names, (*back, *scaled), strict=True))
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _seconds(way: ModuleType, device: torch.device) -> float:
    """Return the seconds that a layer with upsampling and one without take, forward and backward."""
    examples = [_example(TRIED, device, torch.float32, up, 1) for up in (True, False)]
    for i in range(1 + ROUNDS):
        if i == 1:  # the first round compiles
            torch.cuda.synchronize(device)
            began = time.perf_counter()
        for given in examples:
            _results(way, given, None, False)
    torch.cuda.synchronize(device)
    return time.perf_counter() - began
