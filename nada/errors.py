"""The failures that a sentence explains: exit codes on the command line, a message on the node in ComfyUI."""

from __future__ import annotations

import re


def printable(text: str) -> str:
    r"""Text on one line, with control characters, line breaks and invisible characters as escapes such as ``\x1b``.

    For everything that was read from files or sent by servers: shown as it is, it could move the cursor, change the
    colors or forge lines of a terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class NadaError(Exception):
    """Something went wrong that the user can understand and mend; the message says how (exit code 1).

    The message is kept `printable`: sentences quote names and texts from files.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


class UsageError(NadaError, ValueError):
    """An argument is out of range, unknown or contradicts another (exit code 2)."""


class CheckpointError(NadaError):
    """A file is not a StyleGAN2 generator that can be loaded, or not one that can be read safely."""


# Only some of PyTorch's errors have a class of their own. A GPU, the CPU, mapped files, cuBLAS, and oneDNN say:
_OUT_OF_MEMORY = re.compile(
    r"out of memory|DefaultCPUAllocator|[Cc]annot allocate memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|could not create a primitive$"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python or of PyTorch on any device, says that memory did not suffice."""
    if isinstance(error, RuntimeError):
        return bool(_OUT_OF_MEMORY.search(str(error)))
    return isinstance(error, MemoryError)
