"""Converted copies of foreign files, so that a second load reads safetensors and hashes nothing.

A folder holds two kinds of files. `<sha256 of a source>-<version>.safetensors` is that source, converted: whatever a
file is called and wherever it lies, the same content has one copy. To know the content without reading hundreds of
megabytes again, `<stamp>.sha256` remembers it for a stamp: the file's size, its time of change, and samples of its
content. A file that was replaced has another stamp, even if size and time are the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

from ..errors import CheckpointError, NadaError
from ..files import atomic_path, prune
from ..stylegan2 import Generator
from .saving import save_generator

log = logging.getLogger(__name__)

VERSION = 2  # of conversion: a later one does not use the copies of this one
SAMPLES, SAMPLE = 64, 4096  # pieces of the file that belong to the stamp, and their bytes
MAX_BYTES = 4 << 30  # of all copies; the ones unused for longest go first
_ENDING = ".safetensors"


class Cache:
    """The copies in a folder, which is created when the first one is kept.

    Args:
        folder: used for nothing else; it may be deleted at any time.
        limit: bytes of copies to keep.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int = MAX_BYTES):
        self.folder = Path(folder)
        self.limit = limit

    def find(self, source: Path) -> Path | None:
        """The copy of a file, if there is one."""
        try:
            digest = self._note(source).read_text("ascii").strip()
            copy = self._copy(digest)
            os.utime(copy)  # was used now
            return copy
        except (OSError, ValueError):
            return None

    def keep(self, generator: Generator, source: Path, sha256: str) -> None:
        """Save a copy of what was loaded; a failure costs a line in the log, and the next load takes as long again.

        Args:
            generator: as it was loaded from `source`, its metadata included.
            source: the file.
            sha256: of its content.
        """
        try:
            copy = self._copy(sha256)
            if not copy.is_file():
                save_generator(generator, copy)
            with atomic_path(self._note(source)) as temp:
                temp.write_text(sha256, "ascii")
            copies = [path for path in self.folder.glob(f"*{_ENDING}") if not path.name.startswith(".")]
            prune(copies, self.limit, copy)
        except (NadaError, OSError) as error:
            log.warning("no converted copy of %s was kept: %s", source.name, error)

    def drop(self, copy: Path) -> None:
        """Forget a copy that turned out to be damaged."""
        with suppress(OSError):
            copy.unlink()

    def _copy(self, sha256: str) -> Path:
        if len(sha256) != 64 or not sha256.isalnum():  # it came out of a file, and becomes a path
            raise ValueError("not a SHA-256")
        return self.folder / f"{sha256}-{VERSION}{_ENDING}"

    def _note(self, source: Path) -> Path:
        return self.folder / f"{file_stamp(source)}.sha256"


def file_stamp(source: str | os.PathLike[str]) -> str:
    """What changes when a file does, within milliseconds whatever its size: 32 hexadecimal digits.

    Raises:
        CheckpointError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(source, "rb") as file:
            stat = os.fstat(file.fileno())
            digest.update(f"{VERSION} {stat.st_size} {stat.st_mtime_ns} ".encode())
            for i in range(SAMPLES):
                file.seek(max(stat.st_size - SAMPLE, 0) * i // (SAMPLES - 1))
                digest.update(file.read(SAMPLE))
    except OSError as error:
        raise CheckpointError(f"{source} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()[:32]
