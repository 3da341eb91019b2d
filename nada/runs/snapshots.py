"""Snapshots of a run, to choose the best moment from.

Longer training moves further towards the target but eventually loses variety, and the best moment is a matter of taste
(the authors, too, choose by eye). So a run keeps several snapshots, each with two measures, and suggests one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..adapt import Adaptation
from ..clip.embedding import embed_images
from ..errors import NadaError, UsageError
from ..generators import Generator
from ..latents.rendering import generate, generate_samples
from ..latents.sampling import sample_latents
from ..losses import directional_loss
from ..measure.metrics import diversity
from ..styles.preview import PSI, encode
from ..styles.style import Style, apply_style

IMAGES = 16  # number of images for the measures
AGREEMENT_MARGIN = 0.03  # share of the highest agreement that the suggested snapshot may lack


@dataclass(frozen=True)
class Snapshot:
    """The generator at one iteration of a run, as a style with measures."""

    iteration: int
    """Iterations done."""
    style: Style
    """Weight changes up to then, in half precision, with a preview picture."""
    agreement: float
    """Mean cosine, in CLIP space, between the change of the images and the requested change; -1..1."""
    variety: float
    """Diversity of the images (see `metrics.diversity`), relative to that of the base; 0 or more."""

    @classmethod
    def from_style(cls, style: Style) -> Snapshot:
        """Turn a style into a snapshot, reading the measures from its recipe.

        Raises:
            NadaError: the style is not that of a snapshot.
        """
        match style.recipe:
            case {"iterations_done": int() as done, "agreement": float() as agreement, "variety": float() as variety}:
                return cls(done, style, agreement, variety)
        raise NadaError(f"the style {style.name!r} is not a snapshot: its recipe has no agreement and variety")


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of a run in order, and the base generator that the run started from."""

    base: Generator
    all: tuple[Snapshot, ...]

    @classmethod
    def of_run(cls, base: Generator, snapshots: tuple[Snapshot, ...]) -> Snapshots:
        """Check that snapshots belong to a base generator, and return them with it.

        Args:
            base: the generator that the run is expected to have started from.
            snapshots: at least one, in order.

        Raises:
            UsageError: the run started from another generator.
        """
        if snapshots[0].style.base["fingerprint"] != base.fingerprint():
            raise UsageError("the run started from another generator; give the generator that it started from")
        return cls(base, snapshots)

    @property
    def moments(self) -> tuple[Snapshot, ...]:
        """Former name of `all`, kept for one release."""
        return self.all

    @property
    def best(self) -> Snapshot:
        """The suggested snapshot: the most varied of those whose agreement is close to the highest.

        Agreement levels off while variety keeps falling; the suggestion lies about where that begins.

        Raises:
            UsageError: there are no snapshots.
        """
        highest = max(snapshot.agreement for snapshot in self._some())
        close = [s for s in self.all if s.agreement >= highest - AGREEMENT_MARGIN * abs(highest)]
        return max(close, key=lambda snapshot: snapshot.variety)

    @property
    def last(self) -> Snapshot:
        """The latest snapshot.

        Raises:
            UsageError: there are no snapshots.
        """
        return self._some()[-1]

    def nearest(self, iteration: int) -> Snapshot:
        """The snapshot taken closest to an iteration.

        Raises:
            UsageError: there are no snapshots.
        """
        return min(self._some(), key=lambda snapshot: abs(snapshot.iteration - iteration))

    def generator(self, snapshot: Snapshot) -> Generator:
        """The adapted generator of a snapshot, with the snapshot's recipe in its metadata."""
        adapted = apply_style(self.base, snapshot.style)
        earlier = self.base.metadata.get("adaptations", [])
        adapted.metadata = {**self.base.metadata, "adaptations": [*earlier, snapshot.style.recipe]}
        return adapted

    def _some(self) -> tuple[Snapshot, ...]:
        if not self.all:
            raise UsageError("the run has no snapshots; it was stopped before the first one")
        return self.all


class Photographer:
    """Take snapshots of a run, always measured on the same latents.

    Args:
        run: the run, on the device where it trains.
    """

    def __init__(self, run: Adaptation):
        self.run = run
        self.before, self.sources = self._shown(run.frozen), self._embedded(run.frozen)

    @torch.no_grad()
    def take(self) -> Snapshot:
        """Take a snapshot of the run in its current state.

        Raises:
            UsageError: training has not changed anything yet.
        """
        run = self.run
        adapted = self._embedded(run.trained)
        total = sum(model.weight for model in run.clip)
        agreement = variety = 0.0
        for model, source, now, direction in zip(run.clip, self.sources, adapted, run.goal.directions, strict=True):
            share = model.weight / total
            agreement += share * (1 - float(directional_loss(source, now, direction.cpu())))
            variety += share * diversity(now) / max(diversity(source), 1e-6)
        preview = encode(self.before, self._shown(run.trained))
        style = Style.between(run.frozen, run.trained, preview=preview)
        figures = {"agreement": agreement, "variety": variety}
        return Snapshot.from_style(replace(style, recipe={**run.recipe(), **figures}))

    def _shown(self, generator: Generator) -> Tensor:
        return generate_samples(generator, 4, 0, PSI, self.run.images_at_once)

    def _embedded(self, generator: Generator) -> list[Tensor]:
        batch = self.run.images_at_once
        classes, numbers = generator.config.c_dim, torch.arange(IMAGES, device=generator.device)
        label = numbers * max(classes, IMAGES) // IMAGES % classes if classes else 0  # as many classes as there can be
        ws = sample_latents(generator, IMAGES, self.run.config.seed, 1.0, label=label)
        images = generate(generator, ws, batch=batch)
        return [embed_images(model, images, batch) for model in self.run.clip]


def evenly(iterations: int, count: int) -> Sequence[int]:
    """Up to `count` evenly spaced iterations, ending with the last; fewer if there are fewer iterations."""
    count = min(count, iterations)
    return sorted({max(1, round(iterations * (i + 1) / count)) for i in range(count)})
