"""Sweeps on the command line: finished jobs are skipped, failed ones do not stop the others, and results remain."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager

import pytest
import torch
from PIL import Image

from nada.adapt import Adaptation
from nada.cli.sweep import show
from nada.errors import BusyError, NadaError
from nada.measure import evaluate as measured
from nada.pictures import grids
from nada.runs.folder import RunFolder
from nada.styles.files import load_style
from nada.sweep.estimate import TILE_MIN
from nada.sweep.work import Worker

GLASS = "photo_to_glass.style.safetensors"
SHORT = ("--iterations", 2, "--source", "photo")


def folders(root):
    """{target and seed: folder} of the jobs of a sweep."""
    found = {}
    for path in (root / "jobs").iterdir():
        recipe = RunFolder(path).record().get("recipe", {})
        found[recipe.get("target"), recipe.get("seed")] = path
    return found


def test_a_sweep_repeats_nothing_and_adds_what_is_new(nada, trained, tmp_path):
    code, result, _ = nada("sweep", *SHORT, "--target", "sketch", "glass", "--seed", 0, 1, "--out", "s")
    assert (code, result["jobs"], result["failed"]) == (0, {"done": 4}, {})
    assert len(trained) == 8
    assert [entry[1] for entry in trained[:4]] == [0] * 4, "a first picture of every target comes before other seeds"
    trained.clear()
    assert nada("sweep", *SHORT, "--target", "sketch", "glass", "--seed", 0, 1, "--out", "s")[1]["jobs"] == {"done": 4}
    assert not trained
    assert nada("sweep", *SHORT, "--target", "sketch", "chalk", "--seed", 1, "--out", "s")[1]["jobs"] == {"done": 2}
    assert set(trained) == {("chalk", 1)}
    rows = json.loads((tmp_path / "s" / "results.json").read_text())["jobs"]
    assert len(rows) == 5, "what the description no longer has is still shown"
    assert (tmp_path / "s" / "results.csv").read_text().count("\n") == 6


@pytest.mark.slow
def test_a_job_is_the_run_of_nada_adapt(nada, tmp_path):
    nada("sweep", *SHORT, "--target", "sketch", "glass", "--keep", "generator", "--out", "s")
    nada("adapt", *SHORT, "--target", "glass", "--out", "alone")
    path = folders(tmp_path / "s")["glass", 0]
    names = {file.name for file in path.rglob("*")} ^ {file.name for file in (tmp_path / "alone").rglob("*")}
    assert names == {"index.html"}, "the sweep has one page for all"
    one, other = load_style(path / GLASS), load_style(tmp_path / "alone" / GLASS)
    assert all(torch.equal(delta, other.deltas[name]) for name, delta in one.deltas.items())
    record = RunFolder(path).record()
    assert record["losses"] == RunFolder(tmp_path / "alone").record()["losses"]
    assert nada("adapt", "--resume", path, "--iterations", 3)[0] == 0, "a job can be resumed as any run"
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    nada("sweep", *SHORT, "--target", "sketch", "glass", "--keep", "style", "--out", "s")
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}, "nothing is lost"


def draw(path, color):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (20, 16), color).save(path)


@pytest.mark.slow
def test_style_images_are_swept_as_texts_are(nada, trained, tmp_path):
    draw(tmp_path / "a.png", "red"), draw(tmp_path / "b" / "1.png", "blue"), draw(tmp_path / "b" / "2.png", "green")
    options = ("sweep", "--iterations", 3, "--style-images", "a.png", "b", "--out", "s", "--keep", "generator")
    assert nada(*options)[1]["jobs"] == {"done": 2}
    assert len(trained) == 6
    assert nada(*options)[1]["jobs"] == {"done": 2}
    assert len(trained) == 6, "nothing is repeated"
    report = json.loads((tmp_path / "s" / "results.json").read_text())
    rows = report["jobs"]
    assert report["axes"] == ["style_images"]
    assert [row["settings"]["style_images"] for row in rows] == ["a.png", "b"]
    nada("adapt", "--iterations", 3, "--style-images", "b", "--out", "alone")
    path = tmp_path / "s" / rows[1]["folder"]
    assert RunFolder(path).record()["losses"] == RunFolder(tmp_path / "alone").record()["losses"]
    one, other = (load_style(place / "style_images.style.safetensors") for place in (path, tmp_path / "alone"))
    assert all(torch.equal(delta, other.deltas[name]) for name, delta in one.deltas.items())
    assert rows[1]["command"].endswith("--style-images b")
    trained.clear()
    draw(tmp_path / "b" / "2.png", "white")
    assert nada(*options)[1]["jobs"] == {"done": 2}
    assert len(trained) == 3, "other pictures are another job"


@pytest.mark.slow
def test_pictures_that_change_during_a_sweep_are_not_taken_for_the_former_ones(nada, monkeypatch, tmp_path):
    draw(tmp_path / "a.png", "red")
    begin = Worker._begin

    def changed(worker, job):
        draw(tmp_path / "a.png", "blue")
        worker.models.style_images.cache_clear()  # as in another process
        return begin(worker, job)

    monkeypatch.setattr(Worker, "_begin", changed)
    options = ("sweep", "--iterations", 3, "--style-images", "a.png", "--out", "s")
    code, result, _ = nada(*options)
    assert (code, result["jobs"]) == (1, {"failed": 1})
    assert "are not those that the sweep began with" in next(iter(result["failed"].values()))
    assert nada(*options)[1]["jobs"] == {"done": 1}


@pytest.mark.parametrize("keep", ["style", pytest.param("none", marks=pytest.mark.slow)])
def test_only_what_is_to_stay_stays(nada, tmp_path, keep):
    nada("sweep", *SHORT, "--target", "sketch", "--keep", keep, "--out", "s")
    (path,) = (tmp_path / "s" / "jobs").iterdir()
    weights = {file.name for file in path.rglob("*.safetensors")}
    assert weights == ({"photo_to_sketch.style.safetensors"} if keep == "style" else set())
    assert not (path / "states").exists()
    assert (path / "before_after.png").is_file()


@pytest.mark.slow
def test_a_failure_does_not_stop_the_rest_unless_asked(nada, trained, tmp_path):
    code, result, _ = nada("sweep", *SHORT, "--target", "photo", "sketch", "--out", "s")
    assert (code, result["jobs"]) == (1, {"done": 1, "failed": 1})
    assert "mean the same" in next(iter(result["failed"].values()))
    assert set(trained) == {("sketch", 0)}
    trained.clear()
    code, _, error = nada("sweep", *SHORT, "--target", "photo", "glass", "--out", "s", "--stop-on-error")
    assert (code, "mean the same" in error, trained) == (2, True, [])


@pytest.mark.slow
def test_a_defect_costs_its_own_job_only(nada, monkeypatch):
    step = Adaptation.train_step
    broken = lambda run: step(run) if run.config.target == "sketch" else {}["missing"]
    monkeypatch.setattr(Adaptation, "train_step", broken)
    code, result, error = nada("sweep", *SHORT, "--target", "glass", "sketch", "--out", "s")
    assert (code, result["jobs"]) == (1, {"done": 1, "failed": 1})
    assert list(result["failed"].values()) == ["KeyError: 'missing'"]
    assert "Traceback" in error
    monkeypatch.setattr(Adaptation, "train_step", step)
    code, result, _ = nada("sweep", *SHORT, "--target", "glass", "sketch", "--out", "s")
    assert (code, result["jobs"], result["failed"]) == (0, {"done": 2}, {}), "a failed job is tried again"


def test_a_failure_is_forgotten_when_the_job_is_tried_again(nada, monkeypatch):
    options = ("sweep", *SHORT, "--target", "sketch", "--out", "s")
    step = Adaptation.train_step

    def broken(run):
        raise NadaError("the share was not reachable")

    def stopped(run):
        signal.raise_signal(signal.SIGINT)
        return step(run)

    monkeypatch.setattr(Adaptation, "train_step", broken)
    assert nada(*options)[1]["jobs"] == {"failed": 1}
    monkeypatch.setattr(Adaptation, "train_step", stopped)
    code, result, _ = nada(*options)
    assert (code, result["jobs"], result["failed"]) == (130, {"begun": 1}, {})


def test_ctrl_c_finishes_the_step_and_leaves_all_to_resume(nada, monkeypatch, tmp_path):
    options = (*SHORT, "--target", "sketch", "glass", "--keep", "generator", "--seed")
    nada("sweep", *options, 1, "--out", "whole")
    steps, train_step = [], Adaptation.train_step

    def pressed(run):
        steps.append(run.iteration)
        if len(steps) == 6:  # in the second pair
            signal.raise_signal(signal.SIGINT)
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", pressed)
        code, result, _ = nada("sweep", *options, 0, 1, "--out", "s")
    assert (code, result["interrupted"], result["jobs"]) == (130, True, {"done": 2, "begun": 2})
    assert len(steps) == 6
    assert nada("sweep", *options, 0, 1, "--out", "s")[1]["jobs"] == {"done": 4}
    for key, path in folders(tmp_path / "whole").items():
        one, other = (
            load_style(p / f"photo_to_{key[0]}.style.safetensors") for p in (path, folders(tmp_path / "s")[key])
        )
        assert all(torch.equal(delta, other.deltas[name]) for name, delta in one.deltas.items())


@pytest.mark.slow
def test_ctrl_c_ends_a_measurement_which_is_made_again(nada, trained, monkeypatch, tmp_path):
    (tmp_path / "s.yaml").write_text("evaluate: {count: 8, seeds: 1, batch: 2}")
    options = ("sweep", "s.yaml", *SHORT, "--target", "sketch", "glass", "--seed", 0, 1)
    nada(*options, "--out", "whole")
    trained.clear()
    made, generate = [], measured.generate

    def pressed(*args, progress, **others):
        def counted(images):
            made.append(images)
            if len(made) == 3:
                signal.raise_signal(signal.SIGINT)
            progress(images)

        return generate(*args, **others, progress=counted)

    with monkeypatch.context() as patch:
        patch.setattr(measured, "generate", pressed)
        code, result, _ = nada(*options, "--out", "s")
    assert (code, result["interrupted"], result["jobs"]) == (130, True, {"begun": 2, "pending": 2})
    assert (len(made), len(trained)) == (3, 4), "no other job is trained or measured"
    assert nada(*options, "--out", "s")[1]["jobs"] == {"done": 4}
    assert len(trained) == 8, "only the measurement is repeated"
    rows = [json.loads((tmp_path / name / "results.json").read_text())["jobs"] for name in ("whole", "s")]
    assert [row["measures"] for row in rows[0]] == [row["measures"] for row in rows[1]]


@pytest.mark.slow
def test_jobs_that_find_no_memory_together_train_alone(nada, monkeypatch):
    step, sizes = Adaptation.train_step, []

    def scarce(run):
        if run.frozen_side is not None and run.config.target == "glass":
            raise MemoryError
        sizes.append(run.config.target)
        return step(run)

    monkeypatch.setattr(Adaptation, "train_step", scarce)
    code, result, _ = nada("sweep", *SHORT, "--target", "sketch", "glass", "--out", "s")
    assert (code, result["jobs"]) == (0, {"done": 2})
    assert sizes == ["sketch"] * 2 + ["glass"] * 2


@pytest.mark.parametrize("beside", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_job_that_runs_out_of_memory_resumes_from_where_it_was(nada, monkeypatch, tmp_path, beside):
    """Alone it has failed, and the next sweep resumes it; beside others it resumes at once, on its own."""
    options = ("sweep", "--iterations", 5, "--source", "photo", "--snapshots", 1)
    targets = ("--target", "glass", *(["sketch"] if beside else []))
    nada(*options, "--target", "glass", "--out", "whole")
    step, done = Adaptation.train_step, []

    def scarce(run):
        if run.config.target == "glass":
            if run.iteration == 3 and done.count(3) == 0:
                done.append(3)
                raise MemoryError
            done.append(run.iteration)
        return step(run)

    monkeypatch.setattr(Adaptation, "spare_memory", lambda run: False)
    monkeypatch.setattr(Adaptation, "train_step", scarce)
    code, result, _ = nada(*options, *targets, "--out", "s")
    assert (code, result["jobs"]) == ((0, {"done": 2}) if beside else (1, {"failed": 1}))
    assert nada(*options, *targets, "--out", "s")[1]["jobs"] == {"done": len(targets) - 1}
    assert done == [0, 1, 2, 3, 3, 4], "no iteration is repeated"
    one, other = (load_style(folders(tmp_path / name)["glass", 0] / GLASS) for name in ("s", "whole"))
    assert all(torch.equal(delta, other.deltas[name]) for name, delta in one.deltas.items())


@pytest.mark.slow
def test_a_failure_that_stops_the_sweep_lets_the_others_resume(nada, monkeypatch):
    options = ("sweep", "--iterations", 4, "--source", "photo", "--snapshots", 1, "--target", "glass", "sketch")
    step, done = Adaptation.train_step, []

    def broken(run):
        if run.config.target == "sketch" and run.iteration == 2:
            raise NadaError("it has diverged")
        if run.config.target == "glass":
            done.append(run.iteration)
        return step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", broken)
        code, _, error = nada(*options, "--out", "s", "--stop-on-error")
    assert (code, "it has diverged" in error) == (1, True)
    monkeypatch.setattr(Adaptation, "train_step", lambda run: done.append(run.iteration) or step(run))
    assert nada(*options, "--out", "s")[1]["jobs"] == {"done": 2}
    assert sorted(done) == [0, 1, 2, 2, 3, 3], "no iteration is repeated"


def test_a_job_that_another_process_trains_is_left_alone(nada, trained, monkeypatch):
    @contextmanager
    def held(folder):
        raise BusyError(str(folder.path))
        yield

    monkeypatch.setattr(RunFolder, "alone", held)
    code, result, error = nada("sweep", *SHORT, "--target", "sketch", "--out", "s")
    assert (code, result["jobs"], trained) == (1, {"pending": 1}, []), "a script must not continue with results"
    assert "another process works on" in error
    assert "another process trains 1 of the jobs" in show(result)


@pytest.mark.slow
def test_results_are_measured_also_afterwards(nada, trained, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"evaluate": {"count": 4, "seeds": 1}, "name": "measured"}))
    nada("sweep", *SHORT, "--target", "sketch", "--out", "s")
    trained.clear()
    nada("sweep", "s.json", *SHORT, "--target", "sketch", "--out", "s")
    nada("sweep", "s.json", *SHORT, "--target", "sketch", "--out", "t")
    assert len(trained) == 2, "one of the two was there"
    one, other = (json.loads((tmp_path / name / "results.json").read_text())["jobs"][0] for name in "st")
    assert one["measures"].keys() >= {"quality", "diversity"}
    assert one["measures"] == other["measures"]


@pytest.mark.slow
def test_parts_together_are_the_whole(nada, trained, tmp_path):
    options = ("--target", "sketch", "glass", "chalk", "--out", "s", *SHORT)
    assert nada("sweep", *options, "--part", "2/2")[1]["jobs"] == {"done": 1}
    assert set(trained) == {("glass", 0)}
    assert nada("sweep", *options, "--part", "1/2")[1]["jobs"] == {"done": 2}
    assert nada("sweep", *options)[1]["jobs"] == {"done": 3}
    assert len(trained) == 6
    assert "--part is '3/2'" in nada("sweep", *options, "--part", "3/2")[2]


def test_a_dry_run_tells_time_and_disk_and_leaves_nothing(nada, tmp_path, monkeypatch):
    code, result, _ = nada("sweep", *SHORT, "--target", "sketch", "glass", "--dry-run", "--out", "s")
    assert code == 0
    assert [entry["status"] for entry in result["plan"]] == ["pending"] * 2
    assert result["seconds"] > 0
    assert not (tmp_path / "s").exists()
    monkeypatch.setattr(grids, "TILE_MIN", TILE_MIN)  # the usual size of pictures, which the estimate is for
    nada("sweep", *SHORT, "--target", "sketch", "--out", "s")
    taken = sum(file.stat().st_size for file in next((tmp_path / "s" / "jobs").iterdir()).rglob("*") if file.is_file())
    assert taken / 3 < result["plan"][0]["bytes"] < 3 * taken
    monkeypatch.setattr("nada.sweep.estimate.shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    code, _, error = nada("sweep", *SHORT, "--target", "glass", "--out", "s")
    assert (code, "free some space" in error) == (1, True)


def test_mistakes_name_the_job(nada):
    assert (
        "the job with source 'photo', target 'sketch', iterations 2"
        in nada("sweep", *SHORT, "--target", "sketch", "--layers", 40)[2]
    )
    for option in ("together", "snapshots", "workers"):
        for number in (0, -1, 99999999999):
            code, _, error = nada("sweep", *SHORT, "--target", "sketch", f"--{option}", number)
            assert (code, f"--{option} is {number}; it must be in 1.." in error) == (2, True)
    code, _, error = nada("sweep", *SHORT, "--target", "sketch", "--threads", 0)
    assert (code, "threads is 0; it must be in 1.." in error) == (2, True)


def test_a_sweep_file_among_the_targets_is_not_a_target(nada, trained, tmp_path):
    (tmp_path / "s.yaml").write_text("grid: {seed: [0, 1]}")
    code, _, error = nada("sweep", *SHORT, "--target", "sketch", "s.yaml", "--out", "s")
    assert (code, trained) == (2, [])
    assert "give the sweep file first" in error


def test_a_job_that_was_trained_further_is_measured_again(nada, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"evaluate": {"count": 4, "seeds": 1}, "keep": "generator"}))
    sweep = lambda: nada("sweep", "s.json", *SHORT, "--target", "sketch", "--learning-rate", 0.05, "--out", "s")
    row = lambda: json.loads((tmp_path / "s" / "results.json").read_text())["jobs"][0]
    sweep()
    first, (folder,) = row(), (tmp_path / "s" / "jobs").iterdir()
    nada("adapt", "--resume", folder, "--iterations", 6)
    sweep()
    assert row()["iterations_done"] == 6
    assert row()["measures"].keys() == first["measures"].keys()
    assert row()["measures"] != first["measures"]
