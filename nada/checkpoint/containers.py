"""From a file to a document: which container it is, by its content and never by its name."""

from __future__ import annotations

from ..errors import CheckpointError
from .document import Document
from .inert import PickleMachine
from .not_models import describe
from .safetensors_files import is_safetensors, read_safetensors
from .torch_files import CALLABLES, LEGACY_MAGIC, read_legacy_torch, read_torch_zip
from .window import Cursor, Window


def read_document(window: Window, scripted: bool = False) -> Document:
    """The content of a checkpoint file. Tensors are not read yet: the file must stay open until they are.

    Args:
        window: the whole file.
        scripted: whether it may be a TorchScript archive, of which the tensors are read and the program is not.

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
    """A pickle; or, if all that it holds is PyTorch's magic number, the legacy torch file behind it."""
    cursor = Cursor(window)
    root = PickleMachine(cursor, CALLABLES).run()
    if isinstance(root, int) and root == LEGACY_MAGIC:
        return Document.of_tree("torch legacy", read_legacy_torch(cursor, CALLABLES))
    return Document.of_tree("pickle", root)
