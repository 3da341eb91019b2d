"""Windows, which are bounded views of an open file, and a cursor that reads a window from beginning to end.

Nothing outside a window can be read through it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from ..errors import CheckpointError

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Window:
    """A range of bytes in a file; bytes are loaded into memory only when they are read."""

    file: io.BufferedIOBase
    """The file, open for reading and seekable."""
    start: int
    """Offset of the first byte in the file."""
    size: int
    """Number of bytes."""

    @classmethod
    def of(cls, data: bytes) -> Window:
        """Return a window on bytes in memory."""
        return cls(io.BytesIO(data), 0, len(data))

    @classmethod
    def whole(cls, file: io.BufferedIOBase) -> Window:
        """Return a window on all bytes of an open file."""
        return cls(file, 0, file.seek(0, io.SEEK_END))

    def part(self, offset: int, size: int) -> Window:
        """Return a window on a part of this window.

        Raises:
            CheckpointError: the part would reach outside this window.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise CheckpointError(
                f"the file is damaged or cut off: it refers to bytes {offset}..{offset + size} of {self.size}, "
                "which it does not have; download or copy it again"
            )
        return Window(self.file, self.start + offset, size)

    def read(self, offset: int = 0, size: int | None = None) -> bytearray:
        """Read bytes of this window, by default all of them.

        Raises:
            CheckpointError: the bytes reach outside this window, or the file has become shorter.
        """
        part = self.part(offset, self.size - offset if size is None else size)
        data = bytearray(part.size)
        part.read_into(memoryview(data))
        return data

    def read_into(self, buffer: memoryview) -> None:
        """Read this window into a buffer of the same size.

        Raises:
            CheckpointError: the file has become shorter.
        """
        self.file.seek(self.start)
        if self.file.readinto(buffer) != self.size:
            raise CheckpointError("the file became shorter while it was read; copy it again")


class Cursor:
    """Reads a window from its beginning to its end, in buffered chunks."""

    def __init__(self, window: Window):
        self.window = window
        self.position = 0
        self._chunk, self._chunk_start = b"", 0

    def take(self, count: int) -> bytes:
        """Read the next `count` bytes.

        Raises:
            CheckpointError: fewer bytes are left.
        """
        begin = self.position - self._chunk_start
        if begin + count > len(self._chunk):
            available = self.window.size - self.position
            self._chunk = bytes(self.window.read(self.position, max(count, min(_CHUNK, available))))
            self._chunk_start, begin = self.position, 0
        self.position += count
        return self._chunk[begin : begin + count]

    def skip(self, count: int) -> Window:
        """Move past the next `count` bytes and return them as a window, unread.

        Raises:
            CheckpointError: fewer bytes are left.
        """
        part = self.window.part(self.position, count)
        self.position += count
        return part

    def line(self, limit: int = 1024) -> bytes:
        """Read the bytes up to the next newline, and return them without it.

        Raises:
            CheckpointError: there is no newline within `limit` bytes, or the window ends before it.
        """
        begin = self.position
        ahead = self.take(min(limit + 1, self.window.size - begin))
        length = ahead.find(b"\n")
        if length < 0:
            self.take(max(0, limit + 1 - len(ahead)))  # raises where the window ends before the limit
            raise CheckpointError(
                f"the file is damaged: a name is longer than {limit} characters; download or copy it again"
            )
        self.position = begin + length + 1
        return ahead[:length]
