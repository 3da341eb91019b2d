"""The losses of the few-shot methods, as functions of logits, features and codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.stylegan2 import ops


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of logits of any shape (Goodfellow et al., arXiv 1406.2661)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating loss of logits of any shape."""
    return F.softplus(-fake).mean()


def r1(logits: Tensor, images: Tensor) -> Tensor:
    """R1 (Mescheder et al., arXiv 1801.04406): mean over images of the squared gradient of their logits.

    Args:
        logits: [N], or maps [N, 1, H, W], which are averaged.
        images: images [N, C, H, W] from which the logits were computed, with requires_grad.
    """
    each = logits.reshape(len(images), -1).mean(dim=1)
    (slope,) = torch.autograd.grad(each.sum(), images, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean()


class PathLength:
    """StyleGAN2's path length regularization (arXiv 1912.04958, section 3.2): mean of (|J^T y| - a)^2.

    J^T y is the gradient of sum(y * image) with respect to the codes, and a is the running mean of its length. In the
    original code a starts at 0, which a long training forgets; a short one would lose variety by it.

    Attributes:
        mean: the running mean a, at first the length of the first images; None before them.
    """

    def __init__(self, decay: float = 0.01):
        self.decay = decay
        self.mean: float | None = None

    def penalty(self, images: Tensor, ws: Tensor, random: torch.Generator) -> Tensor:
        """Compute the penalty [], and update the mean.

        Args:
            images: images [N, C, H, W], made from the codes within `twice_differentiable`.
            ws: the codes [N, num_ws, w_dim], with gradients.
            random: CPU generator, which draws y.
        """
        y = torch.randn(images.shape, generator=random).to(images) / (images.shape[2] * images.shape[3]) ** 0.5
        (slope,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
        lengths = slope.square().sum(dim=2).mean(dim=1).sqrt()  # [N]
        now = lengths.mean().item()
        self.mean = now if self.mean is None else self.mean + self.decay * (now - self.mean)
        return (lengths - self.mean).square().mean()


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Let StyleGAN2's layers compute in plain PyTorch, as their fused operation is only once differentiable."""
    fused = ops.styled_conv2d
    ops.styled_conv2d = styled_conv2d
    try:
        yield
    finally:
        ops.styled_conv2d = fused


def styled_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demod: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    up_filter: Tensor | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Compute `nada.stylegan2.ops.styled_conv2d`, slower, and differentiable any number of times."""
    x = x * styles[:, :, None, None]
    if up_filter is None:
        y = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    else:
        y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        y = F.conv2d(y, up_filter.expand(len(weight), 1, -1, -1), padding=1, groups=len(weight))
    y = y * demod[:, :, None, None] + (0 if noise is None else noise) + bias[:, None, None]
    y = F.leaky_relu(y, ops.SLOPE)
    return y if clamp is None else y.clamp(-clamp, clamp)


def ewc(weights: Sequence[Tensor], start: Sequence[Tensor], fisher: Sequence[Tensor]) -> Tensor:
    """Elastic weight consolidation (Li et al., arXiv 2012.02780): sum of F_i (theta_i - theta_i at the start)^2."""
    return sum((f * (w - s).square()).sum() for w, s, f in zip(weights, start, fisher, strict=True))  # type: ignore[return-value]


def distances(features: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
    """Distances of image i (row) to the others, as probabilities: [N, N - 1].

    Args:
        features: features of each layer, [N, C, H, W].
        layers: index of the layer to use for each image.
    """
    rows = []
    for i, layer in enumerate(layers):
        flat = features[layer].flatten(1)
        others = torch.cat([flat[:i], flat[i + 1 :]])
        rows.append(F.cosine_similarity(flat[i : i + 1], others, dim=1).softmax(0))
    return torch.stack(rows)


def distance_consistency(source: Sequence[Tensor], target: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
    """Cross-domain correspondence (Ojha et al., arXiv 2104.06820, equation 3): KL divergence of the two `distances`.

    It is averaged over all numbers, as in the authors' code, not over rows.
    """
    with torch.no_grad():
        wanted = distances(source, layers)
    return (wanted * (wanted.log() - distances(target, layers).log())).mean()


def self_correlation(source: Sequence[Tensor], target: Sequence[Tensor], resolution: int) -> Tensor:
    """RSSA's self-correlation consistency (Xiao et al., arXiv 2203.04121): similarity of places within windows.

    Layers from a quarter of the resolution are used, as from 64 px of 256 in the authors' code: pooled by two, in four
    windows and one in the middle.

    Args:
        source: features of each layer, [N, C, H, W].
        target: as `source`.
        resolution: size of the images.
    """
    total = target[0].new_zeros(())
    for s, t in zip(source, target, strict=True):
        if s.shape[2] < resolution // 4:
            continue
        side = s.shape[2] // 4
        pooled = [F.avg_pool2d(F.normalize(x, dim=1), 2) for x in (s, t)]
        for part in (slice(None), slice(side // 2, side // 2 + side)):
            likeness = []
            for x in pooled:
                places = _windows(x[:, :, part, part], side)
                likeness.append(places.mT @ places)
            total = total + F.smooth_l1_loss(likeness[1], likeness[0].detach())
    return total


def disturbance_correlation(source: Sequence[Tensor], target: Sequence[Tensor], resolution: int) -> Tensor:
    """RSSA's disturbance correlation consistency: similarity of places in images of neighboring codes.

    Layers up to half of the resolution are used, from a quarter in 4 x 4 windows; these are 128 and 64 px of 256 in the
    the authors' code.
    """
    total = target[0].new_zeros(())
    for s, t in zip(source, target, strict=True):
        if s.shape[2] > resolution // 2:
            continue
        side = s.shape[2] // 4 if s.shape[2] >= resolution // 4 else s.shape[2]
        places = [_windows(F.normalize(x, dim=1), side).unflatten(0, (len(x), -1)) for x in (s, t)]
        for i in range(len(s) - 1):
            rest = len(s) - 1 - i
            wanted, found = ((x[i : i + 1].mT @ x[i + 1 :]).softmax(dim=-1) for x in places)
            total = total + (found - wanted.detach()).abs().mean() * rest * side * side
    return total / 6


def _windows(x: Tensor, side: int) -> Tensor:
    """Split [N, C, H, W] into square windows: [N * windows, C, side * side]."""
    count, channels = x.shape[:2]
    columns = F.unfold(x, side, stride=side)  # [N, C * side^2, windows]
    return columns.mT.reshape(count * columns.shape[2], channels, side * side)
