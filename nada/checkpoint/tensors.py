"""Tensors that are known by shape and place in the file, and read one by one when they are wanted."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..errors import CheckpointError
from .window import Window

MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 31

# Names in safetensors headers, names of storage classes in torch files -> dtype.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Storage:
    """A run of elements in the file, which tensors are views of."""

    def __init__(self, dtype: torch.dtype, window: Window | None = None):
        self.dtype = dtype
        self.window = window
        """Where the elements lie; legacy torch files tell it only after they have told everything else."""

    def open(self) -> Storage:
        """The storage itself; those that are wrapped once more (NVIDIA pickles) unwrap here, when wanted."""
        if self.window is None:
            raise CheckpointError("the file is cut off: it names a tensor whose numbers it does not contain")
        return self


def _check_sizes(*parts: tuple[int, ...]) -> None:
    """Before anything is computed from them: these came out of a file, and may be anything."""
    for numbers in parts:
        if len(numbers) > MAX_DIMENSIONS:
            raise CheckpointError("the file is damaged: a tensor has impossible dimensions")
        if any(type(n) is not int or not 0 <= n <= MAX_ELEMENTS for n in numbers):
            raise CheckpointError("the file is damaged: a tensor has impossible sizes")


@dataclass(frozen=True)
class TensorView:
    """A tensor that has not been read.

    Raises:
        CheckpointError: sizes are negative, absurd, or not whole numbers.
    """

    storage: Storage
    offset: int
    """First element in the storage."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Distance in elements between neighbours along each dimension."""
    finish: Callable[[Tensor], Tensor] | None = None
    """What to do with the numbers once they are read, for formats that keep others (flipped, say); keeps the shape."""

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides):
            raise CheckpointError("the file is damaged: a tensor has impossible dimensions")
        _check_sizes(self.shape, self.strides, (self.offset,))
        if self.numel > MAX_ELEMENTS:
            raise CheckpointError("the file is damaged: a tensor has impossible sizes")

    @classmethod
    def contiguous(cls, storage: Storage, shape: tuple[int, ...]) -> TensorView:
        """The view that fills a storage in row-major order."""
        _check_sizes(shape)
        strides = tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
        return cls(storage, 0, shape, strides)

    @classmethod
    def of_array(cls, storage: Storage, shape: tuple[int, ...], fortran: bool) -> TensorView:
        """The view that fills a storage in row-major order, or in NumPy's "Fortran" order, column by column."""
        if not fortran:
            return cls.contiguous(storage, shape)
        return cls.contiguous(storage, shape[::-1]).permuted(*reversed(range(len(shape))))

    @classmethod
    def number(cls, value: float) -> TensorView:
        """A tensor of no dimensions, for formats in which single numbers are not tensors."""
        return cls.contiguous(Storage(torch.float64, Window.of(struct.pack("<d", value))), ())

    @classmethod
    def zeros(cls, *shape: int) -> TensorView:
        """Zeros, for what a file leaves out because it is zero."""
        return cls.contiguous(Storage(torch.float32, Window.of(bytes(4 * prod(shape)))), shape)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def permuted(self, *order: int) -> TensorView:
        """The same with its dimensions in another order.

        Raises:
            CheckpointError: it has not that many.
        """
        if len(self.shape) != len(order):
            raise CheckpointError(f"a tensor has {len(self.shape)} dimensions; it should have {len(order)}")
        return replace(self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order))

    def with_rank(self, rank: int) -> TensorView:
        """The same without dimensions of size 1, from the left, until `rank` are left or none can go."""
        view = self
        while len(view.shape) > rank and 1 in view.shape:
            i = view.shape.index(1)
            shape, strides = list(view.shape), list(view.strides)
            del shape[i], strides[i]
            view = replace(view, shape=tuple(shape), strides=tuple(strides))
        return view

    def then(self, finish: Callable[[Tensor], Tensor]) -> TensorView:
        """The same, with something done to the numbers once they are read."""
        return replace(self, finish=finish)

    def first_row(self) -> TensorView:
        """The first vector of a matrix (of matrices, ...) of them."""
        return self if len(self.shape) <= 1 else replace(self, shape=self.shape[-1:], strides=self.strides[-1:])

    def read(self) -> Tensor:
        """The numbers, float32, contiguous, on the CPU.

        Raises:
            CheckpointError: the view reaches outside its storage or repeats elements of it, or is not
                floating-point.
        """
        storage = self.storage.open()
        assert storage.window is not None, "Storage.open has found it"
        if not storage.dtype.is_floating_point:
            raise CheckpointError(f"a tensor has type {storage.dtype}; only floating-point numbers are expected here")
        if self.numel == 0:
            return torch.empty(self.shape)
        span = 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if self.numel > span:  # a few bytes on the disk must not become gigabytes in memory
            raise CheckpointError("the file is damaged: a tensor repeats its elements")
        size = storage.dtype.itemsize
        window = storage.window.part(self.offset * size, span * size)
        flat = torch.empty(span, dtype=storage.dtype)  # only now: the file does have as much
        window.read_into(flat.view(torch.uint8).numpy().data)
        tensor = flat.as_strided(self.shape, self.strides).to(torch.float32).contiguous()
        return self.finish(tensor) if self.finish else tensor
