"""The true pictures of each target: the few that a method sees, and those that its results are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nada.demo.world import draw, random_parameters
from nada.seeding import seeded

SEEN, HELD_OUT = 10_000, 20_000  # seeds of pictures to learn from, plus the run's, and of those to compare with


@dataclass(frozen=True)
class Target:
    """A change: what the generator makes before, what it should make, and what the judge calls that."""

    source: str
    """Text for what the generator makes."""
    target: str
    """Text for what it should make."""
    style: str
    """Style of the true pictures, in the world's words."""
    species: str
    """Species of the true pictures."""
    kind: str
    """ "style" or "species": what changes."""

    @property
    def wanted(self) -> tuple[str, str]:
        """What the judge should see: ("style" or "species", name)."""
        return self.kind, self.style if self.kind == "style" else self.species


SOURCE = ("photo", "dog")  # style and species of what the generator makes
TARGETS = {
    "sketch": Target("photo", "sketch", "sketch", "dog", "style"),
    "pig": Target("dog", "pig", "photo", "pig", "species"),
    # A phrase that no training caption of the demo's CLIP models holds (tools/demo_world/training/captions.py).
    "glass": Target("shot with a camera", "made of colored glass panes", "glass", "dog", "style"),
}


def pictures(style: str, species: str, count: int, seed: int, size: int) -> Tensor:
    """True pictures of random individuals, [count, 3, size, size] in [-1, 1]. The only place that draws."""
    with torch.inference_mode(False):
        random = seeded(seed)
        return draw(random_parameters(count, random), species, style, random, size=size) * 2 - 1


def seen(target: Target, count: int, seed: int, size: int) -> Tensor:
    """The pictures that a method with images learns from: a larger count begins with those of a smaller one."""
    parts = [pictures(target.style, target.species, 1, SEEN + 1000 * seed + i, size) for i in range(count)]
    return torch.cat(parts)


def held_out(target: Target, count: int, size: int) -> Tensor:
    """True pictures that no method sees."""
    return pictures(target.style, target.species, count, HELD_OUT, size)
