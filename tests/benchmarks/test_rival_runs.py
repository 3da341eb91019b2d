"""The rivals' plan, runs, records and page on tiny networks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.rivals import methods, one_image, page, truth
from benchmarks.rivals.__main__ import main, show_plan
from benchmarks.rivals.methods import METHODS
from benchmarks.rivals.runs import TASKS, Bench, Run, left_to_do, planned
from nada.checkpoint.discriminators import save_discriminator
from nada.checkpoint.saving import save_generator
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig, save_small_encoder
from nada.photo.project import ProjectConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(tiny, discriminator, clip_folder, tmp_path, monkeypatch) -> Bench:
    save_generator(tiny, tmp_path / "g.safetensors")
    save_discriminator(discriminator, tmp_path / "d.safetensors")
    encoder = SmallEncoder(SmallEncoderConfig(16, (8, 8), 8, tiny.num_ws, 6))
    save_small_encoder(encoder, tmp_path / "e.safetensors")
    names = (str(tmp_path / "g.safetensors"), str(clip_folder), str(tmp_path / "e.safetensors"))
    return Bench(tmp_path / "runs", *names, tmp_path / "d.safetensors", 6)


def test_the_plan_has_every_row_seed_by_seed():
    runs = planned(600, 150, 3, [*truth.TARGETS])
    assert len({run.name for run in runs}) == len(runs)
    seeds = [run.seed for run in runs if run.target == "glass"]
    assert seeds == sorted(seeds)
    for target in truth.TARGETS:
        for method in methods.METHODS:
            assert sum((r.target, r.method, r.images) == (target, method, 10) for r in runs) == 3
    assert {r.images for r in runs if r.target == "glass"} == {0, 1, 10}
    assert {r.images for r in runs if r.method in ("JoJoGAN", "DiFa")} == {1}
    assert {r.images for r in runs if r.method == "CDC" and r.target == "pig"} == {1, 10, 100}
    assert {r.images for r in runs if r.method == "NADA"} == {0}
    assert sum(r.method == "frozen" for r in runs) == 3


ALIKE = {
    "frozen",
    "NADA images",
    "JoJoGAN",
    "StyleCLIP optimization",
    "StyleCLIP directions",
    "StyleCLIP mapper",
    "DiFa",
    "RSSA",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in ["TGAN", "RSSA", *TASKS]],
)
def test_a_run_leaves_a_record_and_is_not_done_again(bench, name, monkeypatch):
    monkeypatch.setattr(one_image, "PROJECTION", ProjectConfig(w_iterations=2, plus_iterations=2))
    run = Run(name, "sketch", 2 if name in METHODS else min(TASKS[name].sees, 2), 0, 2, batch=2)
    record = bench.measure(run)
    assert {"target rate", "Frechet distance", "precision", "recall", "memorised"} <= record["measures"].keys()
    assert json.loads((bench.folder / f"{run.name}.json").read_text()) == record
    assert bench.picture(run).is_file()
    assert [*left_to_do(bench, [run])] == []
    longer = Run(name, "sketch", run.images, 0, 3, batch=2)
    assert [*left_to_do(bench, [longer])] == [longer]


@pytest.mark.slow
def test_results_of_other_models_do_not_count(bench, discriminator, tmp_path):
    run = Run("frozen", "sketch", 0, 0, 0)
    bench.measure(run)
    with torch.no_grad():
        discriminator.b4.out.bias.add_(1)
    save_discriminator(discriminator, tmp_path / "d.safetensors")
    other = Bench(bench.folder, *bench.names, bench.file, bench.count)
    assert [*left_to_do(other, [run])] == [run]


def test_the_plan_tells_its_time(bench, capsys, monkeypatch):
    monkeypatch.setattr(Bench, "_time", lambda self, run: (60.0, 35.4))
    runs = planned(100, 50, 1, ["glass"])
    show_plan(bench, runs, runs, hours=1)
    text = capsys.readouterr().out
    assert "TGAN                       1 runs    100 steps    1.00 h" in text
    assert f"{len(runs)} of {len(runs)} runs are left" in text
    assert "that is more than 1 hours" in text
    monkeypatch.setattr(Bench, "_time", lambda self, run: pytest.fail("timed again"))
    show_plan(bench, runs, runs, hours=1000)


def test_a_missing_discriminator_is_trained_once(tiny, bench):
    fresh = Bench(bench.folder, *bench.names, None, 4)
    said = []
    fresh.prepare(3, said.append)
    assert fresh.discriminator.config.resolution == 16
    fresh.prepare(3, lambda text: pytest.fail("trained again"))
    assert len(said) == 1


def record(method: str, target: str, images: int, **values: float) -> dict:
    numbers = {name: 0.5 for name, _ in page.COLUMNS} | {name.replace("_", " "): v for name, v in values.items()}
    run = {"method": method, "target": target, "images": images}
    return {"run": run, "measures": numbers, "processor seconds": {"training": 10.0}, "memory MB": 100.0}


def test_the_page_marks_the_sentences():
    records = [record("NADA", "pig", 0, target_rate=0.9, variety_kept=0.8, precision=0.1)]
    records += [record(name, "pig", 10, variety_kept=0.4, memorised=0.1) for name in page.OTHERS if name != "MineGAN"]
    records += [record("MineGAN", "pig", 10, variety_kept=0.9, memorised=0.1)]
    records += [record(name, "pig", 0, target_rate=0.1) for name in page.STYLECLIP[:2]]
    records += [record(page.STYLECLIP[2], "pig", 0, target_rate=0.8)]
    text = "\n".join(page.lines(records, "the command"))
    assert "collapse. | holds in part | 4 of 5 |" in text
    assert "training set. | does not hold here | 0 of 1 |" in text
    assert "keeps variety. | holds in part | 4 of 5 |" in text
    assert "has artefacts. | holds | 5 of 5 |" in text
    assert "cannot. | holds in part | 2 of 3 |" in text
    assert "| CDC | 10 | 1 | 0.50 | 0.40 |" in text
    assert "not measured yet" in "\n".join(page.lines([], "the command"))


@pytest.mark.slow
def test_the_page_has_a_picture_of_every_method(bench, tmp_path):
    runs = [Run("frozen", "sketch", 0, 0, 0), Run("TGAN", "sketch", 10, 0, 1, batch=2), Run("TGAN", "pig", 1, 0, 1)]
    for run in runs:
        bench.measure(run)
    page.write(bench, runs, tmp_path / "rivals.md", "the command")
    text = (tmp_path / "rivals.md").read_text()
    for name in re.findall(r"\((rivals_.*?)\)", text):
        assert Image.open(tmp_path / name).width > 100
    assert "(rivals_sketch.jpg)" in text
    assert "(rivals_pig.jpg)" not in text, "a point of the curve is no row"
    with Image.open(tmp_path / "rivals_sketch.jpg") as whole, Image.open(bench.folder / "frozen-sketch-0-0.jpg") as one:
        assert whole.height == 2 * (one.height + 20)


def test_every_method_has_its_source_on_the_page():
    text = "\n".join(page.lines([], "x"))
    for method in (*METHODS.values(), *TASKS.values()):
        assert f"**{method.name}**" in text


@pytest.fixture
def command(bench, monkeypatch):
    """Run the benchmark's command with tiny models."""
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return lambda *words: main([words[0], *options(bench), *words[1:]])


def options(bench: Bench) -> list[str]:
    """Options of the benchmark's command for tiny models."""
    generator, clip, encoder = bench.names
    models = ["--generator", generator, "--clip", clip, "--encoder", encoder, "--discriminator", str(bench.file)]
    return ["--folder", str(bench.folder), "--records", str(bench.folder), "--count", "6", *models]


def test_a_missing_run_is_reported(command):
    with pytest.raises(SystemExit, match="there is no run 'x'"):
        command("run", "--only", "x")


@pytest.mark.slow
def test_the_command_does_what_is_left_in_processes_of_their_own(command, bench, tmp_path, capsys):
    words = ["run", *options(bench), "--only", "frozen-sketch-0-0"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rivals", *words], cwd=ROOT, check=True, stderr=subprocess.PIPE, text=True
    )
    assert "frozen-sketch-0-0: run 1 of 1" in done.stderr
    assert (bench.folder / "frozen-sketch-0-0.json").is_file()
    command("run", "--only", "frozen-sketch-0-0")
    assert "run 1 of 1" not in capsys.readouterr().err
    command("plan", "--only", "frozen-sketch-0-0")
    assert "0 of 1 runs are left" in capsys.readouterr().out
    command("page", "--page", str(tmp_path / "rivals.md"))
    assert "| frozen | 0 | 1 |" in (tmp_path / "rivals.md").read_text()


def test_training_pictures_of_more_begin_with_those_of_fewer():
    target = truth.TARGETS["pig"]
    few, many = (truth.seen(target, count, 1, 32) for count in (1, 3))
    assert torch.equal(many[:1], few)
    assert not torch.equal(truth.seen(target, 1, 2, 32), few)
    assert not torch.equal(truth.held_out(target, 1, 32), few)
