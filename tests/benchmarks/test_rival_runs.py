"""The rivals' plan, runs and records on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.rivals import methods, runs, truth
from benchmarks.rivals.__main__ import main, show_plan
from benchmarks.rivals.methods import METHODS
from benchmarks.rivals.runs import LONGER_RUNS, OF_SAMPLES, TASKS, Bench, Run, left_to_do, planned
from nada.checkpoint.discriminators import save_discriminator
from nada.demo.world import NAMES, parameters_from_latents
from nada.photo.project import ProjectConfig
from nada.seeding import seeded

ROOT = Path(__file__).parents[2]


def test_the_plan_has_every_row_seed_by_seed():
    plan = planned(600, 150, 3, [*truth.TARGETS])
    assert len({run.name for run in plan}) == len(plan)
    seeds = [run.seed for run in plan if run.target == "glass"]
    assert seeds == sorted(seeds)
    for target in truth.TARGETS:
        for method in methods.METHODS:
            rows = [r for r in plan if (r.target, r.method, r.images, r.steps) == (target, method, 10, 600)]
            assert [r.seed for r in rows] == [0, 1, 2]
    assert {r.images for r in plan if r.target == "glass"} == {0, 1, 10}
    assert {r.images for r in plan if r.method in ("JoJoGAN", "DiFa")} == {1}
    assert {r.images for r in plan if r.method == "TGAN+ADA" and r.target == "pig"} == {1, 10, 100}
    assert {r.images for r in plan if r.method == "NADA"} == {0}
    assert sum(r.method == "frozen" for r in plan) == 3
    assert {(r.method, r.target) for r in plan if r.steps == 2400} == {*LONGER_RUNS}


ALIKE = {
    "frozen",
    "NADA images",
    "NADA images+style",
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
    monkeypatch.setattr(runs, "PROJECTION", ProjectConfig(w_iterations=2, plus_iterations=2))
    run = Run(name, "sketch", 2 if name in METHODS else min(TASKS[name].sees, 2), 0, 2, batch=2)
    record = bench.measure(run)
    assert {"target rate", "Frechet distance", "precision", "recall", "memorised"} <= record["measures"].keys()
    assert json.loads((bench.folder / f"{run.name}.json").read_text()) == record
    assert bench.picture(run).is_file()
    assert [*left_to_do(bench, [run])] == []
    longer = Run(name, "sketch", run.images, 0, 3, batch=2)
    assert [*left_to_do(bench, [longer])] == [longer]


def test_measures_of_few_images_leave_out_what_depends_on_their_number(bench, monkeypatch):
    monkeypatch.setattr(runs, "limit", lambda run: bench.count - 1)
    found = bench.measure(Run("frozen", "sketch", 0, 0, 0))["measures"]
    assert {"target rate", "precision", "memorised"} <= found.keys()
    assert not found.keys() & {*OF_SAMPLES}


def test_mirrored_copies_count_as_memorised_by_methods_that_mirror(bench, monkeypatch):
    run = Run("TGAN", "sketch", 2, 0, 2, batch=2)
    copies = bench.seen(run).flip(3)
    monkeypatch.setattr(bench, "result", lambda run, say: lambda z: copies[torch.arange(len(z)) % 2])
    assert bench.measure(run)["measures"]["memorised"] == 1.0


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


def test_training_pictures_of_more_begin_with_those_of_fewer():
    target = truth.TARGETS["pig"]
    few, many = (truth.seen(target, count, 1, 32) for count in (1, 3))
    assert torch.equal(many[:1], few)
    assert not torch.equal(truth.seen(target, 1, 2, 32), few)
    assert not torch.equal(truth.held_out(target, 1, 32), few)


def test_true_pictures_are_of_the_kind_that_the_generator_learned(monkeypatch):
    """Methods would learn from their few pictures what the generator cannot make, such as hats."""
    drawn = []
    monkeypatch.setattr(truth, "draw", lambda individuals, *_, **__: drawn.append(individuals) or torch.zeros(1))
    for target in truth.TARGETS.values():
        truth.seen(target, 10, 0, 32)
        truth.held_out(target, 100, 32)
    learned = parameters_from_latents(torch.randn(10_000, len(NAMES), generator=seeded(0)))
    for individuals in drawn:
        for name in NAMES:
            low, high = getattr(learned, name).aminmax()
            values = getattr(individuals, name)
            assert low - 0.01 <= values.min() <= values.max() <= high + 0.01, name
