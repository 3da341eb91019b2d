"""Read this project's other safetensors files: mappers, run states, codes, the demo world's judge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ..errors import CheckpointError, is_out_of_memory
from ..files import existing_file
from .loading import opened
from .metadata import damaged, fits, read_description
from .safetensors_files import MAX_HEADER, is_safetensors, read_safetensors
from .window import Window


@dataclass(frozen=True)
class OwnKind:
    """A kind of safetensors files of this project, by which they are recognized and checked."""

    key: str
    """Key of the description in the header."""
    version: int
    """The latest format that can be read."""
    what: str
    """Name of the kind, for messages, such as "mapper"."""
    shape: Any
    """Shape of the description; see `fits`."""
    max_bytes: int | None = None
    """Largest size of a file; None for no limit."""
    max_header: int = MAX_HEADER
    """Largest size of the header, in bytes."""


@torch.inference_mode(False)
def read_own_file(path: str | os.PathLike[str], kind: OwnKind) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a safetensors file of this project. The caller must check names, shapes and values of the tensors.

    Args:
        path: the file.
        kind: the kind of file that it must be.

    Returns:
        The description in the header, and the tensors by name, on the CPU.

    Raises:
        UnreadableError: the file cannot be read here and now, or was written by a later version.
        CheckpointError: there is no such file, or it is damaged, too large, or another kind of file.
    """
    description = read_own_description(path, kind)
    with opened(Path(path)) as file:
        try:
            return description, load(file.read())  # safetensors cannot open paths that are not UTF-8
        # LookupError: a dtype that this version of torch lacks.
        except (SafetensorError, RuntimeError, LookupError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise CheckpointError(f"the {kind.what} is damaged ({str(error)[:200]}); copy it again") from error


def is_own_file(path: str | os.PathLike[str], key: str) -> bool:
    """Whether a file's header has an entry of this project under a key, whole or damaged.

    Args:
        path: the file.
        key: see `read_description`.

    Raises:
        CheckpointError: the file cannot be read, or its header is damaged.
    """
    with opened(Path(path)) as file:
        return key in _metadata(Window.whole(file))


def _metadata(window: Window, max_header: int = MAX_HEADER) -> dict[str, str]:
    """Return the texts in a safetensors header by key; {} for other files."""
    return read_safetensors(window, max_header)[1] if is_safetensors(window) else {}


def read_own_description(path: str | os.PathLike[str], kind: OwnKind) -> dict[str, Any]:
    """Read the description in the header of a file of this project; arguments and errors as for `read_own_file`."""
    what = kind.what
    path = existing_file(path, f"give the path of a {what}")
    with opened(path) as file:
        window = Window.whole(file)
        if kind.max_bytes is not None and window.size > kind.max_bytes:
            raise CheckpointError(f"it has {window.size >> 20} MB; no {what} has more than {kind.max_bytes >> 20}")
        metadata = _metadata(window, kind.max_header)
        if kind.key not in metadata:
            raise CheckpointError(f"this is no {what}; give a {what} that this project wrote")
        description = read_description(metadata, kind.key, kind.version, what)
        if not fits(description, kind.shape):
            raise damaged(what)
        return description
