"""Files are whole or untouched, also when the writer dies."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nada.errors import NadaError
from nada.files import atomic_path


def test_creates_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    for text in ("first", "second"):
        with atomic_path(path) as temp:
            assert (temp.parent, temp.suffix) == (path.parent, ".txt")
            temp.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs permissions")
@pytest.mark.parametrize("mode", [None, 0o640, 0o444])
def test_permissions_are_those_of_any_other_file(tmp_path, mode):
    """safetensors makes what it writes private; what was there before keeps what its owner gave it."""
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
    """Or a power cut could leave the name with nothing behind it: first the file, then the name, then the folder."""
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


WRITER = """
import os, signal, sys
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
