"""Recognize the container of a checkpoint file, by its content and never by its name, and read it."""

from __future__ import annotations

from ..errors import CheckpointError
from .document import Document
from .inert import PickleMachine
from .not_models import describe
from .safetensors_files import is_safetensors, read_safetensors
from .torch_files import CALLABLES, LEGACY_MAGIC, read_legacy_torch, read_torch_zip
from .window import Cursor, Window


def read_document(window: Window, scripted: bool = False) -> Document:
    """Read a checkpoint file without its numbers: keep it open until the tensors that are needed have been read.

    Args:
        window: the whole file.
        scripted: whether to accept a TorchScript archive: its tensors are read, its program is not.

    Raises:
        CheckpointError: the file is no checkpoint, or it is damaged or hostile.
    """
    head = bytes(window.read(0, min(window.size, 1024)))
    if head.startswith(b"PK\3\4"):
        return Document.of_tree("torch zip", read_torch_zip(window, scripted))
    if is_safetensors(window):
        return Document.of_table("safetensors", *read_safetensors(window))
    if head.startswith(b"\x80"):
        return _read_pickle(window)
    raise CheckpointError(describe(head))


def _read_pickle(window: Window) -> Document:
    """Read a pickle or, if it holds nothing but PyTorch's magic number, the legacy torch file that follows it."""
    cursor = Cursor(window)
    root = PickleMachine(cursor, CALLABLES).run()
    if isinstance(root, int) and root == LEGACY_MAGIC:
        return Document.of_tree("torch legacy", read_legacy_torch(cursor, CALLABLES))
    return Document.of_tree("pickle", root)
