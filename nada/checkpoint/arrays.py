"""Open files of a few arrays, such as codes and directions: checkpoints and NumPy's files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError
from .containers import read_document
from .loading import opened
from .numpy_files import MAGIC, read_npy, read_npz
from .safetensors_files import is_safetensors
from .tensors import TensorView
from .window import Window
from .zip_entries import read_directory


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[dict[str, TensorView]]:
    """Open the arrays of a .npy, .npz, .pt, .pkl or .safetensors file by name, to be read inside the context.

    The file is recognized by its content, and nothing in it is executed. Names are dotted ("face.latent"); the array of
    a file with one unnamed array is called "". Arrays of other numbers than floating-point ones may be missing.

    Args:
        path: the file.

    Yields:
        {name: array, not yet read}.

    Raises:
        CheckpointError: the file cannot be read, is damaged or hostile, or has no arrays; or the code inside the
            context raises one. The message begins with the file's name.
    """
    with opened(Path(path)) as file:
        arrays = _arrays(Window.whole(file))
        if not arrays:
            raise CheckpointError("the file holds no array of ordinary floating-point numbers (float16, 32 or 64)")
        yield arrays


def _arrays(window: Window) -> dict[str, TensorView]:
    head = bytes(window.read(0, min(window.size, len(MAGIC))))
    if head == MAGIC:
        view = read_npy(window)
        return {} if view is None else {"": view}
    if head.startswith(b"PK"):
        entries = read_directory(window)
        if not any(name.endswith("data.pkl") for name in entries):
            return read_npz(entries)
    if not head.startswith((b"PK", b"\x80")) and not is_safetensors(window):
        raise CheckpointError(
            "this is no file of arrays (.npy, .npz, .pt or .safetensors), or it is damaged at its beginning"
        )
    return read_document(window).tensors
