"""Training states on disk: written whole or not at all, and continued from by the same command."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch


def write_state(state: dict[str, Any], path: Path) -> None:
    """Save `state` with torch.save; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    torch.save(state, temporary)
    os.replace(temporary, path)


def read_state(path: Path | None) -> dict[str, Any] | None:
    """The state saved at `path`, or None if there is none.

    Raises:
        ValueError: the file is no training state.
    """
    if path is None or not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a training state; remove it to start over") from error


class Every:
    """True once every `minutes`."""

    def __init__(self, minutes: float):
        self.seconds, self.last = 60 * minutes, time.monotonic()

    def due(self) -> bool:
        """Whether the time is over; if so, it starts again."""
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True
