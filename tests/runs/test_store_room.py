"""The store of runs deletes what was unused for longest, and never leaves half a run."""

from __future__ import annotations

import os
import shutil

import pytest
from helpers.runs import config, photo_loop, the_system

from nada import KeptRun
from nada.runs.store import MapperStore, PhotoStore, RunStore, adaptation_key
from nada.text_edits import LatentMapper, MapperConfig


def test_a_store_deletes_what_was_unused_for_longest_and_only_what_is_its_own(tiny, clip, tmp_path):
    def train(seed):
        for _ in KeptRun(tmp_path, tiny, clip, config(iterations=1, seed=seed), moments=1):
            pass
        return max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)

    first, second = train(1), train(2)
    theirs = tmp_path / "from_the_command_line"
    first.rename(theirs)
    alike = tmp_path / "dogs-202601151230"  # the user's own, with a name like those of the store
    shutil.copytree(second, alike)
    for name in ("thesis-202601151231", "style-202601151231.safetensors"):
        (tmp_path / name).write_text("not the store's")
    kept_results = tmp_path / "with_results-0123456789ab"
    shutil.copytree(second, kept_results)
    (kept_results / "record.json").write_text("{}")
    for age, path in enumerate((*tmp_path.glob("*-20260115*"), theirs, kept_results, second), start=1):
        os.utime(path, (age, age))
    third = train(3)
    RunStore(tmp_path, limit=1).prune(third)
    assert not second.exists()
    assert {theirs, kept_results, third, alike} < {*tmp_path.iterdir()}
    assert len([*tmp_path.iterdir()]) == 6
    assert KeptRun(tmp_path, tiny, clip, config(iterations=1, seed=1)).begin == 1, "it is found under any name"


class Killed(BaseException):
    """Exception that stands for the end of the process."""


@pytest.mark.parametrize("part", ["states", pytest.param("snapshots", marks=pytest.mark.slow)])
def test_a_killed_deletion_leaves_no_run_that_looks_whole(tiny, clip, tmp_path, monkeypatch, part):
    def train():
        kept = KeptRun(tmp_path, tiny, clip, config(iterations=2), moments=2)
        begin = kept.begin
        return begin, [float(step.loss) for step in kept], [moment.iteration for moment in kept.snapshots.all]

    whole = train()
    delete = shutil.rmtree

    def rmtree(path, **options):
        delete(path / part, **options)
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(Killed):
        RunStore(tmp_path, limit=1).prune(tmp_path / "another")
    monkeypatch.undo()
    assert list(tmp_path.rglob("*.safetensors")), "it is half deleted"
    assert train() == whole
    assert len(list(tmp_path.iterdir())) == 1, "the next use completes the deletion"


def test_what_is_stored_is_not_called_lost_when_old_entries_cannot_be_deleted(
    tiny, clip, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("nada.runs.store.prune", the_system)
    run = KeptRun(tmp_path, tiny, clip, config(iterations=1), moments=1)
    next(run)
    MapperStore(tmp_path, tiny, clip, MapperConfig("pig", iterations=1)).keep(LatentMapper(4, 20))
    photo = PhotoStore(tmp_path, photo_loop(tiny), "photo")
    next(photo)
    photo.keep()
    assert run.is_stored
    assert len(list(tmp_path.iterdir())) == 3
    assert caplog.text == ""


@pytest.mark.parametrize("used", ["run", "mapper"])
def test_the_next_use_makes_the_room_that_a_killed_run_did_not(tiny, clip, tmp_path, used):
    for seed in (1, 2):
        for _ in KeptRun(tmp_path, tiny, clip, config(iterations=1, seed=seed), moments=1):
            pass
    settings = MapperConfig("pig", iterations=1, batch=1)
    MapperStore(tmp_path, tiny, clip, settings).keep(LatentMapper(tiny.num_ws, tiny.config.w_dim))
    assert len(list(tmp_path.iterdir())) == 3
    if used == "mapper":
        assert MapperStore(tmp_path, tiny, clip, settings, limit=1).find()
    else:
        key = adaptation_key(tiny, clip, config(iterations=1, seed=2))
        RunStore(tmp_path, limit=1).folder(key, "photo_to_sketch")
    (left,) = tmp_path.iterdir()
    assert left.is_dir() == (used == "run")
