"""Measures of adapted images: pure functions of their embeddings, and of what a judge reads in them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UsageError
from ..losses import unit

# Student's t for a two-sided 95 % interval, by degrees of freedom from 1; beyond the table 2 is close enough.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def quality(images: Tensor, text: Tensor) -> float:
    """Mean cosine of image embeddings [N, D] and a text embedding [D]: Quality of HyperDomainNet (arXiv 2210.08884)."""
    return (unit(images) @ unit(text)).mean().item()


def diversity(images: Tensor) -> float:
    """Mean of 1 - cosine over all pairs of image embeddings [N, D]: Diversity of HyperDomainNet (arXiv 2210.08884)."""
    n = _several(images)
    # The cosines of all N^2 pairs add up to |sum of unit vectors|^2, N of them being 1.
    total = unit(images.double()).sum(dim=0).square().sum()
    return (1 - (total - n) / (n * (n - 1))).item()


def correspondence(source: Tensor, adapted: Tensor) -> tuple[float, float]:
    """Measure how well adapted images lead back to their own source images.

    Args:
        source, adapted: embeddings [N, D] of the images of the same N latents.

    Returns:
        The share of adapted images to which, of all N source images, their own is nearest (each set seen from its own
        mean, because the change of domain moves all images alike); and the mean cosine of each image with its own.

    Raises:
        UsageError: the counts differ, or there is one image only.
    """
    n = _several(source)
    if len(adapted) != n:
        raise UsageError(f"there are {n} source images and {len(adapted)} adapted ones; each needs its partner")
    near = unit(adapted - adapted.mean(0)) @ unit(source - source.mean(0)).T
    own = torch.arange(n, device=near.device)
    return (near.argmax(1) == own).float().mean().item(), (unit(source) * unit(adapted)).sum(1).mean().item()


def found_again(before: Tensor, after: Tensor) -> float:
    """Share of rows of `after` [N, P] to which, of all rows of `before`, their own is nearest; columns standardized."""
    a, b = ((values - values.mean(0)) / values.std(0).clamp_min(1e-6) for values in (before, after))
    return (torch.cdist(b, a).argmin(1) == torch.arange(_several(a))).float().mean().item()


def correlations(before: Tensor, after: Tensor) -> Tensor:
    """Pearson's correlation of each column of [N, P] tensors; 0 where a column does not vary. [P]"""
    a, b = before.double() - before.double().mean(0), after.double() - after.double().mean(0)
    return ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp_min(1e-12)).float()


def spread_kept(before: Tensor, after: Tensor) -> Tensor:
    """Standard deviation of each column [N, P] after by before, at most 1: variety cannot make up for lost variety."""
    return (after.std(0) / before.std(0).clamp_min(1e-6)).clamp_max(1)


def intra_cluster(distances: Tensor, clusters: int = 10) -> float:
    """Mean distance within clusters: diversity that a few distinct near-copies cannot fake.

    Ojha et al. (arXiv 2104.06820) cluster around their training images. A zero-shot target has none, so the centers are
    the medoids of the images themselves.

    Args:
        distances: [N, N], symmetric, such as LPIPS.
        clusters: number of medoids.

    Returns:
        The mean, over clusters of two and more, of the mean distance of their pairs.
    """
    _several(distances)
    belongs = _assign(distances, min(clusters, len(distances)))
    means = []
    for cluster in belongs.unique():
        inside = distances[belongs == cluster][:, belongs == cluster]
        if len(inside) > 1:
            means.append((inside.sum() / (len(inside) * (len(inside) - 1))).item())
    return sum(means) / len(means) if means else 0.0


def _assign(distances: Tensor, clusters: int) -> Tensor:
    """The cluster of each item by k-medoids; the first medoids are the most central one and those farthest from all."""
    medoids = [int(distances.sum(1).argmin())]
    while len(medoids) < clusters:
        medoids.append(int(distances[:, medoids].amin(1).argmax()))
    for _ in range(100):
        belongs = distances[:, medoids].argmin(1)
        moved = []
        for cluster, old in enumerate(medoids):
            inside = (belongs == cluster).nonzero().flatten()
            moved.append(int(inside[distances[inside][:, inside].sum(1).argmin()]) if len(inside) else old)
        if moved == medoids:
            break
        medoids = moved
    return belongs


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and 95 % confidence interval of repeated measurements; of a single one only the mean."""
    data = torch.tensor(values, dtype=torch.float64)
    mean = data.mean().item()
    if len(data) < 2:
        return {"mean": mean}
    t = T95[len(data) - 2] if len(data) - 2 < len(T95) else 2.0
    margin = t * data.std().item() / len(data) ** 0.5
    return {"mean": mean, "low": mean - margin, "high": mean + margin}


def _several(items: Tensor) -> int:
    if len(items) < 2:
        raise UsageError(f"there is {len(items)} image to compare; at least 2 are needed")
    return len(items)
