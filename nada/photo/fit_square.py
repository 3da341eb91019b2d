"""Fit the square of a photo without landmarks: move, scale and turn it until a generator can show its content.

This is for dogs, cats, cars and other subjects without a landmark detector. Coarse images are enough. The square and a
code in W are optimized together, from squares of three sizes; the result is the one with the smallest loss. A generator
whose subjects move in its images, as the demo's do, can show the same content in other squares too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, sin

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.resizing import sampled
from ..errors import UsageError, is_out_of_memory
from ..generators import Generator
from ..generators.copies import working_copy
from ..latents.rendering import release_memory
from ..pictures.convert import middle, to_rgb
from .crop import Crop
from .distance import pyramid_distance
from .project import w_spread
from .resampling import places_of, resample, scaling, shift

STEPS = 100
MAX_STEPS = 10_000
SIDE = 64  # side of the compared images in pixels
REACH = 2  # side of the visible part around the first square, in sides of the square
STARTS = (-0.3, 0.0, 0.3)  # logarithms of factors: the three squares to start from are scaled by them
LIMITS = (0.4, 0.4, 0.6, 0.5)  # largest changes: x and y in sides, logarithm of the side's factor, roll in radians
CODE_RATE, PLACE_RATE = 0.1, 0.02  # learning rates: in standard deviations of a code's numbers; in units of LIMITS
PULL = 0.02  # weight of the squared distance of the code from the mean code
CONTRAST = 0.1  # losses are divided by the part's contrast, or by this if it is less: plain walls are easy to imitate


@torch.inference_mode(False)
def fit_square(
    generator: Generator,
    photo: Tensor,
    start: Crop,
    steps: int = STEPS,
    progress: Callable[[int], None] | None = None,
) -> Crop:
    """Return the square near `start` whose content a generator can show best. Out of memory, retry with less of it.

    Args:
        generator: the base, on any device.
        photo: [1, C, H, W] in [-1, 1].
        start: the square to start from; its error may be 0.4 of its side, a factor of 0.55 to 1.8, and 28 degrees.
        steps: number of steps of Adam.
        progress: called with the number of steps done.

    Raises:
        UsageError: `steps` is out of range.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"the steps of fitting a square are {steps}; they must be in 1..{MAX_STEPS}")
    try:
        return _fitted(generator, photo, start, steps, progress, recompute=False)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    return _fitted(generator, photo, start, steps, progress, recompute=True)


def _fitted(
    generator: Generator,
    photo: Tensor,
    start: Crop,
    steps: int,
    progress: Callable[[int], None] | None,
    recompute: bool,
) -> Crop:
    """Fit the square; `recompute` saves the memory of activations and takes longer."""
    device, count = generator.device, len(STARTS)
    around = _around(photo, start).to(device).expand(count, -1, -1, -1)
    height, width = _size(generator)
    rows, columns = middle((SIDE, SIDE), width, height)
    synthesis = working_copy(generator.synthesis)
    synthesis.recompute = recompute
    mean, spread = generator.mapping.w_avg.detach().clone(), w_spread(generator)
    codes = mean.expand(count, 1, -1).clone().requires_grad_(True)
    places = torch.tensor([[0.0, 0.0, zoom, 0.0] for zoom in STARTS], device=device, requires_grad=True)
    limits = torch.tensor(LIMITS, device=device)
    optimizer = torch.optim.Adam([{"params": [codes]}, {"params": [places]}])
    best = places.detach()[count // 2]
    for step in range(steps):
        done = step / steps
        # The place moves first: the mean image is enough to find it roughly, and the code must not fit a wrong place.
        optimizer.param_groups[0]["lr"] = CODE_RATE * spread * min(1, done / 0.3 + 0.02) * min(1, (1 - done) / 0.3)
        optimizer.param_groups[1]["lr"] = PLACE_RATE * min(1, (1 - done) / 0.5)
        images = to_rgb(synthesis(codes.expand(-1, generator.num_ws, -1), "const").float())
        parts = _parts(around, places)[..., rows, columns]
        distance = pyramid_distance(F.adaptive_avg_pool2d(images, (height, width)), parts)
        losses = distance / parts.std((1, 2, 3)).clamp_min(CONTRAST)
        losses = losses + PULL * ((codes - mean) / spread).square().mean((1, 2))
        best = places.detach()[int(losses.argmin())].clone()
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimizer.step()
        with torch.no_grad():
            places.copy_(places.clamp(-limits, limits))
        if progress:
            progress(step + 1)
    return _moved(start, best)


def _size(generator: Generator) -> tuple[int, int]:
    """Return height and width of a generator's images, reduced to a longer side of `SIDE`."""
    height, width = generator.config.image_size
    return max(SIDE * height // max(height, width), 1), max(SIDE * width // max(height, width), 1)


def _around(photo: Tensor, start: Crop) -> Tensor:
    """Sample the photo around a square, turned with it: [1, 3, S, S] with `SIDE` pixels for each side of the square."""
    size = SIDE * REACH
    to_unit = shift(0.5 - REACH / 2, 0.5 - REACH / 2) @ scaling(REACH / size, REACH / size)
    matrix = torch.tensor(start.matrix, dtype=torch.float64) @ to_unit
    return resample(to_rgb(photo.float()), matrix, (size, size))


def _parts(around: Tensor, places: Tensor) -> Tensor:
    """Sample the squares at places [N, 4] from `around` [N, 3, S, S]: [N, 3, SIDE, SIDE], differentiable."""
    unit = places_of(shift(-0.5, -0.5) @ scaling(1 / SIDE, 1 / SIDE), (SIDE, SIDE)).to(places)
    right, down, zoom, roll = (number[:, None, None] for number in places.unbind(1))
    across, along = zoom.exp() * roll.cos(), zoom.exp() * roll.sin()
    x = right + across * unit[..., 0] - along * unit[..., 1]
    y = down + along * unit[..., 0] + across * unit[..., 1]
    grid = torch.stack([x, y], dim=-1) * 2 / REACH
    return sampled(around, grid)


def _moved(start: Crop, place: Tensor) -> Crop:
    """Change a square by a place [4]: shift in its own sides, logarithm of its side's factor, and roll."""
    right, down, zoom, roll = place.tolist()
    x, y = start.right
    centre = start.centre[0] + 2 * (right * x - down * y), start.centre[1] + 2 * (right * y + down * x)
    across, along = exp(zoom) * cos(roll), exp(zoom) * sin(roll)
    return Crop(centre, (across * x - along * y, across * y + along * x), start.size)
