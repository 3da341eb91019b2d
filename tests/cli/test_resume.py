"""Stopped, killed and repeated runs on the command line, and what resumes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.commands import TEXTS, assert_equal, result
from PIL import Image

from nada.adapt import Adaptation
from nada.checkpoint import save_generator
from nada.runs.folder import RunFolder
from nada.training import state


def test_a_resumed_run_ends_like_an_undisturbed_one(nada, tmp_path):
    options = ("--layers", 2, "--train", "lora", "--views", 2)
    whole = nada("adapt", *TEXTS, *options, "--iterations", 5, "--out", tmp_path / "whole")
    nada("adapt", *TEXTS, *options, "--iterations", 3, "--out", tmp_path / "parts", "--snapshot-every", 1)
    record = nada("adapt", "--resume", tmp_path / "parts", "--iterations", 5)
    assert_equal(result(tmp_path / "parts"), result(tmp_path / "whole"))
    for key in ("losses", "layers"):
        assert record[key] == whole[key]
    assert record["recipe"] == whole["recipe"]
    assert json.loads((tmp_path / "parts" / "record.json").read_text()) == record
    assert nada("pick", tmp_path / "parts", 3)["iteration"] == 3, "the first result is not lost"


def test_a_killed_run_resumes_from_its_last_state(nada, tmp_path, monkeypatch):
    nada("adapt", *TEXTS, "--iterations", 4, "--out", tmp_path / "whole")
    steps, train_step = [], Adaptation.train_step

    def die_at_the_fourth(run):
        steps.append(run.iteration)
        if len(steps) == 4:
            raise ZeroDivisionError("killed")
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", die_at_the_fourth)
        with pytest.raises(ZeroDivisionError):
            nada("adapt", *TEXTS, "--iterations", 4, "--out", tmp_path / "killed", "--snapshot-every", 2)
    assert list(RunFolder(tmp_path / "killed").states()) == [2]
    code, error = nada("adapt", *TEXTS, "--out", tmp_path / "killed")
    assert (code, "resume it with --resume" in error) == (2, True), "a new run would destroy it"
    read, read_own_file = [], state.read_own_file
    monkeypatch.setattr(state, "read_own_file", lambda path, *rest: read.append(path) or read_own_file(path, *rest))
    record = nada("adapt", "--resume", tmp_path / "killed")
    assert read == [tmp_path / "killed" / "states" / "iteration_00002.safetensors"], "once: it is large"
    assert len(record["losses"]) == 4
    assert_equal(result(tmp_path / "killed"), result(tmp_path / "whole"))


@pytest.mark.parametrize("every", [pytest.param(0, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    "lost",
    [
        "save_generator",
        *(pytest.param(step, marks=pytest.mark.slow) for step in ("save_style", "save_picture", "save_record")),
    ],
)
def test_results_that_were_not_written_are_written_by_resume(nada, tmp_path, monkeypatch, every, lost):
    options = (*TEXTS, "--layers", "all", "--iterations", 3, "--snapshot-every", every)
    whole = nada("adapt", *options, "--out", tmp_path / "whole")

    def die(*_):
        raise KeyboardInterrupt

    run = tmp_path / lost
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, lost, die)
        code, error = nada("adapt", *options, "--out", run)
        assert (code, "--resume" in error) == (130, True), lost
    record = nada("adapt", "--resume", run)
    assert record["recipe"]["iterations_done"] == 3
    assert record["files"].keys() == whole["files"].keys(), lost
    assert {p.name for p in run.rglob("*")} == {p.name for p in (tmp_path / "whole").rglob("*")}, lost
    assert_equal(result(run), result(tmp_path / "whole"))
    code, error = nada("adapt", "--resume", run)
    assert (code, "has done 3 iterations" in error) == (2, True), "and then it is complete"


@pytest.mark.slow
def test_results_being_replaced_are_not_called_finished(nada, tmp_path, monkeypatch):
    """A run that is killed while its results are replaced must be completed, not reported done by its old record."""
    options = (*TEXTS, "--layers", "all", "--iterations")
    nada("adapt", *options, 3, "--out", tmp_path / "whole")
    nada("adapt", *options, 2, "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_style", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nada("adapt", "--resume", tmp_path / "run", "--iterations", 3)
    assert json.loads((tmp_path / "run" / "record.json").read_text()) == {"finished": False}
    assert nada("adapt", "--resume", tmp_path / "run")["recipe"]["iterations_done"] == 3
    assert_equal(result(tmp_path / "run"), result(tmp_path / "whole"))


@pytest.mark.slow
def test_a_run_that_replaces_another_never_mixes_with_it(nada, tmp_path, monkeypatch):
    """At any moment of a kill, the files named in the record exist."""
    nada("adapt", *TEXTS, "--layers", "all", "--iterations", 2, "--out", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    left, unlink = [0], Path.unlink

    def die_later(path, **options):
        if path.suffix == ".safetensors" and not path.name.startswith("."):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        unlink(path, **options)

    for seed in range(1, 5):
        with monkeypatch.context() as patch:
            left[0] = seed - 1
            patch.setattr(Path, "unlink", die_later)
            options = ("--iterations", 2, "--seed", seed, "--snapshot-every", 0, "--overwrite")
            nada("adapt", *TEXTS, "--layers", "all", *options, "--out", tmp_path / "run")
        now = json.loads((tmp_path / "run" / "record.json").read_text())
        assert now == {"finished": False} or all(Path(path).is_file() for path in now["files"].values())
        assert now in ({"finished": False}, record) or now["recipe"]["seed"] == seed
    record = nada("adapt", "--resume", tmp_path / "run", "--iterations", 3)
    assert record["recipe"]["seed"] == 4
    assert not list((tmp_path / "run" / "snapshots").iterdir())


def test_resume_refuses_what_it_cannot_do(nada, tmp_path, tiny):
    nada("adapt", *TEXTS, "--iterations", 2, "--out", tmp_path / "run")
    for arguments, words in [
        ((), "give a larger number as --iterations"),
        (("--iterations", 1), "has done 2 iterations"),
        (("--iterations", 0), "iterations is 0"),
        (("--iterations", 4, "--target", "pig"), "--target cannot be combined with --resume"),
        (("--iterations", 4, "--clip", "ViT-B/99"), "no CLIP architecture"),
    ]:
        code, error = nada("adapt", "--resume", tmp_path / "run", *arguments)
        assert code == 2
        assert words in error
        assert error.count("\n") == 1
    with torch.no_grad():
        tiny.synthesis.b4.const.add_(1)
    save_generator(tiny, tmp_path / "base.safetensors")
    code, error = nada("adapt", "--resume", tmp_path / "run", "--iterations", 4)
    assert (code, "another base generator" in error) == (2, True)
    code, error = nada("adapt", "--resume", tmp_path / "nowhere")
    assert (code, "there is no folder" in error) == (2, True)


@pytest.mark.slow
def test_out_of_memory_loses_no_training(nada, tmp_path, monkeypatch):
    options = (*TEXTS, "--layers", "all", "--iterations", 4, "--snapshot-every", 0)
    nada("adapt", *options, "--out", tmp_path / "whole")
    train_step = Adaptation.train_step

    def full(run):
        if run.iteration == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", full)
        code, error = nada("adapt", *options, "--out", tmp_path / "full")
    assert (code, "continues after iteration 3" in error) == (1, True)
    nada("adapt", "--resume", tmp_path / "full")
    assert_equal(result(tmp_path / "full"), result(tmp_path / "whole"))


@pytest.mark.parametrize(("stop", "words"), [(1, "the results are incomplete"), (3, "continues after iteration 2")])
def test_a_second_interrupt_names_the_way_to_resume_where_there_is_one(nada, tmp_path, monkeypatch, stop, words):
    train_step = Adaptation.train_step

    def interrupted(run):
        if run.iteration == stop:
            raise KeyboardInterrupt
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", interrupted)
        code, error = nada("adapt", *TEXTS, "--iterations", 4, "--snapshot-every", 2, "--out", tmp_path / "run")
    assert (code, words in error, "--resume" in error) == (130, True, stop > 2)
    if stop > 2:
        assert nada("adapt", "--resume", tmp_path / "run")["recipe"]["iterations_done"] == 4


@pytest.mark.parametrize("damage", [pytest.param("numbers", marks=pytest.mark.slow), "cut off"])
def test_resume_never_begins_another_run(nada, tmp_path, damage):
    """Only the states of a run towards pictures know the pictures; a new run would go somewhere else."""
    Image.effect_noise((32, 32), 50).save(tmp_path / "noise.png")
    nada("adapt", *TEXTS, "--style-images", tmp_path / "noise.png", "--iterations", 2, "--out", tmp_path / "run")
    results = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    (path,) = RunFolder(tmp_path / "run").states().values()
    content = path.read_bytes()
    path.write_bytes(content[:-8000] + b"\xff" * 1000 + content[-7000:] if damage == "numbers" else content[:-8000])
    code, error = nada("adapt", "--resume", tmp_path / "run", "--iterations", 4)
    assert (code, "holds no state" in error) == (1, True)
    assert {path: path.read_bytes() for path in results} == results


def test_after_a_kill_before_the_first_state_the_same_command_works(nada, tmp_path):
    """A killed process releases its lock, and leaves the record that it had begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("of the user, before the run")
    (folder / "record.json").write_text('{"finished": false}')
    (folder / ".lock").touch()
    (folder / ".nada-x-1.json").touch()
    record = nada("adapt", *TEXTS, "--iterations", 1, "--layers", "all", "--out", folder)
    assert record["recipe"]["iterations_done"] == 1
    assert not (folder / ".lock").exists()
    (folder / "record.json").write_text('{"finished": false}')
    (folder / "photo_to_sketch.safetensors").touch()
    code, error = nada("adapt", *TEXTS, "--iterations", 1, "--out", folder)
    assert (code, "holds an earlier run" in error) == (2, True), "but results without a record are kept"


def test_a_run_is_not_resumed_while_another_command_works_in_its_folder(nada, tmp_path):
    nada("adapt", *TEXTS, "--iterations", 1, "--layers", "all", "--out", tmp_path / "run")
    with RunFolder(tmp_path / "run").alone():
        code, error = nada("adapt", "--resume", tmp_path / "run", "--iterations", 2)
        assert (code, "another command works in" in error) == (2, True)
    assert nada("adapt", "--resume", tmp_path / "run", "--iterations", 2)["recipe"]["iterations_done"] == 2
