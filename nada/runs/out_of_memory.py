"""Retry iterations that ran out of memory with smaller chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from ..errors import is_out_of_memory
from ..latents.rendering import release_memory

log = logging.getLogger(__name__)
Step = TypeVar("Step")


class Spareable(Protocol):
    """A run whose iterations can be made to use less memory."""

    @property
    def pieces(self) -> int:
        """Number of chunks in which each batch is computed."""

    def spare_memory(self) -> bool:
        """Halve the memory of the following iterations; return False if that is impossible."""


def log_spared(sentence: str) -> None:
    """Log that an iteration ran out of memory, and release cached memory of the devices."""
    release_memory()
    log.warning(sentence)


def sparing(
    steps: Iterator[Step],
    run: Spareable,
    spared: Callable[[str], None] = log_spared,
    is_out_of_memory: Callable[[Exception], bool] = is_out_of_memory,
) -> Iterator[Step]:
    """Yield the records of a run, retrying an iteration that runs out of memory with smaller chunks.

    Args:
        steps: the run itself, or the `KeptRun` around it.
        run: the run; see `Adaptation.spare_memory`.
        spared: called with a message after each failed attempt; releases unused memory of the device.
        is_out_of_memory: whether an error means that memory is short.
    """
    while True:
        try:
            step = next(steps)
        except StopIteration:
            return
        except Exception as error:
            if not (is_out_of_memory(error) and run.spare_memory()):
                raise
        else:
            yield step
            continue
        spared(f"out of memory; continues in {run.pieces} chunks, which takes longer")
