"""Copy networks for computations that must leave the original as it is."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

from .contract import Generator, Synthesis

Network = TypeVar("Network", Generator, Synthesis)


def working_copy(network: Network) -> Network:
    """Copy a generator or its synthesis network: in evaluation mode, frozen, and without gradient checkpointing.

    Checkpointing (`recompute`) was switched on by a computation that ran out of memory, which the next one may not do.
    """
    twin = copy.deepcopy(network).train(False).requires_grad_(False)
    cast(Synthesis, getattr(twin, "synthesis", twin)).recompute = False
    return twin
