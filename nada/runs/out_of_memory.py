"""Retry steps that ran out of memory with smaller chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..adapt import Adaptation, AdaptStep
from ..errors import is_out_of_memory


def sparing(
    steps: Iterator[AdaptStep],
    run: Adaptation,
    spared: Callable[[str], None],
    is_out_of_memory: Callable[[Exception], bool] = is_out_of_memory,
) -> Iterator[AdaptStep]:
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
