"""Moments of a run to choose from.

Longer training goes further towards the target and in the end loses variety, and where it is best is a matter of taste
(the authors, too, pick by eye). So a run keeps several moments, each with two figures, and a suggestion.
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
from ..latents.rendering import generate
from ..latents.sampling import sample_latents
from ..losses import directional_loss
from ..measure.metrics import diversity
from ..styles.preview import PSI, encode
from ..styles.style import Style, apply_style

IMAGES = 16  # that the figures are from
NEARLY = 0.03  # of the highest agreement may be missing


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run."""

    iteration: int
    """Steps done."""
    style: Style
    """What training had changed by then, in half precision, with a picture of before and after."""
    agreement: float
    """Mean cosine, in CLIP space, of the images' change and the change that was asked for; -1..1."""
    variety: float
    """Diversity of the images (see `metrics.diversity`), as a part of the base's."""

    @classmethod
    def from_style(cls, style: Style) -> Snapshot:
        """The snapshot that a style file holds: its figures are in the recipe.

        Raises:
            NadaError: it is not the style of a snapshot.
        """
        match style.recipe:
            case {"iterations_done": int() as done, "agreement": float() as agreement, "variety": float() as variety}:
                return cls(done, style, agreement, variety)
        raise NadaError(f"the style {style.name!r} is not a snapshot: its recipe has no agreement and variety")


@dataclass(frozen=True)
class Snapshots:
    """The moments that a run has kept, in their order, and what they all started from."""

    base: Generator
    moments: tuple[Snapshot, ...]

    @classmethod
    def of_run(cls, base: Generator, moments: tuple[Snapshot, ...]) -> Snapshots:
        """Snapshots of a stored run.

        Args:
            base: the generator that the run should have started from.
            moments: at least one.

        Raises:
            UsageError: it started from another generator.
        """
        if moments[0].style.base["fingerprint"] != base.fingerprint():
            raise UsageError("the run started from another generator; give the one that it started from")
        return cls(base, moments)

    @property
    def best(self) -> Snapshot:
        """A suggestion: of those that agree with the target nearly as well as any, the most varied.

        Agreement levels off while variety keeps falling; the suggestion is about where that begins.

        Raises:
            UsageError: there is none.
        """
        highest = max(snapshot.agreement for snapshot in self._some())
        close = [s for s in self.moments if s.agreement >= highest - NEARLY * abs(highest)]
        return max(close, key=lambda snapshot: snapshot.variety)

    @property
    def last(self) -> Snapshot:
        """The latest.

        Raises:
            UsageError: there is none.
        """
        return self._some()[-1]

    def nearest(self, iteration: int) -> Snapshot:
        """The one taken closest to an iteration.

        Raises:
            UsageError: there is none.
        """
        return min(self._some(), key=lambda snapshot: abs(snapshot.iteration - iteration))

    def generator(self, snapshot: Snapshot) -> Generator:
        """The adapted generator at that moment, with the recipe that led there."""
        adapted = apply_style(self.base, snapshot.style)
        earlier = self.base.metadata.get("adaptations", [])
        adapted.metadata = {**self.base.metadata, "adaptations": [*earlier, snapshot.style.recipe]}
        return adapted

    def _some(self) -> tuple[Snapshot, ...]:
        if not self.moments:
            raise UsageError("the run has no snapshots; it was stopped before the first one")
        return self.moments


class Photographer:
    """Takes snapshots of a run, always of the same latents.

    Args:
        run: on the device where it trains.
    """

    def __init__(self, run: Adaptation):
        self.run = run
        self.codes = sample_latents(run.frozen, IMAGES, run.config.seed, truncation_psi=1.0)
        self.shown = sample_latents(run.frozen, 4, truncation_psi=PSI)
        images = self._images(run.frozen, self.codes)
        self.before, self.sources = self._images(run.frozen, self.shown), self._embedded(images)

    @torch.no_grad()
    def take(self) -> Snapshot:
        """The run as it is now.

        Raises:
            UsageError: training has not changed anything yet.
        """
        run = self.run
        adapted = self._embedded(self._images(run.trained, self.codes))
        total = sum(model.weight for model in run.clip)
        agreement = variety = 0.0
        for model, source, now, direction in zip(run.clip, self.sources, adapted, run.goal.directions, strict=True):
            share = model.weight / total
            agreement += share * (1 - float(directional_loss(source, now, direction.cpu())))
            variety += share * diversity(now) / max(diversity(source), 1e-6)
        preview = encode(self.before, self._images(run.trained, self.shown))
        style = Style.between(run.frozen, run.trained, preview=preview)
        figures = {"agreement": agreement, "variety": variety}
        return Snapshot.from_style(replace(style, recipe={**run.recipe(), **figures}))

    def _images(self, generator: Generator, codes: Tensor) -> Tensor:
        return generate(generator, codes, batch=self.run.images_at_once)

    def _embedded(self, images: Tensor) -> list[Tensor]:
        return [embed_images(model, images, self.run.images_at_once) for model in self.run.clip]


def evenly(iterations: int, count: int) -> Sequence[int]:
    """`count` moments at even distances, the last of them the end; fewer if there are not as many iterations."""
    count = min(count, iterations)
    return sorted({max(1, round(iterations * (i + 1) / count)) for i in range(count)})
