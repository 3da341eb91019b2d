"""Sample images through affine maps without aliasing."""

from __future__ import annotations

from math import ceil, floor, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

OVERSAMPLED = 2  # samples along each side of a pixel that covers more than one pixel of the image
MARGIN = 4  # pixels around a part, for the filters
WIDEST = 4.0  # largest sigma, in pixels, of a Gaussian that is computed at full resolution


def scaling(x: float, y: float) -> Tensor:
    """Return the affine map that multiplies both coordinates, [3, 3] float64."""
    return torch.diag(torch.tensor([x, y, 1.0], dtype=torch.float64))


def shift(x: float, y: float) -> Tensor:
    """Return the affine map that adds to both coordinates, [3, 3] float64."""
    return torch.tensor([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=torch.float64)


def places_of(matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Map the centres of pixels by an affine map: [height, width, 2] float32, x before y.

    Args:
        matrix: [3, 3]; the centre of the first pixel is (0.5, 0.5).
        size: height and width of the grid of pixels.
    """
    (a, b, c), (d, e, f) = matrix[:2].float()
    x, y = torch.arange(size[1]) + 0.5, (torch.arange(size[0]) + 0.5)[:, None]
    return torch.stack([a * x + b * y + c, d * x + e * y + f], dim=-1)


def resample(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample images through a turn, a zoom and a shift, with an antialiasing filter.

    If a pixel of the result covers several pixels of the images, the needed part is first reduced until it covers two,
    then sampled at twice the resolution of the result, and reduced again; both with a cubic antialiasing filter.

    Args:
        images: [N, C, H, W]; its edges are reflected.
        matrix: [3, 3], pixels of the result -> pixels of the images.
        size: height and width of the result.

    Returns:
        [N, C, *size].
    """
    covered = sqrt(abs(float(torch.linalg.det(matrix[:2, :2].double()))))
    if covered > OVERSAMPLED:
        images, matrix = _reduced(images, matrix, size, covered / OVERSAMPLED)
    if covered <= 1:
        return _sampled(images, matrix, size)
    dense = (OVERSAMPLED * size[0], OVERSAMPLED * size[1])
    sampled = _sampled(images, matrix @ scaling(1 / OVERSAMPLED, 1 / OVERSAMPLED), dense)
    return F.interpolate(sampled, size, mode="bicubic", antialias=True)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Blur images [N, C, H, W] by a Gaussian, a wide one on a reduced copy; edges are reflected."""
    height, width = images.shape[-2:]
    reduction = sigma / WIDEST
    if reduction > 1:
        small = (ceil(height / reduction), ceil(width / reduction))
        reduced = F.interpolate(images, small, mode="bilinear", antialias=True)
        return F.interpolate(blurred(reduced, WIDEST), (height, width), mode="bicubic")
    reach = min(ceil(3 * sigma), height - 1, width - 1)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / sigma) ** 2)
    taps = (taps / taps.sum()).to(images).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, [reach] * 4, mode="reflect")
    rows = F.conv2d(padded, taps, groups=images.shape[1])
    return F.conv2d(rows, taps.transpose(2, 3), groups=images.shape[1])


def _reduced(images: Tensor, matrix: Tensor, size: tuple[int, int], by: float) -> tuple[Tensor, Tensor]:
    """Reduce the part of the images that a map reaches by a factor; return it, and the map to its pixels."""
    ends = [[0, 0, 1], [size[1], 0, 1], [0, size[0], 1], [size[1], size[0], 1]]
    x, y, _ = matrix @ torch.tensor(ends, dtype=torch.float64).T
    left, right = _reached(float(x.min()), float(x.max()), images.shape[-1], MARGIN * by)
    top, bottom = _reached(float(y.min()), float(y.max()), images.shape[-2], MARGIN * by)
    part = images[..., top:bottom, left:right]
    small = (max(round(part.shape[-2] / by), 1), max(round(part.shape[-1] / by), 1))
    zoom = scaling(small[1] / part.shape[-1], small[0] / part.shape[-2])
    return F.interpolate(part, small, mode="bicubic", antialias=True), zoom @ shift(-left, -top) @ matrix


def _reached(low: float, high: float, length: int, margin: float) -> tuple[int, int]:
    """Return the range of pixels for low..high, end exclusive, with a margin and with pixels seen by reflection."""
    low, high = low - margin, high + margin
    first = min(low, 2 * length - high) if high > length else low
    last = max(high, -low) if low < 0 else high
    return min(max(floor(first), 0), length - 1), min(max(ceil(last), 1), length)


def _sampled(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate images at the mapped centre of each pixel, with a cubic filter."""
    height, width = images.shape[-2:]
    grid = places_of(shift(-1, -1) @ scaling(2 / width, 2 / height) @ matrix, size).to(images)
    return F.grid_sample(
        images, grid.expand(len(images), -1, -1, -1), mode="bicubic", padding_mode="reflection", align_corners=False
    )
