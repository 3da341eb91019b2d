"""Read the safetensors container: the length of a JSON header, the header, and the numbers."""

from __future__ import annotations

from typing import Any

from ..errors import CheckpointError
from .metadata import read_json
from .tensors import DTYPES, Storage, TensorView
from .window import Window

MAX_HEADER = 1 << 23
_DAMAGED = "the file is a damaged safetensors file; download or copy it again"


def is_safetensors(window: Window) -> bool:
    """Whether the file begins with a header length that fits into it, and a JSON object."""
    if window.size < 10 or window.read(8, 1) != b"{":
        return False
    return int.from_bytes(window.read(0, 8), "little") <= window.size - 8


def read_safetensors(window: Window, max_header: int = MAX_HEADER) -> tuple[dict[str, TensorView], dict[str, str]]:
    """Return the tensors by name, unread, and the metadata.

    Args:
        window: the file.
        max_header: largest size of the header in bytes.

    Raises:
        CheckpointError: the header is damaged or absurd.
    """
    length = int.from_bytes(window.read(0, 8), "little")
    if length > max_header:
        raise CheckpointError(f"the file's header has {length} bytes; more than {max_header} are not read")
    try:
        header = read_json(window.read(8, length))
    except CheckpointError as error:
        raise CheckpointError(_DAMAGED) from error
    if not isinstance(header, dict):
        raise CheckpointError(_DAMAGED)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(not isinstance(text, str) for text in metadata.values()):
        raise CheckpointError(_DAMAGED)
    data = window.part(8 + length, window.size - 8 - length)
    return {name: _view(data, entry) for name, entry in header.items()}, metadata


def _view(data: Window, entry: Any) -> TensorView:
    match entry:
        case {"dtype": str() as name, "shape": [*shape], "data_offsets": [int() as begin, int() as end]}:
            dtype = DTYPES.get(name)
            if dtype is None:
                raise CheckpointError(
                    f"the file holds numbers of type {name[:20]}; models are F8, F16, BF16, F32 or F64"
                )
            view = TensorView.contiguous(Storage(dtype, data.part(begin, end - begin)), (*shape,))
            if view.numel * dtype.itemsize != end - begin:
                raise CheckpointError(_DAMAGED)
            return view
    raise CheckpointError(_DAMAGED)
