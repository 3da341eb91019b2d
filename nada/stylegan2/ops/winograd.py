"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308).

The image is cut into tiles of 6x6 pixels, which overlap by 2. Tiles and kernels are transformed to 36 numbers, whose
products, summed over the channels, are 36 matrix products; another transformation gives 4x4 pixels of the result.

Larger tiles usually cost accuracy. The transformations evaluate polynomials at points, and points near 1 in size keep
the numbers small: at 0, +-sqrt(1/2), +-sqrt(2) the error is at most 3e-6 of the largest number, as in an ordinary
convolution; at the usual 0, +-1, +-2 it is up to 15e-6.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .processor import WITHOUT_AVX512

STEP = 4  # side of the pixels that a tile computes
TILE = 6  # side of the pixels that it reads
POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))  # and infinity
CHANNELS = 64 if WITHOUT_AVX512 else 256  # fewest channels, and
LEAST = 64 if WITHOUT_AVX512 else 256  # fewest tiles, that save more than the transformations cost (docs/speed.md)
BAND = 128  # tiles that are computed at a time, so that they stay in the cache


def pays(x: Tensor, weight: Tensor) -> bool:
    """Return whether to use this module for a "same" convolution of x [N, I, H, W] with weight [O, I, k, k]."""
    n, _, height, width = x.shape
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= CHANNELS
        and height % STEP == width % STEP == 0
        and n * height * width >= LEAST * STEP**2
    )


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve x [N, I, H, W] with weight [O, I, 3, 3] to [N, O, H, W], laid out like x."""
    return _convolve(x, _transformed(weight).mT)


def input_gradient(slope: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of `convolve` for x, from that for its result, [N, O, H, W]."""
    return _convolve(slope, _transformed(weight.flip(2, 3)))


def weight_gradient(slope: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of `convolve` for weight, [O, I, 3, 3], from that for its result, [N, O, H, W]."""
    outputs, kernels, inputs = _matrices()
    found = x.new_zeros(TILE**2, slope.shape[1], x.shape[1])
    for rows in _bands(x):
        ours = (inputs @ _tiles(x, rows, TILE)).view(TILE**2, -1, x.shape[1])
        theirs = (outputs.T @ _tiles(slope, rows, STEP)).view(TILE**2, -1, slope.shape[1])
        found.baddbmm_(theirs.mT, ours)
    return (kernels.T @ found.flatten(1)).view(3, 3, *found.shape[1:]).permute(2, 3, 0, 1)


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return the transformations to the result, of the kernel and of a tile: [4 * 4, 36], [36, 3 * 3], [36, 6 * 6].

    Polynomials are multiplied by their values at some points, and found again from the values of the product. The
    convolution is the transpose of such a multiplication.
    """

    def values(count: int) -> Tensor:
        """Values, at all points, of polynomials with some coefficients; at infinity that of the highest power."""
        powers = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(count)
        return torch.cat([powers, torch.eye(count, dtype=torch.float64)[-1:]])

    def both_ways(matrix: Tensor) -> Tensor:
        return torch.kron(matrix.contiguous(), matrix.contiguous()).float()

    with torch.inference_mode(False), torch.device("cpu"):  # they are kept, whatever the first caller's mode and device
        return both_ways(values(STEP).T), both_ways(values(3)), both_ways(torch.linalg.inv(values(TILE)).T)


def _transformed(weight: Tensor) -> Tensor:
    """Transform weight [O, I, 3, 3] to [36, O, I]."""
    _, kernels, _ = _matrices()
    return (kernels @ weight.reshape(-1, 9).T).view(TILE**2, *weight.shape[:2])


def _convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve x [N, I, H, W] with transformed kernels [36, I, O] to [N, O, H, W], laid out like x."""
    outputs, _, inputs = _matrices()
    (n, _, height, width), channels = x.shape, kernels.shape[2]
    result = x.new_empty(n, height, width, channels)
    for rows in _bands(x):
        tiles = (inputs @ _tiles(x, rows, TILE)).view(TILE**2, -1, x.shape[1])
        pixels = (outputs @ (tiles @ kernels).flatten(1)).view(STEP, STEP, n, len(rows), -1, channels)
        band = result[:, rows.start * STEP : rows.stop * STEP]
        band.unflatten(2, (-1, STEP)).unflatten(1, (-1, STEP)).copy_(pixels.permute(2, 3, 0, 4, 1, 5))
    like = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    return result.permute(0, 3, 1, 2).contiguous(memory_format=like)


def _bands(x: Tensor) -> list[range]:
    """Split the rows of tiles of x [N, C, H, W] into bands of about `BAND` tiles."""
    count, each = x.shape[2] // STEP, max(1, BAND * STEP // (len(x) * x.shape[3]))
    return [range(first, min(first + each, count)) for first in range(0, count, each)]


def _tiles(x: Tensor, rows: range, side: int) -> Tensor:
    """Cut some rows of tiles, `side` wide and `STEP` apart, out of x [N, C, H, W]: [side^2, tiles * C], tiles first."""
    n, channels, height, width = x.shape
    edge = (side - STEP) // 2
    top, bottom = rows.start * STEP - edge, rows.stop * STEP + edge
    above, below = max(-top, 0), max(bottom - height, 0)
    band = x.new_zeros(n, bottom - top, width + 2 * edge, channels)
    inner = x[:, :, top + above : bottom - below].permute(0, 2, 3, 1)
    band[:, above : bottom - top - below, edge : edge + width] = inner
    return band.unfold(1, side, STEP).unfold(2, side, STEP).permute(4, 5, 0, 1, 2, 3).reshape(side**2, -1)
