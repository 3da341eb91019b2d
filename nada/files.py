"""Files that are either whole or untouched."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from .errors import NadaError

APP = "stylegan-nada"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def cache_folder() -> Path:
    """The folder for files that can be made or fetched again; it may not exist yet, and may be deleted at any time.

    It is the operating system's place for caches. Version 0.1 used `~/.cache/stylegan-nada` on every system: where that
    folder exists it stays in use, so that nothing is fetched twice.
    """
    old = Path(os.path.expanduser("~"), ".cache", APP)
    return old if old.is_dir() else platformdirs.user_cache_path(APP, appauthor=False)


CACHE = cache_folder()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file so that, whatever happens, its name leads to the old content or to the new one, whole.

    Use as ``with atomic_path(path) as temp: write(temp)``. The temporary file lies in the same folder (a
    rename is only atomic within one file system) and has the same suffix (writers that choose a format by it
    still do). Missing parent folders are created; a symbolic link stays one, and its target is replaced. Permissions
    are those of the file replaced, else those that new files get here.

    Args:
        path: the file to create or replace.

    Yields:
        The path to write to. It does not exist yet.

    Raises:
        NadaError: the path is a folder, the disk is full, writing is not permitted, or nothing was written.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise NadaError(f"{path} is a folder; give the name of the file to write")
    temp = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode(target, temp)
        yield temp
        _flush(temp)
        with suppress(OSError):  # some network drives refuse it, and the content counts for more
            os.chmod(temp, mode)
        os.replace(temp, target)
        _flush_folder(target.parent)
    except OSError as error:
        raise NadaError(_sentence(path, error)) from error
    finally:
        with suppress(OSError):
            temp.unlink()  # after a success it has its new name, and there is nothing to remove


def prune(entries: Iterable[Path], limit: int, kept: Path) -> None:
    """Delete the files and folders that were unused for longest, until the rest fits.

    Args:
        entries: files, and folders with all that is in them.
        limit: bytes that all of them may take.
        kept: the one never to delete.
    """
    room = limit - _size(kept)
    others = [path for path in entries if path != kept]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
        room -= _size(path)
        if room < 0:
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _mode(target: Path, probe: Path) -> int:
    """Permissions that the file shall have; writers such as that of safetensors make theirs private."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return mode


def _flush(temp: Path) -> None:
    """Wait until the content is on the disk; else a power cut could leave the new name with nothing in it."""
    with open(temp, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """The same for the folder's entry, where the system can (Windows cannot open folders)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sentence(path: str | os.PathLike[str], error: OSError) -> str:
    if error.errno in _FULL:
        return f"{path} was not written: the disk is full; free some space, or choose another folder"
    if error.errno in _FORBIDDEN:
        return f"{path} was not written: there is no permission to write there; choose another folder"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return f"{path} was not written: a part of its path is a file, not a folder; choose another name"
    return f"{path} was not written: {error}"
