"""Retry steps that ran out of memory with smaller chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch

from ..errors import is_out_of_memory

log = logging.getLogger(__name__)
Step = TypeVar("Step")


class Spareable(Protocol):
    """A run whose steps can be made to take less memory."""

    @property
    def pieces(self) -> int:
        """Parts that each batch is computed in."""

    def spare_memory(self) -> bool:
        """Halve the memory of the steps to come; False if that is impossible."""


def log_spared(sentence: str) -> None:
    """Log that a step ran out of memory, and give unused memory back to the device."""
    torch.cuda.empty_cache()  # does nothing where there is no CUDA
    log.warning(sentence)


def sparing(
    steps: Iterator[Step],
    run: Spareable,
    spared: Callable[[str], None] = log_spared,
    is_out_of_memory: Callable[[Exception], bool] = is_out_of_memory,
) -> Iterator[Step]:
    """The steps of a run; a step that runs out of memory is retried in smaller pieces.

    Args:
        steps: the run itself, or the `KeptRun` around it.
        run: see `Adaptation.spare_memory`.
        spared: called with a sentence after a failed attempt; gives unused memory back to the device.
        is_out_of_memory: whether less memory would help against an error.
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
        spared(f"out of memory; continues in {run.pieces} pieces, which takes longer")
