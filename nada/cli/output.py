"""Robust standard output and error: a closed pipe or an unprintable character never stops a command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO

from ..errors import NadaError

CLOSED = (errno.EPIPE, errno.EINVAL)  # error codes of a pipe without a reader; the second one on Windows


class _Lossy:
    """Stream wrapper that discards all output once its reader is gone, as with `2>&1 | head`."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _discard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving() -> Iterator[None]:
    """Context in which unprintable characters are written as escapes and a closed stderr is ignored."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # other programs put objects of their own there
            stream.reconfigure(errors="backslashreplace")
    with redirect_stderr(_Lossy(sys.stderr) if sys.stderr else None):  # there is none without a console on Windows
        yield


def advance(bar: Any, done: int, total: int) -> None:
    """Move a progress bar of tqdm to `done` of `total`."""
    bar.total = total
    bar.update(done - bar.n)


def show(text: str) -> None:
    """Write a text to standard output. A pipe closed by its reader, such as `head`, is not an error.

    Raises:
        NadaError: the text cannot be written, for example to a file on a full disk.
    """
    try:
        print(text, end="", flush=True)
    except OSError as error:
        _discard(sys.stdout)
        if error.errno in CLOSED:
            return
        raise NadaError(
            f"the result cannot be printed: {error.strerror or error}; what was saved is complete"
        ) from error


def _discard(stream: TextIO) -> None:
    """Redirect a stream, with its buffer, to the null device; otherwise Python fails again when it flushes at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
