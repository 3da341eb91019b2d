"""Changes that go only part of the way from one style or species to another, with how far they go.

StyleGAN-NADA's loss asks for a direction, not for a distance: a CLIP to which every photo with pencil lines is a
sketch would be content with outlined photos. So it is shown pictures between two styles or two species, and learns
that the change that led to them agrees with the words only as far as they have come.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from anatomy import Chimera
from shapes import blur
from torch import Tensor
from world import SPECIES, STYLES, draw

GROUPS = ("style", "species")
ASPECTS = 3  # colors, tones and details of a style


@dataclass
class Partial:
    """Pictures on the way; each began as one of the pictures of the batch."""

    images: Tensor  # [N, 3, 64, 64] in 0..1
    start: Tensor  # [N] index of the picture it began as
    group: list[str]  # what changes, "style" or "species"
    goal: Tensor  # [N] index of the style or species it changes to
    progress: Tensor  # [N] how far it went, 0..1


def partial_changes(
    images: Tensor,
    cells: list[tuple[int, int, int]],
    parameters: dict[str, Tensor],
    pick: random.Random,
    noise: torch.Generator,
) -> Partial:
    """One change of every picture.

    Args:
        images: [N, 3, 64, 64] in 0..1.
        cells: (animal, style, species) of each; for each animal all combinations of some styles and some species.
        parameters: of the animals, {name: [animals, 1, 1]}.
        pick, noise: for all choices.
    """
    at = {cell: i for i, cell in enumerate(cells)}
    styles, species = ({cell[k] for cell in cells} for k in (1, 2))
    made, groups, goals, progress = [], [], [], []
    for animal, s, a in cells:
        own = images[at[animal, s, a]]
        if pick.random() < 0.6:
            goal = pick.choice(sorted(styles - {s}))
            other, group = images[at[animal, goal, a]], "style"
            image, far = _fade(own, other, pick, noise) if pick.random() < 0.4 else _borrow(own, other, pick)
        else:
            goal = pick.choice(sorted(species - {a}))
            other, group = images[at[animal, s, goal]], "species"
            one = {name: value[animal : animal + 1] for name, value in parameters.items()}
            chimera = pick.random() < 0.7
            image, far = _chimera(one, s, a, goal, pick, noise) if chimera else _fade(own, other, pick, noise)
        made.append(image)
        groups.append(group)
        goals.append(goal)
        progress.append(far)
    device = images.device
    start = torch.arange(len(images), device=device)
    return Partial(
        torch.stack(made), start, groups, torch.tensor(goals, device=device), torch.tensor(progress, device=device)
    )


def _fade(own: Tensor, other: Tensor, pick: random.Random, noise: torch.Generator) -> tuple[Tensor, float]:
    """A double exposure, the same everywhere or here more and there less."""
    amount = torch.full((1, *own.shape[1:]), pick.random())
    if pick.random() < 0.5:
        coarse = torch.randn(1, 1, 4, 4, generator=noise)
        cloud = F.interpolate(coarse, size=own.shape[-1], mode="bicubic", align_corners=True)[0]
        amount = torch.sigmoid(4 * cloud + 8 * (pick.random() - 0.5))
    amount = amount.to(own.device)
    return torch.lerp(own, other, amount), amount.mean().item()


def _borrow(own: Tensor, other: Tensor, pick: random.Random) -> tuple[Tensor, float]:
    """The colors, the tones and the details each of one of the two pictures."""
    borrowed = [pick.random() < 0.5 for _ in range(ASPECTS)]
    colors, tones, details = ((other if b else own)[None] for b in borrowed)
    light = blur(tones, 9).mean(1, keepdim=True) + (details - blur(details, 9)).mean(1, keepdim=True)
    return (light + colors - colors.mean(1, keepdim=True)).clamp(0, 1)[0], sum(borrowed) / ASPECTS


def _chimera(
    p: dict[str, Tensor], style: int, own: int, other: int, pick: random.Random, noise: torch.Generator
) -> tuple[Tensor, float]:
    """A face with some parts of its own species and some of another."""
    borrowed = [pick.random() < 0.5 for _ in Chimera._fields]
    species = Chimera(*(SPECIES[other if b else own] for b in borrowed))
    return draw(p, species, STYLES[style], noise)[0], sum(borrowed) / len(borrowed)
