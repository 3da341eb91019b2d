"""Folders of runs: the files of the current run, and those left when replacing an earlier run is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from nada import AdaptConfig, KeptRun, UsageError
from nada.runs.folder import RunFolder


@pytest.fixture
def finished(tiny, clip, tmp_path) -> RunFolder:
    """The folder of a run with snapshots after 1, 2 and 3 iterations."""
    settings = {"source": "photo", "target": "sketch", "iterations": 3, "batch": 8, "layers": "all", "templates": "{}"}
    kept = KeptRun(tmp_path, tiny, clip, AdaptConfig(**settings), moments=3)
    for _ in kept:
        pass
    kept.keep()
    (path,) = tmp_path.iterdir()
    return RunFolder(path)


def test_only_snapshots_up_to_the_state_belong_to_a_resumed_run(finished):
    assert [snapshot.iteration for snapshot in finished.load_snapshots()] == [1, 2, 3]
    assert [snapshot.iteration for snapshot in finished.load_snapshots(most=2)] == [1, 2]


def test_a_run_without_snapshots_has_none_to_open(tiny, tmp_path):
    with pytest.raises(UsageError, match="holds no snapshots"):
        RunFolder(tmp_path).open_snapshots(tiny)


@pytest.mark.parametrize("number", ["²²", "٣", "-1", "1.5", "", "1 ", "x"])
def test_files_without_a_plain_number_are_no_snapshots(tmp_path, number):
    for folder, ending in (("snapshots", ".style.safetensors"), ("states", ".safetensors")):
        (tmp_path / folder).mkdir()
        for name in (number, "00002", "9" * 200):
            (tmp_path / folder / f"iteration_{name}{ending}").touch()
    run = RunFolder(tmp_path)
    assert [*run.snapshot_files()] == [*run.states()] == [2, int("9" * 200)]


def test_a_run_that_replaces_another_neither_lists_nor_continues_its_files(finished):
    with finished.claimed(overwrite=True):
        assert finished.load_snapshots() == []
        assert [*finished.load_states()] == []


def test_results_are_not_called_complete_while_those_of_an_earlier_run_are_deleted(finished, monkeypatch):
    """The files of the earlier run are deleted one by one; a kill at any time must leave no record of success."""
    finished.save_record({"recipe": {"iterations_done": 3}})
    complete = []
    unlink = Path.unlink

    def watched(path, missing_ok=False):
        if path in finished.snapshot_files().values():
            complete.append(finished.is_complete(3))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    with finished.claimed(overwrite=True):
        assert finished.is_complete(3)
        finished.save_record({"recipe": {"iterations_done": 2}})
    assert complete == [False] * 3
    assert finished.is_complete(2)
