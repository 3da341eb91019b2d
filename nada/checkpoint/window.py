"""Stretches of an open file, and a cursor that walks along one.

Nothing outside the stretch can be reached.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from ..errors import CheckpointError

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Window:
    """A stretch of a file, of which nothing is in memory until it is read."""

    file: io.BufferedIOBase
    """Open for reading, and seekable."""
    start: int
    """Where the stretch begins in the file, in bytes."""
    size: int
    """Length of the stretch in bytes."""

    @classmethod
    def of(cls, data: bytes) -> Window:
        """A window on bytes in memory."""
        return cls(io.BytesIO(data), 0, len(data))

    def part(self, offset: int, size: int) -> Window:
        """A stretch of this stretch.

        Raises:
            CheckpointError: it would reach outside.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise CheckpointError(
                f"the file is damaged or cut off: it refers to bytes {offset}..{offset + size} of {self.size}, "
                "which it does not have; download or copy it again"
            )
        return Window(self.file, self.start + offset, size)

    def read(self, offset: int = 0, size: int | None = None) -> bytearray:
        """Bytes of this stretch; all of them by default.

        Raises:
            CheckpointError: they reach outside, or the file is shorter than it was.
        """
        part = self.part(offset, self.size - offset if size is None else size)
        data = bytearray(part.size)
        part.read_into(memoryview(data))
        return data

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer, which must be as large, with this stretch.

        Raises:
            CheckpointError: the file is shorter than it was.
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
        """The next `count` bytes.

        Raises:
            CheckpointError: there are fewer.
        """
        begin = self.position - self._chunk_start
        if begin + count > len(self._chunk):
            available = self.window.size - self.position
            self._chunk = bytes(self.window.read(self.position, max(count, min(_CHUNK, available))))
            self._chunk_start, begin = self.position, 0
        self.position += count
        return self._chunk[begin : begin + count]

    def skip(self, count: int) -> Window:
        """The next `count` bytes as a window, unread.

        Raises:
            CheckpointError: there are fewer.
        """
        part = self.window.part(self.position, count)
        self.position += count
        return part

    def line(self, limit: int = 1024) -> bytes:
        """The bytes up to the next newline, without it.

        Raises:
            CheckpointError: there is none within `limit` bytes.
        """
        line = bytearray()
        while len(line) <= limit:
            if (byte := self.take(1)) == b"\n":
                return bytes(line)
            line += byte
        raise CheckpointError(f"the file is damaged: a name is longer than {limit} characters")
