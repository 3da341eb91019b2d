"""Checks of pictures that a reader can follow: no network, only brightness, color and distance.

Pictures are [N, 3, H, W] in 0..1. Ranges of normal values are measured on true drawings and stored with the judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..demo.drawing.pens import gray

SQUARES = 32  # squares of pixel art on each side of a picture
BLURS = (1, 2, 4, 8)  # widths in pixels over which pictures are averaged before they are compared


def variance_in_squares(pictures: Tensor) -> Tensor:
    """Standard deviation of colors inside the squares of pixel art, [N]; 0 for true pixel art.

    Raises:
        ValueError: the pictures' size is no multiple of the number of squares.
    """
    height, width = pictures.shape[-2:]
    if height % SQUARES or width % SQUARES:
        raise ValueError(f"pictures of {height} x {width} have no {SQUARES} x {SQUARES} squares; give multiples")
    blocks = pictures.unflatten(3, (SQUARES, -1)).unflatten(2, (SQUARES, -1))  # [N, 3, squares, h, squares, w]
    return blocks.var((3, 5), unbiased=False).mean((1, 2, 3)).sqrt()


def chroma(pictures: Tensor) -> Tensor:
    """Mean difference between the largest and the smallest channel, [N]; 0 for true sketches."""
    return (pictures.amax(1) - pictures.amin(1)).mean((1, 2))


def edge_sharpness(pictures: Tensor) -> Tensor:
    """Brightness that changes within a pixel at edges, as a share of what changes within four pixels, [N].

    The mean of the 5 % steepest places of each picture; blurred lines come close to a quarter.
    """
    light = gray(pictures).unsqueeze(1)

    def steepest(distance: int) -> Tensor:
        across = (light[..., distance:] - light[..., :-distance]).abs().flatten(1)
        down = (light[..., distance:, :] - light[..., :-distance, :]).abs().flatten(1)
        both = torch.cat([across, down], 1)
        return both.topk(max(1, both.shape[1] // 20), 1).values.mean(1)

    return steepest(1) / steepest(4).clamp_min(1e-3)


def darkness(pictures: Tensor) -> Tensor:
    """Mean brightness of the darkest 60 % of a picture, [N]; low between the tubes of a neon sign."""
    light = gray(pictures).flatten(1)
    return light.topk(round(0.6 * light.shape[1]), 1, largest=False).values.mean(1)


def paleness(pictures: Tensor) -> Tensor:
    """Median brightness, [N]; high for drawings on paper."""
    return gray(pictures).flatten(1).median(1).values


def lead(pictures: Tensor) -> Tensor:
    """Share of the picture that is nearly black, [N]: the lead of stained glass, the ink of a print."""
    return (pictures.amax(1) < 0.16).float().mean((1, 2))


CHECKS: dict[str, dict[str, Callable[[Tensor], Tensor]]] = {
    "sketch": {"chroma": chroma, "edge sharpness": edge_sharpness, "paleness": paleness},
    "watercolor": {"paleness": paleness},
    "neon": {"darkness": darkness, "edge sharpness": edge_sharpness},
    "pixel": {"variance in squares": variance_in_squares},
    "marble": {"chroma": chroma},
    "ukiyoe": {"lead": lead},
    "chalk": {"darkness": darkness},
    "glass": {"lead": lead},
}


def checked(pictures: Tensor, style: str) -> dict[str, Tensor]:
    """The values that the checks of a style measure, {name: [N]}; empty for styles without checks."""
    return {name: check(pictures) for name, check in CHECKS.get(style, {}).items()}


def passed(pictures: Tensor, style: str, ranges: Mapping[str, Sequence[float]]) -> Tensor:
    """Whether each picture passes all checks of a style, [N]; `ranges` are {name: (lowest, highest value)}."""
    good = torch.ones(len(pictures), dtype=torch.bool, device=pictures.device)
    for name, values in checked(pictures, style).items():
        low, high = ranges[name]
        good &= (values >= low) & (values <= high)
    return good


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of pictures, averaged over several widths of blur, [N]."""
    terms = [(F.avg_pool2d(a, width) - F.avg_pool2d(b, width)).abs().mean((1, 2, 3)) for width in BLURS]
    return torch.stack(terms).mean(0)


def distance_to_truth(adapted: Tensor, untouched: Tensor, true: Tensor) -> float:
    """Mean difference of adapted pictures from the true ones, as a share of the untouched pictures' difference.

    Args:
        adapted, untouched: pictures of the two generators from the same N latents, [N, 3, H, W].
        true: the drawings of these latents in the target style or species, of the same shape.

    Returns:
        0 for the true drawings, 1 where nothing was gained.

    Raises:
        ValueError: the shapes differ.
    """
    if not adapted.shape == untouched.shape == true.shape:
        raise ValueError(f"shapes differ: {list(adapted.shape)}, {list(untouched.shape)}, {list(true.shape)}")
    return (difference(adapted, true).mean() / difference(untouched, true).mean().clamp_min(1e-6)).item()
