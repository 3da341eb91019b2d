"""Measure results: by the judge, and by distances to true pictures in features with which no method trained."""

from __future__ import annotations

import torch
from torch import Tensor

from nada.measure.demo_judge import Judge
from nada.measure.evaluate import Samples
from nada.measure.judging import goal_measures

from .truth import Target

VERSION = 1  # raise it whenever these measures change, so that all results are measured again
NEIGHBOURS = 3  # neighbor of precision and recall, as in the paper's figures
BY_CHANCE = 0.05  # share of true pictures that count as memorised by chance
CLUSTER = 50  # number of images in a cluster that are compared with each other, as in the authors' code


@torch.no_grad()
def features(judge: Judge, images: Tensor, batch: int = 64) -> Tensor:
    """Features that the judge's last layer reads: [N, D], for images in about [-1, 1]."""
    return torch.cat([judge.features(part.clamp(-1, 1)) for part in images.split(batch)]).double()


def by_judge(judge: Judge, target: Target, samples: Samples) -> dict[str, float]:
    """Target rate, preservation, variety, identity and distance to the truth; see `nada.measure.judging`."""
    found = goal_measures(judge, target.goal, samples, {})
    names = {
        "target rate": "target rate",
        "rest kept": "rest kept",
        "parameters correlation": "identity kept",
        "parameters spread kept": "variety kept",
        "distance to the truth": "distance to the truth",
    }
    return {new: found[old] for old, new in names.items() if old in found}


def distances_to(truth: Tensor, made: Tensor, trained_on: Tensor, centers: Tensor) -> dict[str, float]:
    """Measures without a text, from features [N, D], in units of the mean length of the true pictures' features.

    Args:
        truth: features of true pictures.
        made: features of the result.
        trained_on: features of all pictures that the method saw, mirrored ones too.
        centers: features of the pictures around which clusters are formed, the same for all methods.
    """
    # The same unit for all sets: divided by its own length, a set of larger features would look like the true one.
    length = truth.square().sum(1).mean().sqrt()
    truth, made, trained_on, centers = (x / length for x in (truth, made, trained_on, centers))
    precision, recall = precision_recall(truth, made)
    return {
        "Frechet distance": frechet(truth, made),
        "precision": precision,
        "recall": recall,
        "memorised": memorised(truth, made, trained_on),
        "intra-cluster distance": intra_cluster(made, centers),
    }


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to features [N, D] (Heusel et al., arXiv 1706.08500)."""
    means, covariances = [x.mean(0) for x in (a, b)], [torch.cov(x.T) for x in (a, b)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp_min(0).sqrt().sum()
    total = (means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * mixed
    return max(0.0, float(total))


def precision_recall(truth: Tensor, made: Tensor) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al., arXiv 1904.06991): share of each set close to the other."""
    return _share_inside(made, truth), _share_inside(truth, made)


def _share_inside(points: Tensor, others: Tensor) -> float:
    """Share of points that are closer to any of the others than that one's third neighbor is."""
    among = torch.cdist(others, others)
    reach = among.kthvalue(min(NEIGHBOURS + 1, len(others)), dim=1).values  # the first one is the point itself
    return float((torch.cdist(points, others) <= reach).any(dim=1).double().mean())


def memorised(truth: Tensor, made: Tensor, trained_on: Tensor) -> float:
    """Share of images that are closer to a training picture than 95 % of true pictures are.

    For true pictures that were never seen, it is 5 %.
    """
    usual = torch.cdist(truth, trained_on).amin(dim=1).quantile(BY_CHANCE)
    return float((torch.cdist(made, trained_on).amin(dim=1) < usual).double().mean())


def intra_cluster(made: Tensor, centers: Tensor) -> float:
    """Mean distance within clusters around the training pictures (Ojha et al., arXiv 2104.06820, section 4).

    It depends on the number of pictures, so methods that see none, or one, are measured around the same ten. Clusters
    with fewer than two images are left out.
    """
    nearest = torch.cdist(made, centers).argmin(dim=1)
    means = []
    for k in range(len(centers)):
        members = made[nearest == k][:CLUSTER]
        if len(members) > 1:
            pairs = torch.cdist(members, members)
            means.append(float(pairs.sum() / (len(members) * (len(members) - 1))))
    return sum(means) / len(means) if means else 0.0
