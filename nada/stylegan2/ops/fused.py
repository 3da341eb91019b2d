"""Fused Triton kernels for the passes around the convolution; each reads and writes the activations once.

The functions have the arguments and results of those in `passes`, and take contiguous tensors on a GPU. The order of
summation is fixed, so that the same run gives the same numbers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .passes import SLOPE

MAX_PIXELS = 1024  # largest number of pixels for one program


@triton.jit
def _filtered(source, taps, at, height, width, pad, inside):
    """Apply a symmetric 4x4 filter at places `at` of a plane [height, width] padded by `pad` zeros."""
    wide = width + 2 * pad - 3
    row, column = at // wide - pad, at % wide - pad
    total = tl.zeros(at.shape, tl.float32)
    for i in tl.static_range(4):
        for j in tl.static_range(4):
            r, c = row + i, column + j
            known = inside & (r >= 0) & (r < height) & (c >= 0) & (c < width)
            total += tl.load(source + r * width + c, mask=known, other=0.0).to(tl.float32) * tl.load(taps + 4 * i + j)
    return total


@triton.jit
def _finish(
    y,
    result,
    taps,
    demod,
    noise,
    bias,
    clamp,
    channels,
    height,
    width,
    noise_step,
    filtered: tl.constexpr,
    noisy: tl.constexpr,
    clamped: tl.constexpr,
    leak: tl.constexpr,
    block: tl.constexpr,
):
    plane = tl.program_id(0).to(tl.int64)
    pixels = height * width
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < pixels
    if filtered:
        z = _filtered(y + plane * (height + 1) * (width + 1), taps, at, height + 1, width + 1, 1, inside)
    else:
        z = tl.load(y + plane * pixels + at, mask=inside, other=0.0).to(tl.float32)
    z = z * tl.load(demod + plane) + tl.load(bias + plane % channels)
    if noisy:
        z += tl.load(noise + plane // channels * noise_step + at, mask=inside, other=0.0).to(tl.float32)
    z = tl.where(z > 0, z, z * leak)
    if clamped:
        z = tl.minimum(tl.maximum(z, -clamp), clamp)
    tl.store(result + plane * pixels + at, z.to(result.dtype.element_ty), mask=inside)


@triton.jit
def _finish_backward(
    slope,
    y,
    result,
    sums,
    demod,
    noise,
    clamp,
    channels,
    pixels,
    noise_step,
    noisy: tl.constexpr,
    clamped: tl.constexpr,
    leak: tl.constexpr,
    block: tl.constexpr,
):
    plane, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = part * block + tl.arange(0, block)
    inside = at < pixels
    ds = tl.load(slope + plane * pixels + at, mask=inside, other=0.0).to(tl.float32)
    seen = tl.load(y + plane * pixels + at, mask=inside, other=0.0).to(tl.float32)
    if clamped:
        ds = tl.where(tl.abs(seen) >= clamp, 0.0, ds)
    dz = tl.where(seen > 0, ds, ds * leak)
    sums += 3 * (plane * tl.num_programs(1) + part)
    tl.store(sums, tl.sum(ds * seen, 0))
    tl.store(sums + 1, tl.sum(dz, 0))
    if noisy:
        of_noise = tl.load(noise + plane // channels * noise_step + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(sums + 2, tl.sum(dz * of_noise, 0))
    tl.store(result + plane * pixels + at, (dz * tl.load(demod + plane)).to(result.dtype.element_ty), mask=inside)


@triton.jit
def _filter(source, result, taps, height, width, pad, block: tl.constexpr):
    plane = tl.program_id(0).to(tl.int64)
    pixels = (height + 2 * pad - 3) * (width + 2 * pad - 3)
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < pixels
    total = _filtered(source + plane * height * width, taps, at, height, width, pad, inside)
    tl.store(result + plane * pixels + at, total.to(result.dtype.element_ty), mask=inside)


@triton.jit
def _scale_backward(slope, x, sums, styles, pixels, block: tl.constexpr):
    plane, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = part * block + tl.arange(0, block)
    inside = at < pixels
    ds = tl.load(slope + plane * pixels + at, mask=inside, other=0.0).to(tl.float32)
    seen = tl.load(x + plane * pixels + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(sums + plane * tl.num_programs(1) + part, tl.sum(ds * seen, 0))
    tl.store(slope + plane * pixels + at, (ds * tl.load(styles + plane)).to(slope.dtype.element_ty), mask=inside)


def finish(
    y: Tensor, up_filter: Tensor | None, demod: Tensor, noise: Tensor | None, bias: Tensor, clamp: float | None
) -> Tensor:
    """Run `passes.finish` as one kernel."""
    n, channels, height, width = y.shape
    if up_filter is not None:
        height, width = height - 1, width - 1
    result = y if up_filter is None else y.new_empty(n, channels, height, width)
    grid, block = _programs(n * channels, height * width)
    with torch.cuda.device_of(y):
        _finish[grid](
            y,
            result,
            _or(up_filter, demod),
            demod.contiguous(),
            _or(noise, demod),
            bias.contiguous(),
            clamp or 0.0,
            channels,
            height,
            width,
            _step(noise),
            filtered=up_filter is not None,
            noisy=noise is not None,
            clamped=clamp is not None,
            leak=SLOPE,
            block=block,
        )
    return result


def finish_backward(
    slope: Tensor,
    y: Tensor,
    up_filter: Tensor | None,
    demod: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    clamp: float | None,
    wants_noise: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Run `passes.finish_backward` as one kernel, or as two with a filter."""
    n, channels, height, width = y.shape
    grid, block = _programs(n * channels, height * width)
    result, sums = torch.empty_like(y), demod.new_zeros(n, channels, grid[1], 3)
    with torch.cuda.device_of(y):
        _finish_backward[grid](
            slope.contiguous(),
            y,
            result,
            sums,
            demod.contiguous(),
            _or(noise, demod),
            clamp or 0.0,
            channels,
            height * width,
            _step(noise),
            noisy=noise is not None,
            clamped=clamp is not None,
            leak=SLOPE,
            block=block,
        )
        whole, total, of_noise = sums.sum(2).unbind(2)
        d_noise = None
        if wants_noise and noise is not None:  # rare, and only this needs the sum over channels: no kernel for it
            d_noise = torch.einsum("nchw,nc->nhw", result.to(demod.dtype), 1 / demod)[:, None].sum_to_size(noise.shape)
        if up_filter is not None:
            dz, result = result, y.new_empty(n, channels, height + 1, width + 1)
            grid, block = _programs(n * channels, (height + 1) * (width + 1))
            _filter[grid](dz, result, up_filter.contiguous(), height, width, 2, block=block)
    return result, (whole - total * bias - of_noise) / demod, d_noise, total.sum(0)


def scale_backward(slope: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Run `passes.scale_backward` as one kernel."""
    n, channels, height, width = x.shape
    slope = slope.contiguous()
    grid, block = _programs(n * channels, height * width)
    sums = styles.new_empty(n, channels, grid[1])
    with torch.cuda.device_of(x):
        _scale_backward[grid](slope, x.contiguous(), sums, styles.contiguous(), height * width, block=block)
    return slope, sums.sum(2)


def _programs(planes: int, pixels: int) -> tuple[tuple[int, int], int]:
    """Return the grid of programs that share the work, and the number of pixels of each."""
    block = min(MAX_PIXELS, triton.next_power_of_2(pixels))
    return (planes, triton.cdiv(pixels, block)), block


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return the tensor, or if it is None a placeholder for a kernel that does not read it."""
    return (other if tensor is None else tensor).contiguous()


def _step(noise: Tensor | None) -> int:
    """Return the distance in memory from the noise of one image to that of the next; 0 for shared or no noise."""
    return 0 if noise is None or len(noise) == 1 else noise[0].numel()
