"""Standard output and error of a command: whatever cannot be shown stops neither the work nor the command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO

from ..errors import NadaError

CLOSED = (errno.EPIPE, errno.EINVAL)  # of a pipe that nobody reads any more; the second on Windows


class _Lossy:
    """A stream whose reader may go away, such as that of `2>&1 | head`: it then takes everything and shows nothing."""

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
    """While entered, letters that the console does not have are written as escapes, and messages may get lost."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # other programs put objects of their own there
            stream.reconfigure(errors="backslashreplace")
    with redirect_stderr(_Lossy(sys.stderr) if sys.stderr else None):  # there is none without a console on Windows
        yield


def show(text: str) -> None:
    """Write a text to standard output. A reader that has seen enough, such as `head`, is no failure.

    Raises:
        NadaError: it cannot be printed, for example to a file on a full disk.
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
    """Send what a stream still holds, and all that follows, nowhere: Python would fail at it again when it exits."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
