"""Number of CPU threads that suits the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn

from ..errors import UsageError

SMALL_PARAMETERS = 8_000_000  # a larger model's operations take long enough to be shared between threads
MAX_THREADS = 1024
asked: int | None = None
"""Number of threads that the user asked for; None to let `suited_threads` choose."""


class Model(Protocol):
    """A network, of which only the size counts."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return an iterator over the weights."""


def use_threads(count: int | None) -> None:
    """Set the number of CPU threads for all models from now on; None lets `suited_threads` choose.

    Raises:
        UsageError: the number is not in 1..1024.
    """
    global asked
    if count is not None:
        if not 1 <= count <= MAX_THREADS:
            raise UsageError(f"the number of threads is {count}; it must be in 1..{MAX_THREADS}")
        torch.set_num_threads(count)
    asked = count


@contextmanager
def suited_threads(*models: Model) -> Iterator[None]:
    """Compute with one thread inside a `with` block if all models are small; otherwise change nothing.

    A second thread makes iterations of small models 1.4 times faster on an idle machine, and 13 times slower on a busy
    one, where each operation waits until that thread gets its turn (docs/speed.md). The number depends on the models
    alone: a seed gives the same numbers on busy and idle machines.
    """
    before = torch.get_num_threads()
    if asked or before == 1 or not all(_small(model) for model in models):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _small(model: Model) -> bool:
    return sum(p.numel() for p in model.parameters()) < SMALL_PARAMETERS
