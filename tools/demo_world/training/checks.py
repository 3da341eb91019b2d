"""Checks of pictures that any reader can follow: no network, only brightness, color and distance.

Pictures are [N, 3, H, W] in 0..1. What is normal for a style is measured on true drawings (`normal_ranges`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.demo.drawing.pens import gray
from nada.demo.world import SPECIES, Parameters, draw, random_parameters

SQUARES = 32  # squares of pixel art on each side of a picture
SCALES = (1, 2, 4, 8)  # widths in pixels over which pictures are averaged before they are compared
SHARES = (0.01, 0.99)  # quantiles of true drawings between which a check is passed


def variance_in_squares(pictures: Tensor) -> Tensor:
    """Standard deviation of colors inside the squares of pixel art, [N]; 0 for true pixel art.

    Raises:
        ValueError: the pictures' size is no multiple of the number of squares.
    """
    height, width = pictures.shape[-2:]
    if height % SQUARES or width % SQUARES:
        raise ValueError(f"pictures of {height} x {width} have no {SQUARES} x {SQUARES} squares")
    blocks = pictures.unflatten(3, (SQUARES, -1)).unflatten(2, (SQUARES, -1))  # [N, 3, squares, h, squares, w]
    return blocks.var((3, 5), unbiased=False).mean((1, 2, 3)).sqrt()


def chroma(pictures: Tensor) -> Tensor:
    """Mean difference between the largest and the smallest channel, [N]; 0 for true sketches."""
    return (pictures.amax(1) - pictures.amin(1)).mean((1, 2))


def edge_sharpness(pictures: Tensor) -> Tensor:
    """Brightness that changes within a pixel at edges, as a share of what changes within four, [N].

    The mean of the 5 % steepest places of each; blurred lines come close to a quarter.
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
    """Median brightness, [N]: high for what is drawn on paper."""
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


def normal_ranges(style: str, count: int = 70, seed: int = 31) -> dict[str, tuple[float, float]]:
    """{check: (lowest, highest value)} for nearly all true drawings of a style, of all species."""
    noise = torch.Generator().manual_seed(seed)
    each = max(1, count // len(SPECIES))
    pictures = torch.cat([draw(random_parameters(each, noise), a, style, noise) for a in SPECIES])
    ranges = {}
    for name, values in checked(pictures, style).items():
        low, high = (values.quantile(share).item() for share in SHARES)
        margin = 0.15 * max(high - low, 0.02)
        ranges[name] = (low - margin, high + margin)
    return ranges


def passed(pictures: Tensor, style: str, ranges: dict[str, tuple[float, float]]) -> Tensor:
    """Whether each picture passes all checks of a style, [N]; `ranges` as `normal_ranges` returns them."""
    good = torch.ones(len(pictures), dtype=torch.bool, device=pictures.device)
    for name, values in checked(pictures, style).items():
        low, high = ranges[name]
        good &= (values >= low) & (values <= high)
    return good


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of pictures, averaged over several widths of blur, [N]."""
    terms = [(F.avg_pool2d(a, width) - F.avg_pool2d(b, width)).abs().mean((1, 2, 3)) for width in SCALES]
    return torch.stack(terms).mean(0)


def distance_to_truth(adapted: Tensor, untouched: Tensor, true: Tensor) -> float:
    """Mean difference of adapted pictures from the true ones, as a share of the untouched pictures'.

    All are [N, 3, H, W] of the same N latents: adapted and untouched by the generators, true as drawn from the
    parameters in the target style or species. 0: the true drawing; 1: nothing gained.
    """
    if not adapted.shape == untouched.shape == true.shape:
        raise ValueError(f"shapes differ: {list(adapted.shape)}, {list(untouched.shape)}, {list(true.shape)}")
    return (difference(adapted, true).mean() / difference(untouched, true).mean().clamp_min(1e-6)).item()


def true_pictures(p: Parameters, species: str, style: str, seed: int = 0) -> Tensor:
    """The true drawings of parameters in a target style or species, [N, 3, H, W]."""
    return draw(p, species, style, torch.Generator().manual_seed(seed))
