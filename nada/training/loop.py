"""Base class of all training loops: an iterator of records, one per iteration."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..errors import NadaError
from ..generators.threads import Model, suited_threads

Record = TypeVar("Record")


class TrainingLoop(ABC, Generic[Record]):
    """Iterator of records with a length; each `next` runs one iteration.

    Args:
        iterations: number of iterations of the whole training.
        models: networks that an iteration computes; their size decides on the number of threads.

    Attributes:
        iteration: number of iterations done.
    """

    def __init__(self, iterations: int, models: Iterable[Model]):
        self.iterations, self.iteration = iterations, 0
        self._models = tuple(models)
        self._loss = torch.zeros([])
        self.start_clock()

    def start_clock(self) -> None:
        """Start timing the first iteration."""
        self._clock = time.perf_counter()

    @abstractmethod
    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """Run one iteration, with gradients enabled; return {loss: []} and the minimized sum [], all detached."""

    @abstractmethod
    def record(self, losses: dict[str, Tensor], loss: Tensor, seconds: float) -> Record:
        """Make the record of an iteration for the consumer.

        Args:
            losses: {loss: []}, unweighted.
            loss: [], the minimized sum.
            seconds: time since the end of the previous iteration.
        """

    def __len__(self) -> int:
        return self.iterations

    def suited_threads(self) -> AbstractContextManager[None]:
        """Return a context that computes with as many threads as suit the models, for work beside the iterations."""
        return suited_threads(*self._models)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        # Checked one iteration late, when the value has been computed: reading it at once would stall the device.
        if not torch.isfinite(self._loss):
            raise NadaError(f"the loss is not finite after {self.iteration} iterations; use a smaller learning rate")
        if self.iteration >= self.iterations:
            raise StopIteration
        # Entered per iteration: a generator function would leak the mode into its consumer between two iterations.
        with torch.inference_mode(False), torch.enable_grad(), self.suited_threads():
            losses, self._loss = self.train_step()
        self.iteration += 1
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        return self.record(losses, self._loss, seconds)
