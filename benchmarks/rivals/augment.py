"""Adaptive discriminator augmentation (Karras et al., arXiv 2006.06676): its moves of pixels and colors ("bgc")."""

from __future__ import annotations

from math import cos, pi, sin, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

TARGET = 0.6  # mean sign of the logits of true images to which the strength is adjusted
EVERY = 4  # steps between adjustments
TAPS, BETA = 24, 4.0  # length, and shape of the Kaiser window, of the filter for twice the resolution


class Controller:
    """Controller of the augmentation strength p, which rises while the discriminator is too sure of the true images.

    Args:
        images: number of true images over which p may rise from 0 to 1.
    """

    def __init__(self, images: int):
        self.images, self.p = images, 0.0
        self._signs: list[float] = []
        self._seen = 0

    def observe(self, logits: Tensor) -> None:
        """Record the logits [N] of true images, and adjust p at every fourth call."""
        self._signs.append(float(logits.detach().sign().mean()))
        self._seen += len(logits)
        if len(self._signs) == EVERY:
            sure = sum(self._signs) / EVERY > TARGET
            self.p = min(1.0, max(0.0, self.p + (1 if sure else -1) * self._seen / self.images))
            self._signs, self._seen = [], 0


def augmented(images: Tensor, p: float, random: torch.Generator) -> Tensor:
    """Move and recolor each image [N, 3, H, W] at random, differentiably. With p = 0, images are unchanged."""
    if p == 0:
        return images
    moves, colors = geometry(len(images), images.shape[-1], p, random), color(len(images), p, random)
    return recolored(moved(images, moves), colors)


def geometry(count: int, side: int, p: float, random: torch.Generator) -> Tensor:
    """Random maps from places in the result to places in the image, [count, 3, 3], in units of half the side."""

    def rotation(angle: float) -> Tensor:
        return torch.tensor([[cos(angle), -sin(angle), 0], [sin(angle), cos(angle), 0], [0, 0, 1.0]])

    def shift(x: float, y: float) -> Tensor:
        return torch.tensor([[1, 0, 2 * x], [0, 1, 2 * y], [0, 0, 1.0]])

    draw = _Draws(random)
    maps = []
    turn = 1 - sqrt(1 - p)  # applied twice, so that at least one of both happens with probability p
    for _ in range(count):
        m = torch.eye(3)
        if draw.happens(p):
            m = m @ torch.diag(torch.tensor([1.0 - 2 * draw.whole(2), 1, 1]))
        if draw.happens(p):
            m = m @ rotation(-pi / 2 * draw.whole(4))
        if draw.happens(p):
            m = m @ shift(*(round(draw.uniform(-0.125, 0.125) * side) / side for _ in range(2)))
        if draw.happens(p):
            m = m @ torch.diag(torch.tensor([*[2 ** (-0.2 * draw.normal())] * 2, 1]))
        if draw.happens(turn):
            m = m @ rotation(draw.uniform(-pi, pi))
        if draw.happens(p):
            stretch = 2 ** (0.2 * draw.normal())
            m = m @ torch.diag(torch.tensor([1 / stretch, stretch, 1]))
        if draw.happens(turn):
            m = m @ rotation(draw.uniform(-pi, pi))
        if draw.happens(p):
            m = m @ shift(0.125 * draw.normal(), 0.125 * draw.normal())
        maps.append(m)
    return torch.stack(maps)


def moved(images: Tensor, maps: Tensor) -> Tensor:
    """Transform images as `geometry` maps them, at twice the resolution; those that none moves are unchanged.

    Resolution changes by a windowed sinc, in place of the paper's wavelet filter (appendix B): a mirrored image keeps
    all of its waves of up to 0.75 of the highest frequency, and 0.4 of the highest, where the wavelet keeps 0.9.
    """
    still = (maps - torch.eye(3)).abs().amax(dim=(1, 2)) < 1e-6
    if still.all():
        return images
    large = _doubled(images)
    grid = F.affine_grid(maps[:, :2].to(images), list(large.shape), align_corners=False)
    result = _halved(F.grid_sample(large, grid, padding_mode="reflection", align_corners=False))
    return torch.where(still.to(images.device)[:, None, None, None], images, result)


def _doubled(images: Tensor) -> Tensor:
    """Double the resolution of images [N, C, H, W], band-limited; H and W are at least 8."""
    x, edge = images.flatten(0, 1)[:, None], TAPS // 4
    x = F.pad(x, [edge] * 4, mode="reflect")
    for kernel, stride in _filters():
        padding = [(TAPS - 1) * (step - 1) for step in stride]
        x = F.conv_transpose2d(x, 2 * kernel.to(x), stride=stride, padding=padding)
    return x.unflatten(0, images.shape[:2])[:, :, 0]


def _halved(images: Tensor) -> Tensor:
    """Halve the resolution of images [N, C, H, W] without aliasing."""
    x, edge = images.flatten(0, 1)[:, None], TAPS // 2 - 1
    x = F.pad(x, [edge] * 4, mode="reflect")
    for kernel, stride in _filters():
        x = F.conv2d(x, kernel.to(x), stride=stride)
    return x.unflatten(0, images.shape[:2])[:, :, 0]


def _filters() -> tuple[tuple[Tensor, tuple[int, int]], ...]:
    """Low-pass filters at half of the highest frequency along the height and the width, with sum 1, and their strides.

    An even length puts the new pixels around the middle of each old one.
    """
    places = torch.arange(TAPS) - (TAPS - 1) / 2
    taps = torch.sinc(places / 2) * torch.kaiser_window(TAPS, periodic=False, beta=BETA)
    taps = taps / taps.sum()
    return (taps.reshape(1, 1, TAPS, 1), (2, 1)), (taps.reshape(1, 1, 1, TAPS), (1, 2))


def color(count: int, p: float, random: torch.Generator) -> Tensor:
    """Random affine maps of RGB colors in [-1, 1], [count, 4, 4]."""
    draw, maps = _Draws(random), []
    gray = torch.full((3, 3), 1 / 3)  # projection onto the axis of grays
    for _ in range(count):
        m = torch.eye(4)
        if draw.happens(p):
            m = _affine(torch.eye(3), torch.full((3,), 0.2 * draw.normal())) @ m
        if draw.happens(p):
            m = _affine(torch.eye(3) * 2 ** (0.5 * draw.normal())) @ m
        if draw.happens(p):
            m = _affine(torch.eye(3) - 2 * draw.whole(2) * gray) @ m
        if draw.happens(p):
            m = _affine(_hue(draw.uniform(-pi, pi))) @ m
        if draw.happens(p):
            m = _affine(gray + (torch.eye(3) - gray) * 2 ** draw.normal()) @ m
        maps.append(m)
    return torch.stack(maps)


def recolored(images: Tensor, maps: Tensor) -> Tensor:
    """Map the colors of images [N, 3, H, W] by matrices [N, 4, 4]."""
    maps = maps.to(images)
    return torch.einsum("nij,njhw->nihw", maps[:, :3, :3], images) + maps[:, :3, 3, None, None]


def _affine(matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    whole = torch.eye(4)
    whole[:3, :3] = matrix
    if offset is not None:
        whole[:3, 3] = offset
    return whole


def _hue(angle: float) -> Tensor:
    """Rotation about the axis of grays (Rodrigues' formula)."""
    x = 1 / sqrt(3)
    cross = torch.tensor([[0, -x, x], [x, 0, -x], [-x, x, 0]])
    return torch.eye(3) + sin(angle) * cross + (1 - cos(angle)) * cross @ cross


class _Draws:
    """Source of single random numbers from a CPU generator."""

    def __init__(self, random: torch.Generator):
        self.random = random

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.random))

    def normal(self) -> float:
        return float(torch.randn((), generator=self.random))

    def whole(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.random))

    def happens(self, p: float) -> bool:
        return self.uniform(0, 1) < p
