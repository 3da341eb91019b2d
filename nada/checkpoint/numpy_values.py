"""NumPy's numbers and arrays inside pickles, and the forms that bytes take there."""

from __future__ import annotations

import struct
from typing import Any

import torch

from ..errors import CheckpointError
from .inert import Record
from .tensors import Storage, TensorView
from .window import Window

_SCALARS = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q"}
_SCALARS |= {"u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "?"}
FLOATS = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}  # what arrays may hold, by NumPy's codes
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")  # the latter: NumPy 2


class ArrayStorage(Storage):
    """The elements of an array, as bytes in the pickle that are decoded when they are wanted."""

    def __init__(self, dtype: torch.dtype, data: Any):
        self.dtype = dtype
        self.data = data

    def open(self) -> Storage:
        """The storage with its bytes found.

        Raises:
            CheckpointError: something else lies where they should be.
        """
        return Storage(self.dtype, as_window(self.data))


def array_view(record: Record) -> TensorView | None:
    """The array that a record stands for; None if it is none, or not one of little-endian floating-point numbers.

    Raises:
        CheckpointError: its sizes are impossible.
    """
    match record:
        case Record(kind=kind, state=(int(), tuple() as shape, dtype, bool() as fortran, data)) if kind in _RECONSTRUCT:
            name, order = _dtype(dtype)
        case _:
            return None
    if name not in FLOATS or order == ">":
        return None
    return TensorView.of_array(ArrayStorage(FLOATS[name], data), shape, fortran)


def numpy_scalar(dtype: Any, data: Any) -> float | int | bool:
    """A number, of its type and its bytes.

    Raises:
        CheckpointError: the type is unknown, or the bytes are not as many as it takes.
    """
    name, order = _dtype(dtype)
    if name in _SCALARS and _length(data) == struct.calcsize(_SCALARS[name]):
        return struct.unpack(order.replace("|", "=") + _SCALARS[name], as_window(data).read())[0]
    raise CheckpointError("the file is damaged or hostile: a number has an unknown type")


def as_window(data: Any) -> Window:
    """Bytes in any of the forms in which pickles hold them.

    Raises:
        CheckpointError: this is something else.
    """
    match data:
        case Window():
            return data
        case bytes():
            return Window.of(data)
        case Record(kind="_codecs.encode", args=(str() as text, *_)):  # protocol 2 has no bytes
            return Window.of(text.encode("latin-1", "replace"))
    raise CheckpointError("the file is damaged or hostile: something else lies where bytes should be")


def _dtype(dtype: Any) -> tuple[str, str]:
    """Code and byte order: a dtype is a record of ("f8", ...) whose state has the order in second place."""
    match dtype:
        case Record(kind="numpy.dtype", args=(str() as code, *_), state=(_, "<" | ">" | "|" | "=" as order, *_)):
            return code, order
    return "", ""


def _length(data: Any) -> int:
    """Bytes in the data, without decoding them; -1 if it is no data."""
    match data:
        case Window(size=size):
            return size
        case bytes():
            return len(data)
        case Record(kind="_codecs.encode", args=(str() as text, *_)):
            return len(text)
    return -1
