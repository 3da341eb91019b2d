"""Read NumPy's numbers and arrays inside pickles, and bytes in the forms that pickles hold them in."""

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
FLOATS = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}  # dtypes of arrays by NumPy's codes
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")  # NumPy 1 and 2
_FROM_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")  # protocol 5


class ArrayStorage(Storage):
    """The elements of an array, as bytes in the pickle that are decoded when they are read."""

    def __init__(self, dtype: torch.dtype, data: Any):
        self.dtype = dtype
        self.data = data

    def open(self) -> Storage:
        """Return the storage with a window on its bytes.

        Raises:
            CheckpointError: the pickle holds something else in place of the bytes.
        """
        return Storage(self.dtype, as_window(self.data))


def array_view(record: Record) -> TensorView | None:
    """Return the array that a record stands for, or None if it is no array of little-endian floating-point numbers.

    Raises:
        CheckpointError: the sizes of the array are impossible.
    """
    axes: tuple[int, ...] | None = None
    match record:
        case Record(kind=kind, state=(int(), tuple() as shape, dtype, bool() as fortran, data)) if kind in _RECONSTRUCT:
            pass
        case Record(kind=kind, args=(data, dtype, tuple() as shape, "C" | "F" as order)) if kind in _FROM_BUFFER:
            fortran = order == "F"
        case Record(kind=kind, args=(data, dtype, tuple() as shape, "K", tuple() as axes)) if kind in _FROM_BUFFER:
            fortran = False
        case _:
            return None
    name, byte_order = _dtype(dtype)
    if name not in FLOATS or byte_order == ">":
        return None
    view = TensorView.of_array(ArrayStorage(FLOATS[name], data), shape, fortran)
    if axes is None:
        return view
    if [*map(type, axes)] != [int] * len(shape) or sorted(axes) != [*range(len(shape))]:
        raise CheckpointError("the file is damaged or hostile: the axes of an array are impossible")
    return view.permuted(*axes)


def numpy_scalar(dtype: Any, data: Any) -> float | int | bool | Record:
    """Decode a number from its dtype and its bytes; values of other dtypes, such as texts and dates, become records.

    Raises:
        CheckpointError: there is no dtype, or it needs another number of bytes.
    """
    name, order = _dtype(dtype)
    if name and name not in _SCALARS:
        return Record("numpy.generic", (name,))
    if not name or _length(data) != struct.calcsize(_SCALARS[name]):
        raise CheckpointError("the file is damaged or hostile: a number has no type, or another size")
    return struct.unpack(order.replace("|", "=") + _SCALARS[name], as_window(data).read())[0]


def as_window(data: Any) -> Window:
    """Return a window on bytes in any of the forms in which pickles hold them.

    Raises:
        CheckpointError: the data are no bytes.
    """
    match data:
        case Window():
            return data
        case bytes():
            return Window.of(data)
        case Record(kind="_codecs.encode", args=(str() as text, *_)):  # in protocol 2, which has no bytes
            return Window.of(text.encode("latin-1", "replace"))
    raise CheckpointError("the file is damaged or hostile: something else lies where bytes should be")


def _dtype(dtype: Any) -> tuple[str, str]:
    """Return code and byte order of a dtype: a record with arguments ("f8", ...) and the order second in its state."""
    match dtype:
        case Record(kind="numpy.dtype", args=(str() as code, *_), state=(_, "<" | ">" | "|" | "=" as order, *_)):
            return code, order
    return "", ""


def _length(data: Any) -> int:
    """Return the number of bytes in the data, without decoding them; -1 if they are no bytes."""
    match data:
        case Window(size=size):
            return size
        case bytes():
            return len(data)
        case Record(kind="_codecs.encode", args=(str() as text, *_)):
            return len(text)
    return -1
