"""Atomic file writes, lock files, the cache folder, and the removal of files that are no longer needed."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout

from .errors import BusyError, MissingFileError, NadaError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
APP = "stylegan-nada"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SCANNED = {5, 32, 33}  # Windows' errors while a virus scanner or an indexer holds a file, for a second at most
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds between retries after these errors
_TEMPORARY = re.compile(r"\.nada-([0-9a-f]{12})-(\d+)-[0-9a-f]{8}(\.[^.]*)?")
EVICTED = ".evicted"  # ending of a folder whose deletion has begun
NOWHERE = "0" * 12
STALE = 24 * 3600  # seconds without a change after which a temporary file counts as abandoned
_swept: set[Path] = set()  # folders that were swept in this process


def cache_folder() -> Path:
    """Return the folder for files that can be computed or downloaded again; it may not exist, or be deleted any time.

    It is the operating system's place for caches. Version 0.1 used `~/.cache/stylegan-nada` on every system; where that
    folder exists it stays in use, so that nothing is downloaded twice. Without a home folder, the cache is below the
    current folder.
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
    """Write a file atomically: whatever happens, it has either its old content or all of the new one.

    Use as ``with atomic_path(path) as temp: write(temp)``. The temporary file is in the same folder, because a rename
    is only atomic within one file system, and has the same suffix, by which some writers choose the format. Missing
    parent folders are created; a symbolic link stays, and its target is replaced. The file keeps the permissions of the
    file that it replaces, or gets those of new files in that folder.

    Args:
        path: the file to create or replace.
        new: refuse to replace a file: if two programs write the same new file at once, the second one fails.

    Yields:
        The path to write to, which does not exist yet.

    Raises:
        NadaError: the path is a folder, the disk is full, writing is not permitted, nothing was written, or
            another program has created the file that had to be new.
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
        with suppress(OSError):  # some network drives refuse it, which must not lose the content
            os.chmod(temp, mode)
        if new:
            _refuse_existing(temp, target)
        else:
            _rename(temp, target)
    except OSError as error:
        raise NadaError(_sentence(path, error)) from error
    finally:
        with suppress(OSError):
            temp.unlink()  # does nothing after a success: the file has its new name


def storable(text: str) -> str:
    r"""Return a text, such as the name of a file, in valid Unicode, since our files hold no other texts.

    Bytes of names that are not UTF-8 become escapes such as ``\udcff``. A path with such an escape leads nowhere: a
    command that resumes must be given the path again.
    """
    return text.encode("utf-8", "backslashreplace").decode()


class _NothingYet(Exception):
    """Leaves `atomic_path` without a file."""


def existing_file(path: str | os.PathLike[str], advice: str) -> Path:
    """Return the path of a file that has to exist.

    Args:
        path: the file.
        advice: what to give instead, for the message.

    Raises:
        MissingFileError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {str(path)!r}; {advice}")
    return path


def check_writable(path: str | os.PathLike[str]) -> None:
    """Make sure that a file can be written, before the work whose result it should hold. Its folder exists afterwards.

    Raises:
        NadaError: as `atomic_path`.
    """
    with suppress(_NothingYet), atomic_path(path):
        raise _NothingYet("only the check was wanted")


def finish(temp: Path, path: str | os.PathLike[str]) -> None:
    """Rename a complete file atomically, in the same folder, and replace a file of that name.

    Raises:
        NadaError: the file cannot be renamed; it then keeps its old name.
    """
    try:
        _flush(temp)
        _rename(temp, Path(path))
    except OSError as error:
        raise NadaError(_sentence(path, error)) from error


def prune(entries: Iterable[Path], limit: int, kept: Path) -> None:
    """Delete the least recently used files and folders until the rest fits into a limit.

    Entries that vanish meanwhile, because another process prunes too, and those that cannot be deleted are skipped. A
    folder gets the ending `EVICTED` before its content is deleted, so that a killed deletion leaves none that looks
    whole. The caller deletes such folders at its next use.

    Args:
        entries: files, and folders with all that is in them.
        limit: bytes that all entries together may take.
        kept: the entry that is never deleted.
    """
    room = limit - _size(kept)
    used: dict[Path, float] = {}
    for path in entries:
        with suppress(OSError):
            used[path] = path.stat().st_mtime
    for path in sorted(used.keys() - {kept}, key=lambda path: used[path], reverse=True):
        room -= _size(path)
        if room < 0:
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path.rename(path.with_name(path.name + EVICTED)), ignore_errors=True)
                else:
                    path.unlink()


def _size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder; what vanishes meanwhile counts as 0."""
    inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    size = 0
    for file in inside if path.is_dir() else (path,):
        with suppress(OSError):
            size += file.stat().st_size
    return size


def sweep(folder: Path, now: float) -> None:
    """Delete temporary files that killed writers left in a folder.

    A file is stale if the process whose number is in its name has ended, which is known on Linux for processes of this
    machine or container. Other temporary files are stale when they have not changed for a day.

    Args:
        folder: folder to sweep, without subfolders; only files named by `atomic_path` are deleted.
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
    """Return 12 hexadecimal digits for this boot and container, within which a process number is unique."""
    boot, space = "", ""
    with suppress(OSError):  # both exist on Linux only
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12] if space else NOWHERE


def _has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)  # only tests whether it exists; on Windows it would end the process
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _mode(target: Path, probe: Path) -> int:
    """Return the permissions that the file should have, since some writers (safetensors) create private files.

    The first write to a folder also deletes temporary files that killed writers left there.
    """
    probe.touch()
    status = probe.stat()
    probe.unlink()
    if target.parent not in _swept:  # only once: listing the folder for each of ten thousand pictures would be slow
        _swept.add(target.parent)
        sweep(target.parent, status.st_mtime)
    with suppress(FileNotFoundError):  # any other error, such as a name that is too long, is raised before the work
        status = target.stat()
    return stat.S_IMODE(status.st_mode)


def patiently(action: Callable[[], Result]) -> Result:
    """Return the result of opening or renaming a file, retried while a virus scanner holds the file.

    Raises:
        OSError: as `action`.
    """
    for pause in _PAUSES:
        try:
            return action()
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _SCANNED:
                raise
            time.sleep(pause)
    return action()


def _rename(temp: Path, target: Path) -> None:
    patiently(lambda: os.replace(temp, target))
    _flush_folder(target.parent)


def _refuse_existing(temp: Path, target: Path) -> None:
    """Rename a file atomically to a name that must be new; a hard link fails if the name exists.

    Raises:
        NadaError: a file of that name exists.
    """
    taken = f"{target} exists: another program has written it in the meantime; choose another name or folder"
    try:
        os.link(temp, target)
        _flush_folder(target.parent)
    except FileExistsError:
        raise NadaError(taken) from None
    except OSError:  # some file systems, such as that of memory cards, have no links
        if target.exists():
            raise NadaError(taken) from None
        _rename(temp, target)


def _flush(temp: Path) -> None:
    """Flush the content to the disk; without it, a power cut could leave an empty file under the new name."""
    with open(temp, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the folder's entry to the disk, where the system can (Windows cannot open folders)."""
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


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file for a `with` block. A lock ends with its process, even if that is killed.

    Where the file system has no locks, as some network drives, the block runs without one, and the log says so.

    Args:
        path: the lock file, which is deleted at the end; its folder exists.
        waiting: called about once a second while another program has the lock; what it raises ends the wait. None does
            not wait.

    Raises:
        BusyError: another program has the lock, and `waiting` is None.
    """
    lock = FileLock(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=1 if waiting else 0)
            if not path.exists():  # its last owner has just deleted the file, so that others would not see this lock
                lock.release()
        except Timeout:
            if waiting is None:
                raise BusyError(
                    f"another command works in {path.parent}; choose another folder, or wait for its end"
                ) from None
            waiting()
        except (OSError, NotImplementedError) as error:
            log.warning("%s cannot be locked; do not do the same in two programs at once: %s", path.parent, error)
            break
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):
                path.unlink()
            lock.release()
