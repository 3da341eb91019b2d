"""Lazy tensors: known by shape and place in the file, and read one by one when they are needed."""

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

# dtypes by their names in safetensors headers, and by the names of storage classes in torch files.
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
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


class Storage:
    """A run of elements in the file, which tensors are views of."""

    def __init__(self, dtype: torch.dtype, window: Window | None = None):
        self.dtype = dtype
        self.window = window
        """The place of the elements; None until it is known (legacy torch files list the places last)."""

    def open(self) -> Storage:
        """Return the storage itself; subclasses unwrap storages inside byte strings (NVIDIA pickles) here, lazily.

        Raises:
            CheckpointError: the file does not contain the elements.
        """
        if self.window is None:
            raise CheckpointError("the file is cut off: it names a tensor whose numbers it does not contain")
        return self


def _check_sizes(*parts: tuple[int, ...]) -> None:
    """Refuse absurd sizes from a file before anything is computed with them.

    Raises:
        CheckpointError: there are too many dimensions, or a size is negative, too large or no whole number.
    """
    for numbers in parts:
        if len(numbers) > MAX_DIMENSIONS:
            raise CheckpointError("the file is damaged: a tensor has impossible dimensions")
        if any(type(n) is not int or not 0 <= n <= MAX_ELEMENTS for n in numbers):
            raise CheckpointError("the file is damaged: a tensor has impossible sizes")


@dataclass(frozen=True)
class TensorView:
    """A tensor that has not been read yet.

    Raises:
        CheckpointError: sizes are negative, absurd, or not whole numbers.
    """

    storage: Storage
    offset: int
    """Index of the first element in the storage."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Distance in elements between neighbours along each dimension."""
    finish: Callable[[Tensor], Tensor] | None = None
    """Function applied to the numbers after reading, for formats that store them changed (flipped, say); it must keep
    the shape."""

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides):
            raise CheckpointError("the file is damaged: a tensor has impossible dimensions")
        _check_sizes(self.shape, self.strides, (self.offset,))
        if self.numel > MAX_ELEMENTS:
            raise CheckpointError("the file is damaged: a tensor has impossible sizes")

    @classmethod
    def contiguous(cls, storage: Storage, shape: tuple[int, ...]) -> TensorView:
        """Return the view that fills a storage in row-major order."""
        _check_sizes(shape)
        strides = tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
        return cls(storage, 0, shape, strides)

    @classmethod
    def of_array(cls, storage: Storage, shape: tuple[int, ...], fortran: bool) -> TensorView:
        """Return the view that fills a storage in row-major order or, with `fortran`, in column-major order."""
        if not fortran:
            return cls.contiguous(storage, shape)
        return cls.contiguous(storage, shape[::-1]).permuted(*reversed(range(len(shape))))

    @classmethod
    def number(cls, value: float) -> TensorView:
        """Return a tensor without dimensions, for formats in which single numbers are no tensors."""
        return cls.contiguous(Storage(torch.float64, Window.of(struct.pack("<d", value))), ())

    @classmethod
    def zeros(cls, *shape: int) -> TensorView:
        """Return a tensor of zeros, for formats that leave out tensors of zeros."""
        return cls.contiguous(Storage(torch.float32, Window.of(bytes(4 * prod(shape)))), shape)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def permuted(self, *order: int) -> TensorView:
        """Return the view with its dimensions in another order.

        Raises:
            CheckpointError: the view has another number of dimensions.
        """
        if len(self.shape) != len(order):
            raise CheckpointError(f"a tensor has {len(self.shape)} dimensions; it should have {len(order)}")
        return replace(self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order))

    def with_rank(self, rank: int) -> TensorView:
        """Return the view with dimensions of size 1 removed, from the left, until at most `rank` are left."""
        view = self
        while len(view.shape) > rank and 1 in view.shape:
            i = view.shape.index(1)
            shape, strides = list(view.shape), list(view.strides)
            del shape[i], strides[i]
            view = replace(view, shape=tuple(shape), strides=tuple(strides))
        return view

    def then(self, finish: Callable[[Tensor], Tensor]) -> TensorView:
        """Return the view with a function that is applied to the numbers after reading."""
        return replace(self, finish=finish)

    def first_row(self) -> TensorView:
        """Return the first vector along the last dimension."""
        return self if len(self.shape) <= 1 else replace(self, shape=self.shape[-1:], strides=self.strides[-1:])

    def distinct(self) -> TensorView:
        """Return the view with one element along dimensions that repeat it (stride 0, as `Tensor.expand` makes them).

        A caller that knows a bound for the whole tensor can read this view and expand the result.
        """
        shape = tuple(n if stride or not n else 1 for n, stride in zip(self.shape, self.strides, strict=True))
        return replace(self, shape=shape)

    def read(self) -> Tensor:
        """Read the tensor: float32, contiguous, on the CPU.

        Raises:
            CheckpointError: the view reaches outside its storage, repeats elements, or is not floating-point.
        """
        storage = self.storage.open()
        assert storage.window is not None, "Storage.open has found it"
        if not storage.dtype.is_floating_point:
            raise CheckpointError(f"a tensor has type {storage.dtype}; only floating-point numbers are expected here")
        if self.numel == 0:
            return torch.empty(self.shape)
        span = 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if self.numel > span:  # a few bytes on the disk must not become gigabytes in memory
            raise CheckpointError("a tensor repeats its elements; save it again as tensor.contiguous()")
        size = storage.dtype.itemsize
        window = storage.window.part(self.offset * size, span * size)
        flat = torch.empty(span, dtype=storage.dtype)  # allocated only now that the file is known to hold it
        window.read_into(flat.view(torch.uint8).numpy().data)
        tensor = flat.as_strided(self.shape, self.strides).to(torch.float32).contiguous()
        return self.finish(tensor) if self.finish else tensor
