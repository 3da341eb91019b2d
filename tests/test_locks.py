"""Lock files: one holder at a time, none left behind, and none needed where the file system has none."""

from __future__ import annotations

import logging

import pytest
from filelock import FileLock

from nada.errors import BusyError
from nada.files import locked


def test_one_holds_a_lock_and_nothing_is_left(tmp_path):
    with locked(tmp_path / "a.lock"):
        with pytest.raises(BusyError), locked(tmp_path / "a.lock"):
            pass
        assert (tmp_path / "a.lock").exists()
        with locked(tmp_path / "b.lock"):
            pass
    with locked(tmp_path / "a.lock"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_whose_file_was_deleted_meanwhile_is_taken_again(tmp_path, monkeypatch):
    acquire, taken = FileLock.acquire, []

    def late(lock, **options):
        acquire(lock, **options)
        taken.append(1)
        if len(taken) == 1:
            (tmp_path / "a.lock").unlink()

    monkeypatch.setattr(FileLock, "acquire", late)
    with locked(tmp_path / "a.lock"):
        assert (tmp_path / "a.lock").exists()
    assert len(taken) == 2


@pytest.mark.parametrize("error", [OSError("no locks available"), NotImplementedError("no flock")])
def test_without_locks_the_work_is_done_with_a_warning(tmp_path, monkeypatch, caplog, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with caplog.at_level(logging.WARNING), locked(tmp_path / "a.lock"):
        pass
    assert "cannot be locked" in caplog.text
