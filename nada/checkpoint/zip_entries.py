"""Read the directory of a zip archive whose entries are stored, not compressed, as PyTorch writes them.

Unlike `zipfile`, this gives every entry as a window of the file: nothing is unpacked, so that no entry can expand, and
tensors are read straight from their place. Only NumPy's archives may be compressed.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from ..errors import CheckpointError
from .window import Cursor, Window

MAX_ENTRIES = 100_000
_END = struct.Struct("<4s4H2IH")  # signature, disks, entries (here, all), directory's size and offset, comment's length
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_DAMAGED = "the file is a damaged or cut-off zip archive; download or copy it again"


@dataclass(frozen=True)
class Entry:
    """A file in the archive."""

    archive: Window
    name: str
    header: int
    """Offset of the entry's local header in the archive."""
    size: int
    packed: int
    """Number of bytes that the entry takes in the archive."""
    method: int
    encrypted: bool

    @property
    def deflated(self) -> bool:
        """Whether the entry is compressed in the ordinary way (deflate), and not encrypted."""
        return self.method == _DEFLATED and not self.encrypted

    def open(self) -> Window:
        """Return a window on the content of a stored entry.

        Raises:
            CheckpointError: the entry is compressed or encrypted, or reaches outside the archive.
        """
        if self.method != _STORED or self.encrypted or self.size != self.packed:
            raise CheckpointError(
                f"the archive's entry {self.name[:100]} is compressed or encrypted, which PyTorch does not do; "
                "load the original file"
            )
        return self._content()

    def inflate(self) -> Window:
        """Decompress the content in memory: `size` bytes and never more.

        Raises:
            CheckpointError: the entry is damaged, or has another size than the directory says.
        """
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpacker.decompress(self._content().read(), self.size + 1)
        except zlib.error as error:
            raise CheckpointError(_DAMAGED) from error
        if len(data) != self.size:
            raise CheckpointError(_DAMAGED)
        return Window.of(data)

    def _content(self) -> Window:
        header = _LOCAL.unpack(self.archive.read(self.header, _LOCAL.size))
        if header[0] != b"PK\3\4":
            raise CheckpointError(_DAMAGED)
        name, extra = header[-2:]
        return self.archive.part(self.header + _LOCAL.size + name + extra, self.packed)


def read_directory(archive: Window) -> dict[str, Entry]:
    """Return the entries of an archive by name.

    Raises:
        CheckpointError: the archive is damaged or cut off, has too many entries, or two of the same name.
    """
    count, directory = _find_directory(archive)
    if count > MAX_ENTRIES:
        raise CheckpointError(f"the archive has {count} entries; no generator has more than {MAX_ENTRIES}")
    cursor, entries = Cursor(directory), {}
    for _ in range(count):
        entry = _read_entry(cursor, archive)
        if entry.name in entries:
            raise CheckpointError(f"the archive has two entries named {entry.name[:100]}; it is damaged or hostile")
        entries[entry.name] = entry
    return entries


def _find_directory(archive: Window) -> tuple[int, Window]:
    """Find the directory: return the number of entries, and a window on their list."""
    tail_size = min(archive.size, _END.size + _FULL16)
    tail_start = archive.size - tail_size
    tail = archive.read(tail_start, tail_size)
    place = tail.rfind(b"PK\5\6")
    if place < 0 or place + _END.size > tail_size:
        raise CheckpointError(_DAMAGED)
    *_, count, size, offset, _ = _END.unpack_from(tail, place)
    locator = tail_start + place - _LOCATOR64.size
    if _FULL32 in (size, offset) or count == _FULL16:
        signature, _, end64, _ = _LOCATOR64.unpack(archive.read(locator, _LOCATOR64.size))
        if signature != b"PK\6\7":
            raise CheckpointError(_DAMAGED)
        signature, *_, count, size, offset = _END64.unpack(archive.read(end64, _END64.size))
        if signature != b"PK\6\6":
            raise CheckpointError(_DAMAGED)
    return count, archive.part(offset, size)


def _read_entry(cursor: Cursor, archive: Window) -> Entry:
    fields = _ENTRY.unpack(cursor.take(_ENTRY.size))
    signature, flags, method, packed, size = fields[0], fields[3], fields[4], fields[8], fields[9]
    name_size, extra_size, comment_size, header = fields[10], fields[11], fields[12], fields[16]
    if signature != b"PK\1\2":
        raise CheckpointError(_DAMAGED)
    name = cursor.take(name_size).decode("utf-8", "replace")
    extra = cursor.take(extra_size)
    cursor.skip(comment_size)
    size, packed, header = _widened(extra, size, packed, header)
    return Entry(archive, name, header, size, packed, method, bool(flags & _ENCRYPTED))


def _widened(extra: bytes, *values: int) -> list[int]:
    """Replace sizes and offsets that are all ones by their 64-bit values from the extra field of kind 1."""
    position, wide = 0, b""
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            wide = extra[position + 4 : position + 4 + size]
        position += 4 + size
    result = []
    for value in values:
        if value == _FULL32:
            if len(wide) < 8:
                raise CheckpointError(_DAMAGED)
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        result.append(value)
    return result
