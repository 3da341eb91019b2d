"""The rivals' plan, runs and records on tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benchmarks import kept
from benchmarks.rivals import methods, processes, runs, truth
from benchmarks.rivals.__main__ import main, show_plan
from benchmarks.rivals.methods import METHODS
from benchmarks.rivals.processes import DISCRIMINATORS
from benchmarks.rivals.runs import (
    LONGER_RUNS,
    OF_SAMPLES,
    OWN_STEPS,
    SEEDS,
    STEPS,
    TASKS,
    Bench,
    Run,
    left_to_do,
    planned,
)
from nada.checkpoint.discriminators import save_discriminator
from nada.checkpoint.saving import save_generator
from nada.demo.world import NAMES, parameters_from_latents
from nada.errors import NadaError
from nada.files import locked
from nada.photo.encoders.small import save_small_encoder
from nada.photo.project import ProjectConfig
from nada.pictures.convert import from_pil, to_pil
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
    for reference in ("frozen", "true drawings"):
        assert sum(r.method == reference for r in plan) == 3
    assert {(r.method, r.target) for r in plan if r.steps == 2400} == {*LONGER_RUNS}


@pytest.mark.parametrize("change", [{"steps": 30}, {"steps": 75}, {"own_steps": 10}, {"batch": 2}])
def test_other_runs_never_have_the_names_of_those_of_the_tables(change):
    usual = {"steps": STEPS, "own_steps": OWN_STEPS, "batch": 4}
    committed = {run.name: run for run in planned(**usual, seeds=SEEDS, targets=[*truth.TARGETS])}
    assert all(run.name.count("-") == 3 for run in committed.values() if run.times == 1)
    others = planned(**usual | change, seeds=SEEDS, targets=[*truth.TARGETS])
    assert len({run.name for run in others}) == len(others)
    for run in others:
        assert committed.get(run.name, run) == run


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
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else [])
        for name in ["TGAN", "RSSA", *TASKS]
        if name != "true drawings"  # these latents describe no individuals
    ],
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
    monkeypatch.setattr(bench, "result", lambda run, task, say: lambda z: copies[torch.arange(len(z)) % 2])
    assert bench.measure(run)["measures"]["memorised"] == 1.0


FROZEN = Run("frozen", "sketch", 0, 0, 0)


def reopened(bench: Bench, count: int | None = None) -> Bench:
    """A bench that reads the same files again."""
    return Bench(bench.folder, *bench.names, bench.file, count or bench.count)


@pytest.mark.parametrize("changed", ["generator", "recommended", "discriminator", "encoder", "true pictures"])
def test_results_of_other_models_do_not_count(bench, tiny, discriminator, encoder, changed, tmp_path, monkeypatch):
    bench.measure(FROZEN)
    with torch.no_grad():
        if changed == "generator":
            tiny.synthesis.b4.const.add_(1)
        elif changed == "recommended":
            tiny.metadata["recommended"] = {"learning_rate": 0.05}
        elif changed == "discriminator":
            discriminator.b4.out.bias.add_(1)
        elif changed == "encoder":
            next(encoder.parameters()).add_(1)
        else:
            monkeypatch.setattr(truth, "VERSION", truth.VERSION + 1)
    save_generator(tiny, tmp_path / "g.safetensors")
    save_discriminator(discriminator, tmp_path / "d.safetensors")
    save_small_encoder(encoder, tmp_path / "e.safetensors")
    other = reopened(bench)
    assert [*left_to_do(other, [FROZEN])] == [FROZEN]
    assert not other.images_file(FROZEN).is_file(), "the images are made again too"


@pytest.mark.parametrize("name", ["TGAN", "NADA"])
def test_results_of_another_version_of_a_method_do_not_count(bench, name, monkeypatch):
    run, of = Run(name, "sketch", 0, 0, 1), TASKS if name in TASKS else METHODS
    before = bench.images_file(run)
    monkeypatch.setitem(of, name, replace(of[name], source="another text"))
    assert bench.images_file(run) == before
    monkeypatch.setitem(of, name, replace(of[name], version=of[name].version + 1))
    assert bench.images_file(run) != before


def test_results_of_other_constants_do_not_count(bench, monkeypatch):
    run, method = Run("JoJoGAN", "sketch", 1, 0, 1), TASKS["JoJoGAN"]
    before = bench.images_file(run)
    monkeypatch.setitem(TASKS, "JoJoGAN", replace(method, constants=(*method.constants[:-1], 0.5)))
    assert bench.images_file(run) != before


def test_results_on_another_number_of_images_do_not_count(bench, monkeypatch):
    bench.measure(FROZEN)
    assert [*left_to_do(bench, [FROZEN])] == []
    assert [*left_to_do(reopened(bench, bench.count - 1), [FROZEN])] == [FROZEN]
    monkeypatch.setattr(runs, "limit", lambda run: 2)
    few, many = (reopened(bench, count) for count in (4, 5))
    assert few.images_file(FROZEN) == many.images_file(FROZEN), "a limited method makes the same images"
    few.measure(FROZEN)
    assert [*left_to_do(many, [FROZEN])] == [FROZEN], "but they are compared with more true pictures"


@pytest.mark.parametrize("changed", ["measures", "judgings", "judge"])
def test_a_change_of_the_measures_needs_no_new_training(bench, changed, tmp_path, monkeypatch):
    first = bench.measure(FROZEN)
    if changed == "judge":  # its description only, such as which parameters it can read
        with safe_open(runs.JUDGE, "pt") as file:
            text = {key: value.replace("readable", "readable?") for key, value in file.metadata().items()}
        save_file(load_file(runs.JUDGE), tmp_path / "judge.safetensors", text)
        monkeypatch.setattr(runs, "JUDGE", tmp_path / "judge.safetensors")
    else:
        module = runs.measures if changed == "measures" else runs.judging
        monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    monkeypatch.setattr(Bench, "make", lambda *_: pytest.fail("trained again"))
    other = reopened(bench)
    assert [*left_to_do(other, [FROZEN])] == [FROZEN]
    assert other.seconds(FROZEN) == 0
    if changed != "judge":
        again = other.measure(FROZEN)
        assert again["measures"] == first["measures"]
        assert again["processor seconds"] == first["processor seconds"]
        assert [*left_to_do(other, [FROZEN])] == []


def test_measured_images_are_those_of_picture_files():
    images = torch.rand(2, 3, 8, 8) * 2.4 - 1.2
    files = torch.cat([from_pil(picture) for picture in to_pil(images)])
    assert torch.allclose(kept.rounded(images), files, atol=1e-6)
    assert torch.equal(kept.rounded(kept.rounded(images)), kept.rounded(images))


def test_a_training_that_diverged_leaves_no_images(bench, monkeypatch):
    monkeypatch.setattr(bench, "result", lambda *_: lambda z: torch.full((len(z), 3, 16, 16), torch.nan))
    with pytest.raises(NadaError, match=f"the images of {FROZEN.name} are not finite"):
        bench.measure(FROZEN)
    assert not bench.images_file(FROZEN).is_file()


@pytest.mark.parametrize("name", ["frozen", "TGAN"])
def test_a_clock_counts_the_training_only_and_the_memory_is_taken_before_measuring(bench, name, monkeypatch):
    events = []

    def watch(place: object, call: str) -> None:
        original = getattr(place, call)
        monkeypatch.setattr(place, call, lambda *given: events.append(call) or original(*given))

    loading = {"load_generator", "load_clip", "load_discriminator", "load_small_encoder", "seen"}
    measuring = {"load_judge", "held_out"}
    for place, call in [
        *product([runs], loading - {"seen"} | {"load_judge", "peak_memory"}),
        *product([truth], ["seen", "held_out"]),
        (runs.time, "process_time"),
    ]:
        watch(place, call)
    reopened(bench).measure(Run(name, "sketch", 2 if name in METHODS else 0, 0, 1, batch=2))
    begin, end = (i for i, event in enumerate(events) if event == "process_time")
    assert loading <= {*events[:begin]}
    assert events[begin + 1 : end + 2] == ["process_time", "peak_memory"], "nothing is loaded within"
    assert measuring <= {*events[end:]}
    assert not measuring & {*events[:end]}


def test_a_projection_that_was_cached_counts_as_training(bench, monkeypatch):
    monkeypatch.setattr(runs, "PROJECTION", ProjectConfig(w_iterations=1, plus_iterations=1))
    run = Run("RSSA", "sketch", 2, 0, 1, batch=2)
    ws, seconds = bench.codes(run)
    assert seconds >= 0
    (file,) = bench.folder.glob("codes-*")
    kept.save({runs.TENSOR: ws}, {"seconds": 1000.0}, file)
    assert bench.measure(run)["processor seconds"] >= 1000
    assert bench._time(run)[0] >= 1000
    monkeypatch.setattr(truth, "VERSION", truth.VERSION + 1)
    bench.codes(run)
    assert len([*bench.folder.glob("codes-*")]) == 2, "codes of other pictures are others"


@pytest.mark.slow
def test_true_drawings_are_the_ceiling_and_the_frozen_generator_the_start(bench):
    demo = Bench(bench.folder, "demo", bench.names[1], "demo", DISCRIMINATORS["demo"], 8)
    start, ceiling = (demo.measure(Run(name, "sketch", 0, 0, 0))["measures"] for name in ("frozen", "true drawings"))
    assert start["distance to the truth"] == pytest.approx(1)
    assert start["identity kept"] == pytest.approx(1)
    assert start["target rate"] == 0
    assert ceiling["distance to the truth"] < 0.02
    assert ceiling["target rate"] == 1
    assert ceiling["Frechet distance"] < start["Frechet distance"]


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


def test_a_run_of_another_command_is_left_to_it(command, bench, monkeypatch):
    monkeypatch.setattr(processes, "_work", lambda args, run: pytest.fail("done twice at the same time"))
    with locked(bench.records / "frozen-sketch-0-0.lock"):
        command("run", "--only", "frozen-sketch-0-0")
    assert not (bench.records / "frozen-sketch-0-0.json").exists()


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
