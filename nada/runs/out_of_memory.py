"""Going on where the memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from ..adapt import Adaptation, AdaptStep


def sparing(
    steps: Iterator[AdaptStep],
    run: Adaptation,
    spared: Callable[[str], None],
    is_out_of_memory: Callable[[Exception], bool] = lambda error: isinstance(error, torch.OutOfMemoryError),
) -> Iterator[AdaptStep]:
    """The steps of a run; one that the memory does not suffice for is repeated in smaller pieces.

    Args:
        steps: of the run, or of what keeps it.
        run: see `Adaptation.spare_memory`.
        spared: told so in a sentence, when the failed attempt is gone; give the memory back to the device there.
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
        spared(f"out of memory; goes on in {run.pieces} pieces, which takes longer")
