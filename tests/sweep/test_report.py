"""Ids of jobs, and the report of a sweep: varied settings, earlier jobs, and damaged records."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from helpers.models import TINY, alive, moved
from PIL import Image

from nada.checkpoint import load_generator, save_generator
from nada.errors import UsageError
from nada.runs.folder import RunFolder
from nada.runs.results import command
from nada.sweep.jobs import Models, resolve
from nada.sweep.plan import Evaluation
from nada.sweep.report import Report, axes_of, load_rows, measures_of
from nada.sweep.state import Orders, is_measured, load_measures, record_failure, save_measures
from nada.sweep.work import Worker

SETTINGS = {"source": "photo", "target": "sketch", "iterations": 3}


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """A folder with a small generator, a copy of it, and another one."""
    folder, base = tmp_path_factory.mktemp("generators"), alive(TINY)
    save_generator(base, folder / "base.safetensors")
    save_generator(base, folder / "copy.safetensors")
    save_generator(moved(base), folder / "other.safetensors")
    return folder


@pytest.fixture(scope="module")
def jobs(clip_folder, generators):
    """Function that resolves combinations with a small generator."""
    models = Models(load_generator, torch.device("cpu"))

    def resolved(*combinations):
        shared = {"clip": str(clip_folder), "generator": str(generators / "base.safetensors"), **SETTINGS}
        return resolve([{**shared, **settings} for settings in combinations], models)

    return resolved


def test_an_id_is_everything_that_determines_the_result_and_nothing_else(jobs, generators):
    same = [{}, {"seed": 0}, {"generator": str(generators / "copy.safetensors")}, {"cuda_graphs": True}]
    assert len(jobs(*same)) == 1
    others = [{"seed": 1}, {"target": "glass"}, {"iterations": 4}, {"generator": str(generators / "other.safetensors")}]
    assert len({job.id for job in jobs({}, *others)}) == 5
    assert len({job.kind for job in jobs({}, {"target": "glass"}, {"source": "dog"})}) == 1
    assert len({job.kind for job in jobs({}, {"seed": 1})}) == 2


def test_an_id_holds_what_the_style_images_show_and_not_where_they_are(jobs, tmp_path):
    pictures = {"a": {"1": "red", "2": "blue"}, "b": {"x": "red", "y": "blue"}, "c": {"1": "red", "2": "tan"}}
    for folder, colors in pictures.items():
        (tmp_path / folder).mkdir()
        for name, color in colors.items():
            Image.new("RGB", (20, 16), color).save(tmp_path / folder / f"{name}.png")
    images = lambda *paths: {"target": "", "style_images": tuple(str(tmp_path / path) for path in paths)}
    same = jobs(images("a"), images("b"), images("a/1.png", "b/y.png"))
    assert len(same) == 1, "the same pictures in other files"
    shared = {"iterations": 3, "batch": 2}
    others = [{}, {"target": "sketch", "image_share": 0.5}, {"seed": 1}]
    found = jobs(*({**images("a"), **shared, **other} for other in others), {**images("a/1.png"), **shared}, shared)
    assert len({job.id for job in found}) == 5
    first, _, _, one_picture, text = found
    assert first.kind == one_picture.kind == text.kind, "they can train in lock-step"
    assert first.settings["style_images"] == str(tmp_path / "a")
    assert first.command.endswith(f"--style-images {tmp_path / 'a'}")
    assert jobs(images("c"))[0].id != same[0].id
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match=r"the job with .*none.*: there are no pictures"):
        jobs(images("none"))


def write_record(root, job, **changes):
    recipe = {**job.settings, "iterations_done": job.config.iterations, "clip": [], "base": ""}
    record = {"recipe": recipe, "generator": job.generator, "clip": job.clip, "seconds": 1.5, "finished": True}
    record |= {"losses": [{"directional": 0.5}] * job.config.iterations, **changes}
    folder = RunFolder(job.folder(root))
    folder.path.mkdir(parents=True)
    (folder.path / "record.json").write_text(json.dumps(record))
    return folder


def test_the_report_tells_what_is_done_failed_pending_and_earlier(jobs, tmp_path):
    done, failed, pending, earlier = jobs({}, {"target": "glass"}, {"target": "chalk"}, {"target": "ink"})
    measures = {"quality": {"mean": 0.25}}
    result = {"measures": measures, "setting": {"encoders": [{"name": "one"}]}}
    save_measures(write_record(tmp_path, done), result, done.config.iterations, end=True)
    write_record(tmp_path, earlier)
    folder = RunFolder(failed.folder(tmp_path))
    folder.path.mkdir(parents=True)
    record_failure(folder, "no memory")
    report = Report(tmp_path, [done, failed, pending], "title")
    report.save()
    rows = {row["settings"]["target"]: row for row in load_rows(tmp_path)}
    assert {target: row["status"] for target, row in rows.items()} == {
        "sketch": "done",
        "glass": "failed",
        "chalk": "pending",
        "ink": "done",
    }
    assert rows["sketch"]["measures"] == {"quality": 0.25}
    assert rows["glass"]["error"] == "no memory"
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["target"] for line in table] == ["sketch", "glass", "chalk", "ink"]
    assert [line["quality"] for line in table] == ["0.25", "", "", ""]
    assert "chalk" in (tmp_path / "index.html").read_text("utf-8")


DAMAGES = [{"losses": 3}, {"losses": [3]}, {"seconds": None, "losses": None}, {"losses": [{}, None]}]
DAMAGES += [{"generator": []}, {"losses": [{"directional": 10**15 * 10**4}, {"directional": "x"}]}]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_logged_and_stops_nothing(jobs, tmp_path, damage, caplog):
    (job,) = jobs({})
    write_record(tmp_path, job, **damage)
    report = Report(tmp_path, [job], "title")
    report.save()
    assert "cannot be used" in caplog.text
    assert "damaged" in load_rows(tmp_path)[0]["error"]


VALUES = [None, 5, -1, 0.5, True, "x", [], [1], {}, {"a": 1}, float("nan"), float("inf"), 10**400]


@pytest.mark.parametrize(
    "name",
    [
        *("iterations_done", "target", "seed"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("iterations", "source", "directional_weight")),
    ],
)
@pytest.mark.parametrize("value", VALUES)
def test_a_record_may_say_anything(jobs, tmp_path, name, value):
    """Whatever stands in it, of a present job and of an earlier one, the report is written."""
    present, earlier = jobs({}, {"target": "ink"})
    for job in (present, earlier):
        write_record(tmp_path, job, recipe={**job.settings, "iterations_done": 3, name: value})
    Report(tmp_path, [present], "title").save()
    assert {row["job"] for row in load_rows(tmp_path)} <= {present.id[:12], earlier.id[:12]}


@pytest.mark.parametrize("value", [value for value in VALUES if not isinstance(value, dict)])
@pytest.mark.parametrize(
    "damaged",
    [
        lambda value: value,
        lambda value: {"measures": value},
        lambda value: {"setting": value},
        lambda value: {"measures": {"quality": value}},
        lambda value: {"measures": {"quality": {"mean": [value]}}},
        lambda value: {"setting": {"encoders": [value]}},
    ],
)
def test_a_damaged_measurement_is_made_again(jobs, tmp_path, damaged, value):
    (job,) = jobs({})
    orders = Orders(tmp_path, evaluation=Evaluation({"count": 4}))
    folder = write_record(tmp_path, job)
    (folder.path / "evaluation.json").write_text(json.dumps(damaged(value)))
    assert load_measures(folder) == {}
    assert not is_measured(orders, job)
    assert measures_of(load_measures(folder)) == {}


def test_a_measure_that_is_no_number_is_none():
    assert measures_of({"measures": {"quality": {"mean": None}, "diversity": {"mean": 0.5}}}) == {"diversity": 0.5}


@pytest.mark.parametrize(
    "place", ["../other/", "jobs/../", "/tmp/x/", "jobs/a/../../b/", "C:/x/", "jobs\\x/", "jobs/x", ""]
)
def test_rows_that_lead_out_of_the_folder_are_not_read(tmp_path, place):
    row = {"folder": place, "status": "done", "job": "x", "settings": {}, "measures": {}}
    (tmp_path / "results.json").write_text(json.dumps({"jobs": [row, {**row, "folder": "jobs/x/"}, 3, {"folder": 1}]}))
    assert [found["folder"] for found in load_rows(tmp_path)] == ["jobs/x/"]
    (tmp_path / "results.json").write_text("[")
    assert load_rows(tmp_path) == []


@pytest.mark.parametrize("part", [{"settings": {"target": []}}, {"settings": 5}, {"measures": {"quality": "x"}}])
def test_rows_that_say_something_impossible_are_not_read(tmp_path, part):
    row = {"folder": "jobs/x/", "status": "done", "job": "x", "settings": {}, "measures": {"quality": 0.5}}
    (tmp_path / "results.json").write_text(json.dumps({"jobs": [{**row, **part}, row]}))
    assert load_rows(tmp_path) == [row]


def test_axes_are_what_differs_the_target_first():
    rows = [
        {"settings": {"source": s, "target": t, "seed": i, "batch": 2}} for i, (s, t) in enumerate(["ab", "cd", "ad"])
    ]
    assert axes_of(rows) == ["target", "seed", "source"]


def test_axes_are_the_same_before_and_after_jobs_are_done(resolved, models, tmp_path):
    """Automatic settings are no axis, although only jobs that are done know what these became."""
    wanted = ({"target": "sketch"}, {"target": "glass"}, {"target": "glass", "seed": 1, "views": 0})
    jobs = resolved(*({"iterations": 1, **settings} for settings in wanted))
    axes = []
    for done in range(len(jobs) + 1):
        axes.append(axes_of(Report(tmp_path, jobs, "title").rows()))
        Worker(models, Orders(tmp_path)).work(jobs[done : done + 1])
    assert axes == [["target", "views", "seed"]] * len(axes)
    rows = Report(tmp_path, jobs[:1], "title").rows()
    assert axes_of(rows) == axes[0], "also beside jobs that the sweep no longer describes"


def test_settings_that_follow_from_the_target_are_the_last_axes():
    targets = [("a", "x", "", "all"), ("b", "x", "b.png", "all"), ("c", "y", "c.png", "auto")]
    rows = [
        {"settings": {"source": source, "target": target, "layers": layers, "style_images": images, "seed": seed}}
        for target, source, images, layers in targets
        for seed in (0, 1)
    ]
    assert axes_of(rows) == ["target", "seed", "style_images", "source", "layers"]
    without_texts = [{"settings": {**row["settings"], "target": ""}} for row in rows]
    assert axes_of(without_texts) == ["style_images", "seed", "source", "layers"]


def test_measures_of_several_models_have_a_mean():
    found = {"one quality": {"mean": 0.25}, "two quality": {"mean": 0.75}, "target rate": {"mean": 1.0}}
    evaluation = {"measures": found, "setting": {"encoders": [{"name": "one"}, {"name": "two"}]}}
    assert measures_of(evaluation) == {"one quality": 0.25, "two quality": 0.75, "target rate": 1.0, "quality": 0.5}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"generator": "demo", "target": "sketch", "seed": 0}, "nada adapt --generator demo --target sketch"),
        ({"target": "3d render", "seed": -1}, 'nada adapt --target "3d render" --seed=-1'),
        ({"target": "-x; ls $(id)"}, "nada adapt --target='-x; ls $(id)'"),
        ({"generator": "-my gen.pkl", "target": "x"}, 'nada adapt --generator="-my gen.pkl" --target x'),
        ({"target": "a$b", "train_torgb": True}, "nada adapt --target 'a$b' --train-torgb"),
        ({"source": "", "target": "x", "layers": "all"}, "nada adapt --target x --layers all"),
    ],
)
def test_the_command_repeats_a_run(settings, words):
    assert command(settings) == words


def test_the_command_names_the_style_images():
    assert command({"target": ""}, ["a b.png", "c.png"]) == 'nada adapt --style-images "a b.png" c.png'


def test_measures_of_a_job_that_was_trained_further_are_not_shown(jobs, tmp_path):
    (job,) = jobs({})
    folder = write_record(tmp_path, job)
    result = {"measures": {"quality": {"mean": 0.25}}, "setting": {"encoders": [{"name": "one"}]}}
    save_measures(folder, result, job.config.iterations, end=True)
    rows = lambda: Report(tmp_path, [job], "title").rows()
    assert rows()[0]["measures"] == {"quality": 0.25}
    record = folder.record()
    record["recipe"]["iterations_done"] += 6
    (folder.path / "record.json").write_text(json.dumps(record))
    assert rows()[0]["measures"] == {}
    save_measures(folder, result, job.config.iterations + 6, end=True)
    assert rows()[0]["measures"] == {"quality": 0.25}
