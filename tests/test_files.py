"""Files are complete or untouched, even if the writer is killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from nada import files
from nada.checkpoint.loading import opened
from nada.errors import NadaError, UnreadableError
from nada.files import APP, atomic_path, cache_folder, finish


def test_creates_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    for text in ("first", "second"):
        with atomic_path(path) as temp:
            assert (temp.parent, temp.suffix) == (path.parent, ".txt")
            temp.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_what_can_be_written_is_known_before(tmp_path):
    files.check_writable(tmp_path / "new" / "a.txt")
    assert list((tmp_path / "new").iterdir()) == [], "nothing is left behind"
    (tmp_path / "old").write_text("old")
    files.check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_text() == "old"
    for path in (tmp_path / "old" / "a.txt", tmp_path / ("x" * 300), tmp_path):
        with pytest.raises(NadaError):
            files.check_writable(path)


@pytest.mark.parametrize("links", [True, False])
def test_of_two_writers_of_a_new_file_the_second_is_refused(tmp_path, monkeypatch, links):
    if not links:  # a file system without links, as on memory cards
        monkeypatch.setattr(os, "link", mock.Mock(side_effect=OSError(errno.EPERM, "no links here")))
    path = tmp_path / "a.txt"

    def write_late() -> None:
        with atomic_path(path, new=True) as late:
            with atomic_path(path, new=True) as early:
                early.write_text("first")
            late.write_text("second")

    with pytest.raises(NadaError, match=r"a.txt exists: .*choose another name"):
        write_late()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs permissions")
@pytest.mark.parametrize("mode", [None, 0o640, 0o444])
def test_permissions_are_those_of_any_other_file(tmp_path, mode):
    """safetensors makes its files private; an existing file keeps the permissions that its owner chose."""
    path, usual = tmp_path / "a.safetensors", tmp_path / "usual"
    usual.touch()
    if mode is not None:
        path.touch()
        path.chmod(mode)
        usual.chmod(mode)
    with atomic_path(path) as temp:
        assert not temp.exists()
        save_file({"x": torch.ones(1)}, temp)
    assert path.stat().st_mode == usual.stat().st_mode


def test_a_drive_without_permissions_is_written_to(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    path = tmp_path / "a.txt"
    with atomic_path(path) as temp:
        temp.write_text("whole")
    assert path.read_text() == "whole"


def write_half(path: Path, failure: BaseException) -> None:
    with atomic_path(path) as temp:
        temp.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failing_writer_changes_nothing(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(failure):
        write_half(path, failure())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "what"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission"), (errno.EROFS, "no permission"), (errno.EIO, "")],
)
def test_system_errors_become_sentences(tmp_path, code, what):
    with pytest.raises(NadaError, match=rf"a\.txt was not written: .*{what}"):
        write_half(tmp_path / "a.txt", OSError(code, os.strerror(code)))
    assert list(tmp_path.iterdir()) == []


def test_targets_that_cannot_be_files(tmp_path):
    (tmp_path / "file").write_text("")
    for path, what in [(tmp_path, "is a folder"), (tmp_path / "file" / "b.txt", "is a file, not a folder")]:
        with pytest.raises(NadaError, match=what), atomic_path(path):
            pytest.fail("there is nothing to write to")


def test_a_writer_that_writes_nothing(tmp_path):
    with pytest.raises(NadaError, match="was not written"), atomic_path(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_path(tmp_path / "link") as temp:
        temp.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_content_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """After a power cut, a name must not refer to an empty file: sync the file, then rename, then sync the folder."""
    done, fsync, replace = [], os.fsync, os.replace

    def flushed(handle):
        status = os.fstat(handle)
        done.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("name") or replace(*paths))
    with atomic_path(tmp_path / "a.txt") as temp:
        temp.write_text("whole")
    folder = [] if sys.platform == "win32" else ["folder"]  # Windows cannot open folders
    assert done == ["5 bytes", "name", *folder]


# The package without its __init__, which imports torch: seconds in each process.
ALONE = """
import os, signal, sys, types
nada = sys.modules["nada"] = types.ModuleType("nada")
nada.__path__ = [os.path.join(os.environ["PYTHONPATH"], "nada")]
"""
WRITER = f"""{ALONE}
from nada import files

path, place = sys.argv[1:]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with files.atomic_path(path) as temp:
    with open(temp, "wb") as file:
        file.write(b"n" * 1000)
        file.flush()
        if place == "in the file":
            die()
        file.write(b"n" * 1000)
    if place == "before the name":
        os.replace = die
    if place == "after the name":
        files._flush_folder = die
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("place", "content"), [("in the file", b"o" * 10), ("before the name", b"o" * 10), ("after the name", b"n" * 2000)]
)
def test_a_killed_writer_leaves_a_whole_file(tmp_path, place, content):
    path = tmp_path / "a.bin"
    path.write_bytes(b"o" * 10)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", WRITER, str(path), place], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == content


def test_the_cache_lies_where_the_system_keeps_caches(tmp_path, monkeypatch):
    home, caches = tmp_path / "home", tmp_path / "caches"
    monkeypatch.setattr("os.path.expanduser", lambda path: path.replace("~", str(home)))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app, **options: caches / app)
    assert cache_folder() == caches / APP
    assert not tmp_path.joinpath("home").exists(), "asking creates nothing"


def test_files_in_the_old_cache_are_still_found(tmp_path, monkeypatch):
    old = tmp_path / ".cache" / APP
    old.mkdir(parents=True)
    monkeypatch.setattr("os.path.expanduser", lambda path: path.replace("~", str(tmp_path)))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app, **options: tmp_path / "new" / app)
    assert cache_folder() == old


ABANDONING_WRITER = f"""{ALONE}
from nada.files import atomic_path
with atomic_path(sys.argv[1]) as temp:
    temp.write_bytes(bytes(1000))
    os._exit(9)
"""


def abandon(path: Path) -> Path:
    """The file that a process leaves when it is killed while writing."""
    before = set(path.parent.iterdir())
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", ABANDONING_WRITER, str(path)], env=environment).returncode == 9
    (left,) = set(path.parent.iterdir()) - before
    return left


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell whether the writer has ended")
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    left = abandon(tmp_path / "a.safetensors")
    assert left.name.startswith(".nada-")
    with atomic_path(tmp_path / "b.txt") as temp:
        temp.write_text("b")
    assert list(tmp_path.iterdir()) == [tmp_path / "b.txt"]


def temporary(folder: Path, place: str, process: int, age: float = 0.0) -> Path:
    path = folder / f".nada-{place}-{process}-{'0' * 8}.safetensors"
    path.write_bytes(b"x")
    changed = path.stat().st_mtime - age
    os.utime(path, (changed, changed))
    return path


def test_only_stale_temporary_files_of_our_own_are_removed(tmp_path):
    """Other writers may be active, here, in other containers, and on other machines that share the folder."""
    now = (tmp_path / "clock").touch() or (tmp_path / "clock").stat().st_mtime
    elsewhere = "f" * 12
    stays = [
        temporary(tmp_path, files._place(), os.getpid()),
        temporary(tmp_path, elsewhere, 2**22 + 1),
        temporary(tmp_path, files.NOWHERE, 2**22 + 2),
        temporary(tmp_path, elsewhere, 2**22 + 3, files.STALE - 60),
        tmp_path / ".nada-notes.txt",
        tmp_path / "nada-0-0-0.safetensors",
        tmp_path / ".0123456789abcdef.safetensors",
    ]
    for path in stays[4:]:
        path.touch()
        os.utime(path, (0, 0))
    folder = tmp_path / f".nada-{elsewhere}-5-{'0' * 8}"
    folder.mkdir()
    os.utime(folder, (0, 0))
    goes = [temporary(tmp_path, elsewhere, 2**22 + 4, files.STALE + 60)]
    files.sweep(tmp_path, now)
    assert not any(path.exists() for path in goes)
    assert all(path.exists() for path in [*stays, folder])


def test_writers_at_work_are_not_disturbed(tmp_path):
    """Each of two writers cleans the folder while the other's temporary file is there."""
    with atomic_path(tmp_path / "a.txt") as first:
        first.write_text("a")
        files.sweep(tmp_path, first.stat().st_mtime)
        with atomic_path(tmp_path / "b.txt") as second:
            second.write_text("b")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["a", "b"]


def scanned(times: int, action=os.replace):
    """A rename, or another action, that fails like on Windows while a virus scanner holds the file."""
    calls = []

    def busy(*arguments):
        calls.append(arguments)
        if len(calls) <= times:
            error = PermissionError(errno.EACCES, "the process cannot access the file")
            error.winerror = 32
            raise error
        return action(*arguments)

    return busy, calls


def test_a_scanner_that_holds_the_file_is_waited_for(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    busy, _ = scanned(3)
    monkeypatch.setattr(os, "replace", busy)
    with atomic_path(tmp_path / "a.txt") as temp:
        temp.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert pauses == list(files._PAUSES[:3])
    busy, calls = scanned(100)
    monkeypatch.setattr(os, "replace", busy)
    (tmp_path / "part").write_text("kept")
    with pytest.raises(NadaError, match=r"b\.txt was not written: there is no permission"):
        finish(tmp_path / "part", tmp_path / "b.txt")
    assert len(calls) == len(files._PAUSES) + 1
    assert (tmp_path / "part").read_text() == "kept"


def test_entries_that_another_process_deletes_first_are_skipped(tmp_path, monkeypatch):
    entries = [tmp_path / name for name in ("old", "vanishes", "gone", "locked", "new")]
    for age, path in enumerate(entries):
        path.mkdir()
        (path / "content").write_bytes(b"x" * 1000)
        os.utime(path, (age, age))
    shutil.rmtree(entries[2])
    walk, rename = os.walk, Path.rename

    def walked(path):
        found = [*walk(path)]
        if path == entries[1]:
            shutil.rmtree(path)
        return found

    monkeypatch.setattr(os, "walk", walked)
    refuse = lambda path, to: (_ for _ in ()).throw(PermissionError) if path.name == "locked" else rename(path, to)
    monkeypatch.setattr(Path, "rename", refuse)
    files.prune(entries, 1500, entries[4])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locked", "new"]


def test_a_reader_waits_for_a_scanner_and_never_calls_the_file_damaged(tmp_path, monkeypatch):
    pauses, path = [], tmp_path / "a.safetensors"
    path.write_bytes(b"whole")
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", scanned(3, open)[0])
        with opened(path) as file:
            assert file.read() == b"whole"
    assert pauses == list(files._PAUSES[:3])
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", scanned(100, open)[0])
        with pytest.raises(UnreadableError, match="cannot be read: the process cannot access"), opened(path):
            pytest.fail("it cannot be read")


def test_a_lack_of_permission_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(files.time, "sleep", lambda pause: pytest.fail("waited"))
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
    (tmp_path / "part").touch()
    with pytest.raises(NadaError, match="no permission"):
        finish(tmp_path / "part", tmp_path / "b.txt")


@pytest.mark.parametrize(("name", "what"), [("a" * 300, "too long"), ("a\0b", "cannot be the name")])
def test_names_that_no_file_can_have(tmp_path, name, what):
    with pytest.raises(NadaError, match=what) as error, atomic_path(tmp_path / name):
        pytest.fail("there is nothing to write to")
    assert str(error.value).isprintable()
