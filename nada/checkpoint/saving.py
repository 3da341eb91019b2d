"""Save generators and tensors as safetensors, atomically, and hash tensors."""

from __future__ import annotations

import os
import re
from hashlib import sha256

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import NadaError
from ..files import atomic_path
from ..generators import Generator
from .own import describe


def save_generator(generator: Generator, path: str | os.PathLike[str], new: bool = False) -> None:
    """Write a generator atomically as safetensors: its tensors under canonical names, its config and its `metadata`.

    `load_generator` restores the same bits. An adapted generator can be saved while it is trained, and from any device.

    Args:
        generator: the generator; its `metadata` must be plain data, as JSON has it.
        path: the file to create or replace; ".safetensors" is customary.
        new: never replace a file; see `atomic_path`.

    Raises:
        NadaError: the file cannot be written, or the metadata is not plain data.
    """
    try:
        metadata = describe(generator)
    except (TypeError, ValueError) as error:
        raise NadaError(f"the generator's metadata cannot be saved as JSON: {error}") from error
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    write_safetensors(tensors, metadata, path, new)


def write_safetensors(
    tensors: dict[str, Tensor], metadata: dict[str, str], path: str | os.PathLike[str], new: bool = False
) -> None:
    """Write a safetensors file, atomically.

    Args:
        tensors: {name: tensor}, contiguous and on the CPU.
        metadata: texts for the file's header.
        path: the file.
        new: whether to refuse to replace a file; see `atomic_path`.

    Raises:
        NadaError: a tensor has numbers that are not finite, or the file cannot be written.
    """
    check_finite(tensors, path)
    with atomic_path(path, new) as temp:
        try:
            save_file(tensors, temp, metadata)
        except SafetensorError as error:
            raise _system_error(error) from error


def check_finite(tensors: dict[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Check that all numbers of {name: tensor} are finite, before a good file at `path` is replaced.

    Raises:
        NadaError: a tensor has other numbers.
    """
    if odd := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
        raise NadaError(
            f"{path} was not written: {odd} has numbers that are not finite; a training has diverged, use a smaller "
            "learning rate"
        )


def _system_error(error: SafetensorError) -> OSError:
    """Return the operating system's error that safetensors quotes, for `atomic_path` to explain."""
    code = re.search(r"os error (\d+)", str(error))
    return OSError(int(code[1]), str(error), None, int(code[1])) if code else OSError(str(error))


def tensor_hash(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's shape and numbers as float32."""
    digest = sha256(repr(tuple(tensor.shape)).encode())
    digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
