"""Cache of converted checkpoints, so that a second load reads safetensors and hashes nothing.

A folder holds two kinds of files. `<sha256 of a source>-<version>.safetensors` is that source, converted: the same
content has one copy, whatever the file is called and wherever it lies. So as not to hash hundreds of megabytes again,
`<stamp>.sha256` keeps the hash of the file with that stamp, which combines size, modification time and samples of the
content. A file that was replaced has another stamp, even if size and time are the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from ..errors import CheckpointError, NadaError
from ..files import atomic_path, patiently, prune
from ..stylegan2 import Generator
from .saving import save_generator

log = logging.getLogger(__name__)

VERSION = 2  # version of the conversion: a later version does not use these copies
SAMPLES, SAMPLE = 64, 4096  # number of samples of the file that the stamp includes, and bytes of each
MAX_BYTES = 4 << 30  # limit for all copies together; the least recently used are deleted first
_ENDING = ".safetensors"


class Cache:
    """A cache of converted copies in a folder, which is created with the first copy.

    Args:
        folder: a folder for nothing else; it may be deleted at any time.
        limit: largest number of bytes that the copies may take together.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int = MAX_BYTES):
        self.folder = Path(folder)
        self.limit = limit

    def find(self, source: Path) -> Path | None:
        """Return the converted copy of a file, or None."""
        try:
            digest = self._note(file_stamp(source)).read_text("ascii").strip()
            copy = self._copy(digest)
            os.utime(copy)  # marks it as used now
            return copy
        except (CheckpointError, OSError, ValueError):
            return None

    def keep(self, generator: Generator, stamp: str, sha256: str) -> None:
        """Save a converted copy and delete the least recently used ones; a failure is logged, not raised.

        Args:
            generator: the generator as loaded from a file, its metadata included.
            stamp: `stamp_of` that file, from before it was read: another file may have its name by now.
            sha256: hash of that file's content.
        """
        try:
            copy = self._copy(sha256)
            if not copy.is_file():
                save_generator(generator, copy)
            with atomic_path(self._note(stamp)) as temp:
                temp.write_text(sha256, "ascii")
            copies = [path for path in self.folder.glob(f"*{_ENDING}") if not path.name.startswith(".")]
            prune(copies, self.limit, copy)
        except (NadaError, OSError) as error:
            log.warning("no converted copy of %s was kept: %s", generator.metadata["source"]["file"], error)

    def drop(self, copy: Path) -> None:
        """Delete a damaged copy."""
        with suppress(OSError):
            copy.unlink()

    def _copy(self, sha256: str) -> Path:
        if len(sha256) != 64 or not sha256.isalnum():  # read from a file, and used in a path
            raise ValueError("not a SHA-256")
        return self.folder / f"{sha256}-{VERSION}{_ENDING}"

    def _note(self, stamp: str) -> Path:
        return self.folder / f"{stamp}.sha256"


def file_stamp(source: str | os.PathLike[str]) -> str:
    """Return a stamp that changes when the file changes: 32 hexadecimal digits, within milliseconds for any size.

    Args:
        source: path of the file.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with patiently(lambda: open(source, "rb")) as file:
            return stamp_of(file)
    except OSError as error:
        raise CheckpointError(f"{source} cannot be read: {error.strerror or error}") from error


def stamp_of(file: BufferedReader) -> str:
    """Return the `file_stamp` of an open file."""
    stat = os.fstat(file.fileno())
    digest = hashlib.sha256(f"{VERSION} {stat.st_size} {stat.st_mtime_ns} ".encode())
    for i in range(SAMPLES):
        file.seek(max(stat.st_size - SAMPLE, 0) * i // (SAMPLES - 1))
        digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:32]
