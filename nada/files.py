"""Files that are either whole or untouched."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import platformdirs

from .errors import NadaError

APP = "stylegan-nada"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SCANNED = {5, 32, 33}  # Windows' errors while a virus scanner or an indexer holds a file, for a second at most
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds between attempts then
_TEMPORARY = re.compile(r"\.nada-([0-9a-f]{12})-(\d+)-[0-9a-f]{8}(\.[^.]*)?")
NOWHERE = "0" * 12
STALE = 24 * 3600  # seconds without a change after which nobody writes a temporary file any more
_swept: set[Path] = set()


def cache_folder() -> Path:
    """The folder for files that can be made or fetched again; it may not exist yet, and may be deleted at any time.

    It is the operating system's place for caches. Version 0.1 used `~/.cache/stylegan-nada` on every system: where that
    folder exists it stays in use, so that nothing is fetched twice. Without a home folder it is below the current one.
    """
    old = Path(os.path.expanduser("~"), ".cache", APP)
    if old.is_dir():
        return old
    try:
        return platformdirs.user_cache_path(APP, appauthor=False).expanduser()
    except RuntimeError:
        return Path(".cache", APP)


CACHE = cache_folder()


@contextmanager
def atomic_path(path: str | os.PathLike[str], new: bool = False) -> Iterator[Path]:
    """Write a file so that, whatever happens, its name leads to the old content or to the new one, whole.

    Use as ``with atomic_path(path) as temp: write(temp)``. The temporary file lies in the same folder (a
    rename is only atomic within one file system) and has the same suffix (writers that choose a format by it
    still do). Missing parent folders are created; a symbolic link stays one, and its target is replaced. Permissions
    are those of the file replaced, else those that new files get here.

    Args:
        path: the file to create or replace.
        new: never replace: of two programs that write a new file at once, the second one fails.

    Yields:
        The path to write to. It does not exist yet.

    Raises:
        NadaError: the path is a folder, the disk is full, writing is not permitted, nothing was written, or there is
            such a file by then that should be new.
    """
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:
        raise NadaError(f"{str(path)!r} cannot be the name of a file: {error}; choose another name") from error
    if os.path.isdir(target):
        raise NadaError(f"{path} is a folder; give the name of the file to write")
    temp = target.with_name(f".nada-{_place()}-{os.getpid()}-{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode(target, temp)
        yield temp
        _flush(temp)
        with suppress(OSError):  # some network drives refuse it, and the content counts for more
            os.chmod(temp, mode)
        if new:
            _refuse_existing(temp, target)
        else:
            _rename(temp, target)
    except OSError as error:
        raise NadaError(_sentence(path, error)) from error
    finally:
        with suppress(OSError):
            temp.unlink()  # after a success it has its new name, and there is nothing to remove


class _NothingYet(Exception):
    """Leaves `atomic_path` without a file."""


def check_writable(path: str | os.PathLike[str]) -> None:
    """Make sure that a file can be written, before the work whose result it should hold. Its folder exists afterwards.

    Raises:
        NadaError: as `atomic_path`.
    """
    with suppress(_NothingYet), atomic_path(path):
        raise _NothingYet


def finish(temp: Path, path: str | os.PathLike[str]) -> None:
    """Give a complete file its name, in the same folder; what had that name is replaced.

    Raises:
        NadaError: it cannot be renamed; it then keeps its old name.
    """
    try:
        _flush(temp)
        _rename(temp, Path(path))
    except OSError as error:
        raise NadaError(_sentence(path, error)) from error


def prune(entries: Iterable[Path], limit: int, kept: Path, first: str = "") -> None:
    """Delete the files and folders that were unused for longest, until the rest fits.

    Args:
        entries: files, and folders with all that is in them.
        limit: bytes that all of them may take.
        kept: the one never to delete.
        first: the part of a folder that is deleted first, so that a killed deletion leaves nothing that looks whole.
    """
    room = limit - _size(kept)
    others = [path for path in entries if path != kept]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
        room -= _size(path)
        if room < 0:
            if path.is_dir():
                for part in (path / first, path):
                    shutil.rmtree(part, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def sweep(folder: Path, now: float) -> None:
    """Delete temporary files that killed writers left in a folder.

    A file is stale if the process whose number is in its name has ended. That can be told on Linux, and of this
    machine's (or container's) processes; other temporary files are stale when they have not changed for a day.

    Args:
        folder: its own files only, and only those that `atomic_path` named.
        now: time by the clock of the file system, which may be another machine's.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            match = _TEMPORARY.fullmatch(entry.name)
            if not match or not entry.is_file(follow_symlinks=False):
                continue
            here = match[1] == _place() != NOWHERE
            with suppress(OSError):
                if (here and _has_ended(int(match[2]))) or now - entry.stat().st_mtime > STALE:
                    os.unlink(entry.path)


@cache
def _place() -> str:
    """12 hexadecimal digits for the boot and the container within which a process number means one process."""
    boot, space = "", ""
    with suppress(OSError):  # both exist on Linux only
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12] if space else NOWHERE


def _has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks only; on Windows it would end the process
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _mode(target: Path, probe: Path) -> int:
    """Permissions that the file should have; writers such as that of safetensors make theirs private.

    The first time that a folder is written to, this also removes what killed writers left there.
    """
    probe.touch()
    status = probe.stat()
    probe.unlink()
    if target.parent not in _swept:  # once: a run of ten thousand pictures should not list its folder each time
        _swept.add(target.parent)
        sweep(target.parent, status.st_mtime)
    with suppress(FileNotFoundError):  # and any other failure, such as a name that is too long, ends it before the work
        status = target.stat()
    return stat.S_IMODE(status.st_mode)


def _rename(temp: Path, target: Path) -> None:
    """Rename, with patience for virus scanners."""
    for pause in _PAUSES:
        try:
            os.replace(temp, target)
            break
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _SCANNED:
                raise
            time.sleep(pause)
    else:
        os.replace(temp, target)
    _flush_folder(target.parent)


def _refuse_existing(temp: Path, target: Path) -> None:
    """Give a file a name that no other one has: the operating system makes no link that exists already.

    Raises:
        NadaError: the name is taken.
    """
    taken = NadaError(
        f"{target} exists by now: another program has written it meanwhile; choose another name or folder"
    )
    try:
        os.link(temp, target)
        _flush_folder(target.parent)
    except FileExistsError:
        raise taken from None
    except OSError:  # some file systems, such as that of memory cards, have no links
        if target.exists():
            raise taken from None
        _rename(temp, target)


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
    if error.errno == errno.ENAMETOOLONG:
        return f"{str(path)[:80]}... was not written: the name is too long; choose a shorter one"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return f"{path} was not written: a part of its path is a file, not a folder; choose another name"
    return f"{path} was not written: {error}"
