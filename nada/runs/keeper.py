"""Save the state of a training loop while it runs, so that a crash costs only a few of its iterations."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, TypeVar

from ..errors import NadaError, is_out_of_memory
from ..training.loop import TrainingLoop

Record = TypeVar("Record")
log = logging.getLogger(__name__)


class Keeper(Iterator[Record]):
    """Iterator over the remaining iterations of a loop that can save its state. Call `keep` when you leave it early.

    Args:
        loop: the loop, perhaps resumed from a saved state.

    Attributes:
        stored: number of iterations done in the latest saved state; 0 if none is saved.
    """

    def __init__(self, loop: TrainingLoop[Any]):
        self._loop, self.stored = loop, loop.iteration
        self._warned: set[str] = set()

    @property
    def is_stored(self) -> bool:
        """Whether the current state is saved."""
        return self.stored == self._loop.iteration

    def keep(self) -> None:
        """Save the state unless it is saved. On failure, log a warning; the run then cannot be resumed from here.

        Running out of memory fails too: the iteration is done, and must not be repeated for its state.
        """
        if self.is_stored:
            return
        done = self._loop.iteration
        try:
            self._save()
        except Exception as error:
            if not isinstance(error, (NadaError, OSError)) and not is_out_of_memory(error):
                raise
            self._warn("the run cannot be resumed from iteration %d: %s", done, error)
            return
        self.stored = done
        self._prune()

    @abstractmethod
    def _save(self) -> None:
        """Write the current state."""

    @abstractmethod
    def _prune(self) -> None:
        """Delete what the store of the state has no room for."""

    def _warn(self, words: str, iteration: int, error: Exception) -> None:
        """Log a failure, each kind only once per run: a full disk would otherwise be reported at every state."""
        if words not in self._warned:
            log.warning(words, iteration, error)
        self._warned.add(words)
