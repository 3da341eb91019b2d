"""Tensors with a row for each of N things, and random batches of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Base of dataclasses whose fields have a row for each of N things."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self: AnyRows, index: Tensor) -> AnyRows:
        """Return the rows of an index: positions, or a mask."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))


AnyRows = TypeVar("AnyRows", bound=Rows)


def batches(rows: AnyRows, count: int, generator: torch.Generator) -> Iterator[AnyRows]:
    """Endless batches of `count` random rows."""
    while True:
        yield rows[torch.randint(len(rows), (count,), generator=generator)]
