"""Ids of jobs, and the report of a sweep: varied settings, earlier jobs, and damaged records."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from helpers.models import alive, moved

from nada.checkpoint import load_generator, save_generator
from nada.runs.folder import RunFolder
from nada.runs.results import command
from nada.stylegan2 import GeneratorConfig
from nada.sweep.jobs import Models, resolve
from nada.sweep.report import Report, axes_of, load_rows, measures_of
from nada.sweep.state import record_failure, save_measures

SETTINGS = {"source": "photo", "target": "sketch", "iterations": 3}


@pytest.fixture
def jobs(clip_folder, tmp_path):
    """Function that resolves combinations with a small generator."""
    base = alive(GeneratorConfig(16, (24, 20, 16), z_dim=16, w_dim=16, mapping_layers=2))
    save_generator(base, tmp_path / "base.safetensors")
    save_generator(base, tmp_path / "copy.safetensors")
    save_generator(moved(base), tmp_path / "other.safetensors")
    models = Models(load_generator, torch.device("cpu"))

    def resolved(*combinations):
        shared = {"clip": str(clip_folder), "generator": str(tmp_path / "base.safetensors"), **SETTINGS}
        return resolve([{**shared, **settings} for settings in combinations], models)

    return resolved


def test_an_id_is_everything_that_determines_the_result_and_nothing_else(jobs, tmp_path):
    same = [{}, {"seed": 0}, {"generator": str(tmp_path / "copy.safetensors")}, {"cuda_graphs": True}]
    assert len(jobs(*same)) == 1
    others = [{"seed": 1}, {"target": "glass"}, {"iterations": 4}, {"generator": str(tmp_path / "other.safetensors")}]
    assert len({job.id for job in jobs({}, *others)}) == 5
    assert len({job.kind for job in jobs({}, {"target": "glass"}, {"source": "dog"})}) == 1
    assert len({job.kind for job in jobs({}, {"seed": 1})}) == 2


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
    save_measures(write_record(tmp_path, done), {"measures": measures, "setting": {"encoders": [{"name": "one"}]}})
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


@pytest.mark.parametrize(
    "damage", [{"losses": 3}, {"losses": [3]}, {"seconds": None, "losses": None}, {"losses": [{}, None]}]
)
def test_a_damaged_record_is_logged_and_stops_nothing(jobs, tmp_path, damage, caplog):
    (job,) = jobs({})
    write_record(tmp_path, job, **damage)
    report = Report(tmp_path, [job], "title")
    report.save()
    assert "cannot be used" in caplog.text
    assert "damaged" in load_rows(tmp_path)[0]["error"]


def test_rows_that_lead_out_of_the_folder_are_not_read(tmp_path):
    row = {"folder": "../other/", "status": "done", "job": "x", "settings": {}, "measures": {}}
    (tmp_path / "results.json").write_text(json.dumps({"jobs": [row, {**row, "folder": "jobs/x/"}, 3, {"folder": 1}]}))
    assert [found["folder"] for found in load_rows(tmp_path)] == ["jobs/x/"]
    (tmp_path / "results.json").write_text("[")
    assert load_rows(tmp_path) == []


def test_axes_are_what_differs_the_target_first():
    rows = [
        {"settings": {"source": s, "target": t, "seed": i, "batch": 2}} for i, (s, t) in enumerate(["ab", "cd", "ad"])
    ]
    assert axes_of(rows) == ["target", "seed", "source"]


def test_measures_of_several_models_have_a_mean():
    found = {"one quality": {"mean": 0.25}, "two quality": {"mean": 0.75}, "target rate": {"mean": 1.0}}
    evaluation = {"measures": found, "setting": {"encoders": [{"name": "one"}, {"name": "two"}]}}
    assert measures_of(evaluation) == {"one quality": 0.25, "two quality": 0.75, "target rate": 1.0, "quality": 0.5}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"generator": "demo", "target": "sketch", "seed": 0}, "nada adapt --generator demo --target sketch"),
        ({"target": "3d render", "seed": -1}, 'nada adapt --target "3d render" --seed=-1'),
        ({"target": "a$b", "train_torgb": True}, "nada adapt --target 'a$b' --train-torgb"),
        ({"source": "", "target": "x", "layers": "all"}, "nada adapt --target x --layers all"),
    ],
)
def test_the_command_repeats_a_run(settings, words):
    assert command(settings) == words


def test_the_command_names_the_style_images():
    assert command({"target": ""}, ["a b.png", "c.png"]) == 'nada adapt --style-images "a b.png" c.png'
