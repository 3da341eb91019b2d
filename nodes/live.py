"""Run a training on its node: progress bar, previews and texts, Cancel, and memory that runs out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from PIL import Image
from torch import Tensor

from ..nada.runs.durations import duration
from . import host

Result = TypeVar("Result")


class Step(Protocol):
    """The record of an iteration."""

    @property
    def iteration(self) -> int: ...

    @property
    def loss(self) -> Tensor: ...


class Live(ABC, Generic[Result]):
    """A training that a node shows while it runs.

    Attributes:
        total: number of iterations of the whole training.
        begin: number of iterations that were done before, when it resumes.
        out_of_memory: sentence for the user when even an iteration in the smallest chunks runs out of memory.
        remarks: sentences for the user, shown when the training starts and again in the last line.
    """

    total: int
    begin = 0
    out_of_memory: str
    remarks: Sequence[str] = ()

    @abstractmethod
    def steps(self) -> Iterator[Step]:
        """Return an iterator over the remaining iterations."""

    @abstractmethod
    def picture(self) -> Image.Image:
        """Return a picture of before and after, as trained so far."""

    @abstractmethod
    def result(self, picture: Image.Image) -> Result:
        """Return the result for the node's outputs, on the CPU."""

    @abstractmethod
    def keep(self) -> str:
        """Save the state of a training that stopped early; return a text for the node, or "" if there is none to save.

        It must not need the device's memory, which may have run out.
        """

    @abstractmethod
    def close(self) -> None:
        """Drop all references that hold memory of the device."""


def follow(live: Live[Result], preview_every: int) -> Result:
    """Run a training on a node to its end.

    Cancel saves the state and raises `host.Cancelled`; running out of memory saves it too. The frames of a cancelled or
    failed run stay alive in its traceback, so they must not hold the device's memory: `close` drops it.

    Args:
        live: the training.
        preview_every: iterations between two pictures; 0 shows only the last.
    """
    progress, clock = host.Progress(live.total), Clock(live.total, live.begin)
    step = None
    for remark in live.remarks:
        host.say(remark)
    try:
        for step in live.steps():
            done = step.iteration
            shown = preview_every and done % preview_every == 0 and done < live.total
            progress.update(done, live.picture() if shown else None)
            if progress.text_is_due():
                host.say(f"iteration {done}/{live.total} | loss {float(step.loss):.3f} | {clock.text(done)}")
        loss = f"loss {float(step.loss):.3f} | {clock.text(live.total)}" if step else "was trained before"
        picture = live.picture()
        result = live.result(picture)
        progress.update(live.total, picture)
        host.say(" | ".join([f"iteration {live.total}/{live.total}", loss, *live.remarks]))
        return result
    except host.Cancelled:
        if words := live.keep():
            host.say(words)
        raise
    except Exception as error:
        if not host.is_out_of_memory(error):
            raise
        error.__traceback__ = None  # its frames keep the tensors alive
        host.soft_empty_cache()
        host.say(" | ".join(filter(None, [live.out_of_memory, _kept(live)])))
        raise error from None
    finally:
        step = None
        live.close()


def _kept(live: Live[Any]) -> str:
    """Save the state of a training that ran out of memory; return a text for the node."""
    try:
        return live.keep()
    except Exception as error:
        if not host.is_out_of_memory(error):
            raise
        return ""


class Clock:
    """Speed and remaining time of a training."""

    def __init__(self, total: int, begin: int = 0):
        self.total, self.begin, self.start = total, begin, time.monotonic()

    def text(self, done: int) -> str:
        """Return speed and remaining time, such as "1.9 it/s | 1 min 35 s left"."""
        seconds = max(time.monotonic() - self.start, 1e-6)
        steps = done - self.begin
        speed = f"{steps / seconds:.1f} it/s" if steps > seconds else f"{seconds / steps:.1f} s/it"
        left = f"{duration(seconds / steps * (self.total - done))} left" if done < self.total else duration(seconds)
        return f"{speed} | {left}"
