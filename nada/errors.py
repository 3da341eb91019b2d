"""Errors with a message for the user: an exit code on the command line, a message on the node in ComfyUI."""

from __future__ import annotations

import re


def printable(text: str) -> str:
    r"""Return a text on one line, with control characters, line breaks and invisible characters escaped (``\x1b``).

    Texts from files and servers need this: shown unescaped, they could move the cursor, change the colors or forge
    lines of a terminal.

    Args:
        text: any text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class NadaError(Exception):
    """Base of all errors that the user can understand and correct; the message says how (exit code 1).

    The message is escaped by `printable`, since it may quote names and texts from files.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


class UsageError(NadaError, ValueError):
    """Error for an argument that is out of range, unknown or contradicts another (exit code 2)."""


class CheckpointError(NadaError):
    """Error for a file that cannot be read safely, or that is not of the expected kind."""


class UnreadableError(CheckpointError):
    """Error for a file that cannot be read here and now, and may yet be whole: it must not be treated as damaged."""


class MissingFileError(UnreadableError, UsageError):
    """Error for a named file that does not exist (exit code 2)."""


class BusyError(UsageError):
    """Error for a lock that another program, or another part of this one, holds."""


# Not every out-of-memory error of PyTorch has a class. Messages of GPUs, the CPU, mapped files, cuBLAS, oneDNN,
# cuDNN (which finds no engine if memory is too short for each), Apple's GPUs and DirectML:
_OUT_OF_MEMORY = re.compile(
    r"out of memory|DefaultCPUAllocator|[Cc]annot allocate memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|could not create a primitive$|CUDNN_STATUS_ALLOC_FAILED|DEVICE_ALLOCATION_FAILED|HOST_ALLOCATION_FAILED"
    r"|unable to find an engine|Invalid buffer size|not enough GPU video memory"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, or of PyTorch on any device, means that memory ran out."""
    if isinstance(error, RuntimeError):
        return bool(_OUT_OF_MEMORY.search(str(error)))
    return isinstance(error, MemoryError)
