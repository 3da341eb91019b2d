"""The losses of the demo CLIPs, pure functions of their embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from adversary import Attempt, directions
from captions import BACKGROUND_WORDS
from identity import DIMENSIONS
from partial import Partial
from torch import Tensor
from world import SPECIES, STYLES

QUESTIONS = {
    "style": (len(STYLES), 1.5),
    "species": (len(SPECIES), 1.5),
    "both": (len(STYLES) * len(SPECIES), 1.0),
    "coat": (5 * len(SPECIES), 0.3),
    "background": (len(BACKGROUND_WORDS), 0.1),
}  # answers, and weight of the loss
AGREEMENT = 0.93  # cosine wanted between a full change of the picture and that of the text
STEEPNESS = 0.6  # least slope of that cosine over the square root of a change's progress

Cells = list[tuple[int, int, int]]  # (animal, style, species) of pictures


def caption_loss(image: Tensor, text: dict[str, Tensor], truth: dict[str, Tensor], scale: Tensor) -> Tensor:
    """Weighted cross-entropy over the captions of each question.

    image [N, D] and text {question: [answers, D]} of unit length, truth {question: [N]}, -1 for no answer.
    """
    total = image.new_zeros(())
    for name, (_, weight) in QUESTIONS.items():
        known = truth[name] >= 0
        if known.any():
            logits = scale * image[known] @ text[name].T
            total = total + weight * F.cross_entropy(logits, truth[name][known], label_smoothing=0.03)
    return total


def half_way_loss(image: Tensor, text: dict[str, Tensor], cells: Cells, part: Partial, scale: Tensor) -> Tensor:
    """Cross-entropy of pictures between two styles or species: the answers are as likely as the change went far."""
    total = image.new_zeros(())
    for group, column in (("style", 1), ("species", 2)):
        own = torch.tensor([cells[int(i)][column] for i in part.start], device=image.device)
        changed = torch.tensor([g == group for g in part.group], device=image.device)
        far = (part.progress * changed).unsqueeze(1)
        count = QUESTIONS[group][0]
        wanted = F.one_hot(own, count) * (1 - far) + F.one_hot(torch.where(changed, part.goal, own), count) * far
        total = total + F.cross_entropy(scale * image @ text[group].T, wanted)
    return total


def direction_cosines(image: Tensor, cells: Cells, text: dict[str, Tensor]) -> Tensor:
    """cos(change of image, change of text) for all pairs of pictures that differ in nothing but style or species."""
    animal, style, species = torch.tensor(cells, device=image.device).T
    same_animal = animal[:, None] == animal
    found = []
    for group, index, other in (("style", style, species), ("species", species, style)):
        pairs = same_animal & (other[:, None] == other) & (index[:, None] < index)
        a, b = pairs.nonzero().T
        found.append(F.cosine_similarity(image[b] - image[a], text[group][index[b]] - text[group][index[a]], dim=-1))
    return torch.cat(found)


def partial_loss(change: Tensor, cells: Cells, part: Partial, text: dict[str, Tensor]) -> Tensor:
    """Squared error of the cosines of changes [N, D], where a part p of the way should give sqrt(p) of the cosine."""
    error = change.new_zeros(())
    for group, column in (("style", 1), ("species", 2)):
        rows = [i for i, g in enumerate(part.group) if g == group and part.progress[i] > 0]
        if rows:
            own = [cells[int(part.start[i])][column] for i in rows]
            along = F.cosine_similarity(change[rows], text[group][part.goal[rows]] - text[group][own], dim=-1)
            error = error + (along - AGREEMENT * part.progress[rows].sqrt()).square().sum()
    return error / len(change)


def adversary_loss(embedding: Tensor, attempt: Attempt, way: Tensor, text: dict[str, Tensor]) -> Tensor:
    """Squared errors of the progress that adversaries' changes seem to make, compared with their true progress.

    embedding [4 * B, D]: of each of B pictures as it was before and after the change, a part `way` [B] further toward
    the true picture, and of that. A little more than the truth is allowed, so that the first steps are encouraged.
    Each step toward the true picture should count.
    """
    before, *changed = embedding.chunk(4)
    wanted = directions(text, attempt.goals)
    after, further, true = (F.cosine_similarity(x - before, wanted, dim=-1) for x in changed)
    reached, beyond = attempt.progress, attempt.progress + way * (1 - attempt.progress)
    above = after - 0.45 - 0.55 * reached.sqrt()
    below = 0.85 * reached.sqrt() - after
    first_step = STEEPNESS * (beyond.sqrt() - reached.sqrt()) - (further - after)
    last_step = STEEPNESS * (1 - beyond.sqrt()) - (true - further)
    errors = (above, below, first_step, last_step, AGREEMENT - true)
    return sum(error.clamp_min(0).square() for error in errors).mean()


def identity_loss(image: Tensor, code: Tensor) -> Tensor:
    """Error of the last dimensions of `image` [N, D] beside `identity.identity_code`; 1 for zeros, squared."""
    return (image[:, -DIMENSIONS:] - code).square().sum() / code.square().sum()


def instance_loss(first: Tensor, second: Tensor) -> Tensor:
    """Cross-entropy of finding, among all other pictures, the second view of each one; both [N, D]."""
    both = torch.cat([first, second])
    similarity = (both @ both.T / 0.15).fill_diagonal_(-1e9)
    partner = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(similarity, partner)
