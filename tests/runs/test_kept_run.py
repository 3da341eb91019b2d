"""A run with a store resumes after any interruption, and its snapshots show it at their moments."""

from __future__ import annotations

import copy
import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.models import TINY, alive, moved, writing_anything

import nada
from nada import AdaptConfig, KeptRun, UsageError, apply_style, generate, sample_latents
from nada.clip import load_clip
from nada.errors import NadaError, UnreadableError
from nada.runs.folder import RunFolder
from nada.runs.snapshots import Photographer, Snapshot, Snapshots, evenly
from nada.runs.store import MapperStore, PhotoStore, RunStore, adaptation_key
from nada.text_edits import LatentMapper, MapperConfig
from nada.training.state import load_state, save_state


def config(**changes) -> AdaptConfig:
    return AdaptConfig(
        **{"source": "photo", "target": "sketch", "iterations": 6, "batch": 8, "layers": "all", "templates": "{}"}
        | changes
    )


def assert_same(a, b):
    assert a.fingerprint() == b.fingerprint()


def test_snapshots_are_the_generator_at_those_steps(tiny, clip, tmp_path):
    kept = KeptRun(tmp_path, tiny, clip, config(), moments=3)
    as_they_were = {step.iteration: copy.deepcopy(step.generator) for step in kept}
    assert [s.iteration for s in kept.snapshots.all] == [2, 4, 6]
    ws = sample_latents(tiny, 3)
    for snapshot in kept.snapshots.all:
        images = generate(kept.snapshots.generator(snapshot), ws)
        expected = generate(as_they_were[snapshot.iteration], ws)
        assert (images - expected).abs().max() < 2 / 255
        assert (images - generate(tiny, ws)).abs().max() > 2 / 255
        assert snapshot.style.recipe["iterations_done"] == snapshot.iteration


def test_the_figures_are_those_of_an_independent_computation(tiny, clip):
    run = nada.adapt(tiny, clip, config(iterations=3, batch=5))
    for _ in run:
        pass
    snapshot = Photographer(run).take()
    ws = sample_latents(tiny, 16, 0, truncation_psi=1.0)
    (model,) = clip
    before, after = (
        torch.nn.functional.normalize(model.encode_image(generate(g, ws).clamp(-1, 1)), dim=1).detach().double()
        for g in (tiny, run.trained)
    )
    cosines = torch.cosine_similarity(after - before, run.goal.directions[0].double()[None])
    assert snapshot.agreement == pytest.approx(cosines.mean().item(), abs=1e-4)

    def spread(x):
        pairs = [1 - x[i] @ x[j] for i in range(len(x)) for j in range(i)]
        return sum(pairs) / len(pairs)

    assert snapshot.variety == pytest.approx((spread(after) / spread(before)).item(), rel=1e-3)


def test_a_crash_costs_only_the_steps_since_the_last_snapshot(tiny, clip, tmp_path):
    whole = KeptRun(tmp_path / "whole", tiny, clip, config(), moments=3)
    losses = [float(step.loss) for step in whole]
    crashed = iter(KeptRun(tmp_path / "store", tiny, clip, config(), moments=3))
    for _ in range(5):
        next(crashed)
    rest = KeptRun(tmp_path / "store", tiny, clip, config(), moments=3)
    assert rest.begin == 4
    assert [float(step.loss) for step in rest] == losses[4:]
    assert_same(rest.run.trained, whole.run.trained)
    assert rest.history.packed()["losses"] == whole.history.packed()["losses"]
    assert [s.iteration for s in rest.snapshots.all] == [2, 4, 6]
    for ours, theirs in zip(rest.snapshots.all, whole.snapshots.all, strict=True):
        assert ours.agreement == pytest.approx(theirs.agreement)
        assert_same(rest.snapshots.generator(ours), whole.snapshots.generator(theirs))


def states(store) -> list[int]:
    (folder,) = store.iterdir()
    return list(RunFolder(folder).states())


def test_only_the_last_state_of_a_run_stays(tiny, clip, tmp_path):
    for _ in KeptRun(tmp_path, tiny, clip, config(), moments=3):
        pass
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("photo_to_sketch-")
    assert states(tmp_path) == [6]
    assert list(RunFolder(folder).snapshot_files()) == [2, 4, 6]
    for _ in KeptRun(tmp_path, tiny, clip, config(iterations=8), moments=1):
        pass
    assert states(tmp_path) == [6, 8], "the shorter run's is still of use"
    stopped = KeptRun(tmp_path, tiny, clip, config(iterations=12), moments=1)
    next(stopped)
    stopped.keep()
    assert states(tmp_path) == [6, 8, 9]
    for _ in KeptRun(tmp_path, tiny, clip, config(iterations=12), moments=1):
        pass
    assert states(tmp_path) == [6, 8, 12], "that of iteration 9 is not"
    assert list(KeptRun(tmp_path, tiny, clip, config(), moments=3)) == [], "nor is the shorter run repeated"


def test_a_lost_snapshot_costs_only_itself(tiny, clip, tmp_path, caplog):
    for _ in KeptRun(tmp_path, tiny, clip, config(), moments=3):
        pass
    (lost,) = tmp_path.glob("*/snapshots/iteration_00004.style.safetensors")
    lost.write_bytes(b"not a style")
    again = KeptRun(tmp_path, tiny, clip, config(), moments=3)
    assert list(again) == []
    assert [s.iteration for s in again.snapshots.all] == [2, 6]
    assert "cannot be used" in caplog.text


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


def out_of_memory(*_args, **_options):
    raise torch.OutOfMemoryError("CUDA out of memory")


def a_lost_device(*_args, **_options):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def the_system(*_args, **_options):
    raise OSError(errno.EIO, "Input/output error")


def this_machine(*_args, **_options):
    raise UsageError("half precision needs bfloat16")


PASSING = {  # failures that are not the state's fault: (what fails, how)
    "no room for the tensors on the device": ("nada.training.trainer.restore_optimizer", out_of_memory),
    "no room for the goal on the device": ("nada.training.goal.Goal.to", out_of_memory),
    "no room to read them": ("nada.checkpoint.own_files.load", out_of_memory),
    "a lost device": ("nada.training.trainer.restore_optimizer", a_lost_device),
    "a file that the system does not give": ("nada.checkpoint.loading.patiently", the_system),
    "a file that breaks off while it is read": ("nada.checkpoint.own_files.load", the_system),
    "a state of a later version": ("nada.training.state.VERSION", 0),
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


def photo_loop(generator):
    """A function that makes a projection of two iterations."""
    settings = nada.ProjectConfig(w_iterations=2, plus_iterations=0, lpips_weight=0)
    return lambda: nada.project(generator, torch.zeros(1, 3, 8, 8), settings)


def test_a_file_of_the_store_that_cannot_be_read_now_is_left_alone(tiny, clip, tmp_path, monkeypatch):
    settings, make = MapperConfig("pig", iterations=1, batch=1), photo_loop(tiny)
    MapperStore(tmp_path, tiny, clip, settings).keep(LatentMapper(tiny.num_ws, tiny.config.w_dim))
    store = PhotoStore(tmp_path, make, "photo")
    next(store.loop)
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


def test_each_thing_that_changes_the_result_changes_the_key(tiny, clip, clip_folder):
    pictures = torch.rand(2, 3, 16, 16)
    other_clip = load_clip(str(clip_folder))
    with torch.no_grad():
        next(other_clip.parameters()).add_(0.1)
    renamed = load_clip(str(clip_folder))
    renamed.models[0].name = "another"
    keys = [
        adaptation_key(tiny, clip, config()),
        adaptation_key(moved(tiny), clip, config()),
        adaptation_key(tiny, other_clip, config()),
        adaptation_key(tiny, renamed, config()),
        adaptation_key(tiny, load_clip(f"{clip_folder}:0.5"), config()),
        adaptation_key(tiny, clip, config(), pictures),
        adaptation_key(tiny, clip, config(), pictures + 0.01),
        adaptation_key(tiny, clip, config(), pictures.transpose(2, 3).flip(0)),
    ]
    keys += [
        adaptation_key(tiny, clip, config(**changes))
        for changes in ({"seed": 1}, {"batch": 3}, {"target": "pig"}, {"views": 1}, {"layers": 3}, {"mixing": 0.5})
    ]
    assert len(set(keys)) == len(keys)
    assert adaptation_key(tiny, load_clip(str(clip_folder)), config(iterations=9, cuda_graphs=True)) == keys[0]


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


def test_the_suggestion_is_the_most_varied_of_the_best(tiny):
    style = nada.Style.between(tiny, moved(tiny))

    def at(iteration, agreement, variety):
        return Snapshot(iteration, style, agreement, variety)

    moments = (at(50, 0.5, 1.2), at(100, 0.79, 0.8), at(150, 0.80, 0.6), at(200, 0.79, 0.3))
    snapshots = Snapshots(tiny, moments)
    assert snapshots.best.iteration == 100
    assert snapshots.last.iteration == 200
    assert [snapshots.nearest(i).iteration for i in (1, 90, 130, 999)] == [50, 100, 150, 200]
    assert_same(snapshots.generator(snapshots.best), apply_style(tiny, style))
    assert snapshots.generator(snapshots.best).metadata["adaptations"] == [style.recipe]
    assert Snapshots(tiny, (at(1, -0.5, 1.0), at(2, -0.1, 0.1))).best.iteration == 2
    with pytest.raises(UsageError, match="no snapshots"):
        _ = Snapshots(tiny, ()).best


@pytest.mark.parametrize(
    ("iterations", "count", "expected"),
    [(300, 6, [50, 100, 150, 200, 250, 300]), (10, 3, [3, 7, 10]), (2, 6, [1, 2]), (5, 1, [5]), (2, 10**11, [1, 2])],
)
def test_moments_are_even_and_end_at_the_end(iterations, count, expected):
    assert evenly(iterations, count) == expected


def test_the_state_of_a_run_of_version_0_1_is_resumed(tiny, clip, tmp_path):
    """Version 0.1's state was beside the results, identified CLIP models by probes, and had no key."""
    whole = KeptRun(RunFolder(tmp_path / "whole"), tiny, clip, config(), moments=1)
    list(whole)
    begun = KeptRun(RunFolder(tmp_path / "old"), tiny, clip, config(), moments=1)
    next(begun)
    state = begun.run.state(history=begun.history.packed(), generator="base.safetensors", clip="demo")
    models = [{name: model[name] for name in ("name", "weight")} for model in state.recipe["clip"]]
    probes = {"probe.text.0": torch.ones(3), "probe.image.0": torch.ones(3)}
    old = replace(state, recipe=state.recipe | {"clip": models}, tensors=state.tensors | probes)
    save_state(old, tmp_path / "old" / "resume.safetensors")
    resumed = KeptRun(RunFolder(tmp_path / "old"), tiny, clip, config(), moments=1)
    assert resumed.begin == 1
    list(resumed)
    assert_same(resumed.run.trained, whole.run.trained)
    assert list(RunFolder(tmp_path / "old").states()) == [0, 6]


@pytest.mark.parametrize("stop", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_a_state_that_a_killed_run_left_is_removed(tiny, clip, tmp_path, monkeypatch, stop):
    """The run is killed after it has saved a state, and before it has deleted the previous one."""
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "forget_states_before", lambda *_: None)
        for step in KeptRun(RunFolder(tmp_path), tiny, clip, config(), moments=3):
            if step.iteration == stop:
                break
    assert len(RunFolder(tmp_path).states()) == stop / 2
    list(KeptRun(RunFolder(tmp_path), tiny, clip, config(), moments=3))
    assert list(RunFolder(tmp_path).states()) == [6]
    list(KeptRun(RunFolder(tmp_path), tiny, clip, config(iterations=8), moments=1))
    assert list(RunFolder(tmp_path).states()) == [6, 8], "the end of a shorter run stays"


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
