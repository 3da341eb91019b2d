"""True pictures of each target: the few that a method sees, and those with which its results are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nada.demo.world import draw, learned_parameters
from nada.measure.judging import Goal
from nada.seeding import seeded

VERSION = 2  # raise it whenever the pictures change, so that records with the earlier ones are not mixed with new ones
SEEN, HELD_OUT = 10_000, 20_000  # first seeds of pictures to learn from (plus the run's), and to compare with


@dataclass(frozen=True)
class Target:
    """A change: source and target texts, and the judge's name for the target."""

    source: str
    """Source text."""
    target: str
    """Target text."""
    style: str
    """Style of the true pictures, as the demo world calls it."""
    species: str
    """Species of the true pictures."""
    kind: str
    """Kind of the change: "style" or "species"."""

    @property
    def goal(self) -> Goal:
        """Pictures that the judge should recognize."""
        return Goal.named(SOURCE, (self.kind, self.style if self.kind == "style" else self.species))


SOURCE = ("photo", "dog")  # style and species of the generator's images
TARGETS = {
    "sketch": Target("photo", "sketch", "sketch", "dog", "style"),
    "pig": Target("dog", "pig", "photo", "pig", "species"),
    # This phrase is in no training caption of the demo's CLIP models (tools/demo_world/captions.py).
    "glass": Target("shot with a camera", "made of colored glass panes", "glass", "dog", "style"),
}


def pictures(style: str, species: str, count: int, seed: int, size: int) -> Tensor:
    """Draw true pictures of random individuals, [count, 3, size, size] in [-1, 1].

    They are of the kind that the demo generator learned: nobody wears glasses or a hat, which it cannot make.
    """
    with torch.inference_mode(False):
        random = seeded(seed)
        return draw(learned_parameters(count, random), species, style, random, size=size) * 2 - 1


def seen(target: Target, count: int, seed: int, size: int) -> Tensor:
    """Pictures from which a method with images learns; fewer pictures are the first of more."""
    parts = [pictures(target.style, target.species, 1, SEEN + 1000 * seed + i, size) for i in range(count)]
    return torch.cat(parts)


def held_out(target: Target, count: int, size: int) -> Tensor:
    """True pictures that no method sees."""
    return pictures(target.style, target.species, count, HELD_OUT, size)
