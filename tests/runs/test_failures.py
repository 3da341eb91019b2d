"""A damaged state is set aside; a failure of the machine leaves it alone, and costs only what failed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.models import TINY, alive, writing_anything
from helpers.runs import config, out_of_memory, photo_loop, the_system

import nada
from nada import KeptRun, UsageError
from nada.errors import NadaError, UnreadableError
from nada.runs.folder import RunFolder
from nada.runs.out_of_memory import sparing
from nada.runs.snapshots import Photographer
from nada.runs.store import MapperStore, PhotoStore
from nada.text_edits import LatentMapper, MapperConfig
from nada.training.state import KIND, load_state, save_state


@pytest.fixture(scope="module")
def trained(loaded_clip, tmp_path_factory) -> tuple[Path, str]:
    """The store of a finished run of two steps, and the fingerprint of its result."""
    store = tmp_path_factory.mktemp("store")
    run = KeptRun(store, alive(TINY), loaded_clip, config(iterations=2), moments=1)
    for _ in run:
        pass
    return store, run.run.trained.fingerprint()


DAMAGES = [
    lambda state: state.tensors.pop("trained.b8.conv0.weight"),
    lambda state: state.tensors.update({"trained.b8.conv0.bias": torch.full((20,), float("nan"))}),
    lambda state: state.goal.update(directions=["AADAfw=="] * 2),
    lambda state: state.recipe.update(target="pig"),
]
MORE_DAMAGES = [
    lambda state: state.notes.update(history={"losses": 5}),
    lambda state: state.tensors.update({"exp_avg.b8.conv0.bias": torch.zeros(3)}),
    lambda state: state.recipe.update(iterations_done=-1),
    lambda state: state.tensors.pop("random"),
    lambda state: state.tensors.update(random=torch.zeros(3, dtype=torch.uint8)),
    lambda state: state.tensors.update({"trained.b8.conv0.bias": torch.zeros(20, dtype=torch.int64)}),
    lambda state: state.tensors.pop("exp_avg.b8.conv0.bias"),
    lambda state: state.tensors.update({"exp_avg_sq.b8.conv0.bias": torch.full((20,), -1.0)}),
    lambda state: state.tensors.update({"step.b8.conv0.bias": torch.tensor(float("inf"))}),
    lambda state: state.goal.update(targets=[]),
    lambda state: state.recipe.pop("clip"),
    lambda state: state.recipe.update(clip=5),
    lambda state: state.recipe.update(base="another"),
    lambda state: state.goal.update(directions=["??"]),
    lambda state: state.goal.pop("targets"),
    lambda state: state.notes.update(history=[1]),
]


@pytest.mark.parametrize(
    "damage", [*DAMAGES, *(pytest.param(damage, marks=pytest.mark.slow) for damage in MORE_DAMAGES)]
)
def test_a_damaged_state_is_set_aside_and_the_run_starts_again(tiny, clip, trained, tmp_path, caplog, damage):
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.glob("*/states/*.safetensors")
    state = load_state(path)
    damage(state)
    with writing_anything():
        save_state(state, path)
    again = KeptRun(tmp_path, tiny, clip, config(iterations=2), moments=1)
    assert again.begin == 0
    for _ in again:
        pass
    assert again.run.trained.fingerprint() == trained[1]
    assert path.with_name(f"{path.name}.damaged").is_file()
    assert "cannot be used" in caplog.text
    assert KeptRun(tmp_path, tiny, clip, config(iterations=2), moments=1).begin == 2


def a_lost_device(*_args, **_options):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def this_machine(*_args, **_options):
    raise UsageError("half precision needs bfloat16")


PASSING = {  # failures that are not the state's fault: (what fails, how)
    "no room for the tensors on the device": ("nada.training.trainer.restore_optimizer", out_of_memory),
    "no room for the goal on the device": ("nada.training.goal.Goal.to", out_of_memory),
    "no room to read them": ("nada.checkpoint.own_files.load", out_of_memory),
    "a lost device": ("nada.training.trainer.restore_optimizer", a_lost_device),
    "a file that the system does not give": ("nada.checkpoint.loading.patiently", the_system),
    "a file that breaks off while it is read": ("nada.checkpoint.own_files.load", the_system),
    "a state of a later version": ("nada.training.state.KIND", replace(KIND, version=0)),
    "settings that do not fit this machine": ("nada.training.sampler.Sampler.__init__", this_machine),
}


@pytest.mark.parametrize("failure", PASSING)
@pytest.mark.parametrize("place", [Path, pytest.param(RunFolder, marks=pytest.mark.slow)])
def test_a_failure_that_is_not_the_states_leaves_it_alone(tiny, clip, trained, tmp_path, monkeypatch, failure, place):
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.glob("*/states/*.safetensors")
    before = path.read_bytes()
    begin = lambda: KeptRun(tmp_path if place is Path else RunFolder(path.parents[1]), tiny, clip, config(iterations=2))
    target, how = PASSING[failure]
    with monkeypatch.context() as patch:
        patch.setattr(target, how)
        with pytest.raises((NadaError, RuntimeError)):
            begin()
    assert path.read_bytes() == before
    assert begin().begin == 2


def test_a_file_of_the_store_that_cannot_be_read_now_is_left_alone(tiny, clip, tmp_path, monkeypatch):
    settings, make = MapperConfig("pig", iterations=1, batch=1), photo_loop(tiny)
    MapperStore(tmp_path, tiny, clip, settings).keep(LatentMapper(tiny.num_ws, tiny.config.w_dim))
    store = PhotoStore(tmp_path, make, "photo")
    next(store)
    store.keep()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 2
    finds = [lambda: MapperStore(tmp_path, tiny, clip, settings).find(), lambda: PhotoStore(tmp_path, make, "photo")]
    with monkeypatch.context() as patch:
        patch.setattr("nada.checkpoint.loading.patiently", the_system)
        for find in finds:
            with pytest.raises(UnreadableError, match="cannot be read: Input/output error; try again"):
                find()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert finds[0]() is not None
    assert finds[1]().loop.iteration == 1


def test_no_memory_to_save_the_state_of_a_photo_costs_only_that_state(tiny, tmp_path, monkeypatch, caplog):
    store = PhotoStore(tmp_path, photo_loop(tiny), "photo")
    with monkeypatch.context() as patch:
        patch.setattr(nada.Projection, "state", out_of_memory)
        assert [step.iteration for step in sparing(store, store.loop)] == [1, 2]
    assert caplog.text.count("the run cannot be resumed from iteration") == 1
    assert not [*tmp_path.iterdir()]
    store.keep()
    assert PhotoStore(tmp_path, photo_loop(tiny), "photo").loop.iteration == 2


@pytest.mark.parametrize("part", ["__init__", "take"])
def test_no_memory_for_a_snapshot_costs_the_snapshot_only(tiny, clip, tmp_path, monkeypatch, caplog, part):
    monkeypatch.setattr(Photographer, part, out_of_memory)
    kept = KeptRun(tmp_path, tiny, clip, config(iterations=2), moments=2)
    assert [step.iteration for step in kept] == [1, 2]
    assert kept.snapshots.all == ()
    assert kept.is_stored
    assert caplog.text.count("not enough memory for the snapshot") == 1


def test_each_kind_of_failure_is_told_once(tiny, clip, tmp_path, monkeypatch, caplog):
    kept = KeptRun(tmp_path, tiny, clip, config(iterations=6), moments=6)
    take = Photographer.take
    for target, name in ((Photographer, "take"), (RunFolder, "save_snapshot"), (RunFolder, "save_state")):
        monkeypatch.setattr(target, name, the_system if target is RunFolder else out_of_memory)
        next(kept), next(kept)
        monkeypatch.setattr(Photographer, "take", take)
    for words in ("not enough memory for the snapshot", "cannot be picked later", "cannot be resumed from iteration"):
        assert caplog.text.count(words) == 1, words
    assert not kept.is_stored


def test_no_memory_to_save_a_state_costs_only_that_state(tiny, clip, tmp_path, monkeypatch, caplog):
    kept = KeptRun(tmp_path, tiny, clip, config(iterations=3), moments=1)
    next(kept)
    with monkeypatch.context() as patch:
        patch.setattr(nada.Adaptation, "state", out_of_memory)
        kept.keep()
    assert "cannot be resumed from iteration 1" in caplog.text
    assert not kept.is_stored
    kept.keep()
    assert kept.is_stored
