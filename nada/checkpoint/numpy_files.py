"""Read NumPy's files: .npy, a header and an array, and .npz, a zip archive of .npy files."""

from __future__ import annotations

import re

from ..errors import CheckpointError
from .numpy_values import FLOATS
from .tensors import Storage, TensorView
from .window import Window
from .zip_entries import Entry

MAGIC = b"\x93NUMPY"
MAX_HEADER = 1 << 12  # bytes; the header of an ordinary array has 118
MAX_UNPACKED = 1 << 29  # bytes that the compressed arrays of one archive may take
# The header is a Python literal, always written in this form, so that a pattern can read it without evaluating it.
HEADER = re.compile(rb"\{'descr': '([<>=|]?)(\w+)', 'fortran_order': (True|False), 'shape': \(([\dL, ]*)\),? ?\}\s*")
MAX_DIGITS = 18  # digits of one size in the shape
_DAMAGED = "the file is a damaged NumPy file; download or copy it again"


def read_npy(window: Window) -> TensorView | None:
    """Return the array of a .npy file, unread, or None if its numbers are not little-endian floating-point.

    Raises:
        CheckpointError: the file is damaged, cut off, or claims impossible sizes.
    """
    head = bytes(window.read(0, min(window.size, 12)))
    if len(head) < 12 or not head.startswith(MAGIC):
        raise CheckpointError(_DAMAGED)
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > MAX_HEADER:
        return None  # an array of records with many fields
    header = bytes(window.read(start, length))
    if not (match := HEADER.fullmatch(header)):
        if header.startswith(b"{'descr': ["):
            return None
        raise CheckpointError(_DAMAGED)
    order, code, fortran, shape = match.groups()
    sizes = re.findall(rb"\d+", shape)
    if any(len(size) > MAX_DIGITS for size in sizes):
        raise CheckpointError(_DAMAGED)
    if order == b">" or (dtype := FLOATS.get(code.decode("latin-1"))) is None:
        return None
    data = window.part(start + length, window.size - start - length)
    return TensorView.of_array(Storage(dtype, data), tuple(map(int, sizes)), fortran == b"True")


def read_npz(entries: dict[str, Entry]) -> dict[str, TensorView]:
    """Return the arrays of a .npz archive by name, unread, without those for which `read_npy` returns None.

    Raises:
        CheckpointError: the archive is damaged, or its arrays are too large.
    """
    views, budget = {}, MAX_UNPACKED
    for name, entry in entries.items():
        if not name.endswith(".npy"):
            continue
        if entry.deflated:
            budget -= entry.size
            if budget < 0:
                raise CheckpointError(f"the archive's arrays have more than {MAX_UNPACKED} bytes unpacked")
        if (view := read_npy(entry.inflate() if entry.deflated else entry.open())) is not None:
            views[name.removesuffix(".npy")] = view
    return views
