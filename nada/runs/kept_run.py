"""An adaptation that loses nothing: its states and snapshots lie in a store, from which it goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from torch import Tensor

from ..adapt import AdaptStep, adapt
from ..clip.models import ClipEnsemble
from ..errors import UsageError
from ..generators import Generator
from ..training.config import AdaptConfig
from .history import History
from .snapshots import Photographer, Snapshots, evenly
from .store import RunStore, describe


class KeptRun(Iterator[AdaptStep]):
    """An iterator over the records of the steps that are left, with snapshots of moments at even distances.

    At each of them the state is stored too, so that not even a crash costs more than the steps since then. Call `keep`
    where a run is left early.

    Args:
        folder: of the store; see `RunStore`.
        generator, clip, config, style_images: as for `adapt`.
        moments: how many snapshots to take, the last at the end.

    Attributes:
        run: the `Adaptation`.
        begin: steps that had been done before.
        history: of all steps.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        generator: Generator,
        clip: ClipEnsemble,
        config: AdaptConfig,
        style_images: Tensor | None = None,
        moments: int = 6,
    ):
        self.store = RunStore(folder, generator, clip, config, style_images)
        state = self.store.find()
        self.run = adapt(generator, clip, config, style_images, resume=state)
        self.begin = self._stored = self.run.iteration
        self._unfinished = self.begin < state.recipe["iterations"] if state else False
        self.history = History(self.run, state.notes.get("history") if state else None)
        self._taken = self.store.snapshots(state) if state else []
        self._moments = evenly(config.iterations, moments)
        self._photographer: Photographer | None = None

    def __next__(self) -> AdaptStep:
        step = next(self.run)
        self.history.add(step)
        if step.iteration in self._moments:
            self._take_snapshot()
            self.keep()
        return step

    @property
    def snapshots(self) -> Snapshots:
        """Those of the run so far; of each one that was there before, too."""
        return Snapshots(self.run.frozen, tuple(self._taken))

    def keep(self) -> None:
        """Store the state, unless that is done."""
        done = self.run.iteration
        if done == self._stored:
            return
        state = self.run.state(history=self.history.packed(), **describe(self._taken))
        # The end of a shorter run is worth keeping, and the state of one that was stopped is not, once it goes on.
        self.store.keep(state, replaces=self._stored if self._unfinished else 0)
        self._stored, self._unfinished = done, done < self.run.config.iterations

    def _take_snapshot(self) -> None:
        self._photographer = self._photographer or Photographer(self.run)
        with suppress(UsageError):  # nothing has changed yet
            snapshot = self._photographer.take()
            self._taken.append(snapshot)
            self.store.keep_snapshot(snapshot)
