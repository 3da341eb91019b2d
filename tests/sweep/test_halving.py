"""Successive halving: the jobs that continue, the results of stopped ones, and the best styles of a sweep."""

from __future__ import annotations

import json

import pytest
import torch

from nada.errors import NadaError, UsageError
from nada.runs.folder import RunFolder
from nada.runs.result_folder import LOCK
from nada.styles.files import load_style
from nada.sweep import work
from nada.sweep.halving import Halving, train_best
from nada.sweep.local import LocalEngine
from nada.sweep.plan import Evaluation
from nada.sweep.ranking import Ranking
from nada.sweep.state import DONE, STOPPED, Orders, is_measured, status
from nada.sweep.work import Watch, Worker

MEASURES = {
    "a": {"quality": 0.3, "diversity": 0.1},
    "b": {"quality": 0.2, "diversity": 0.5},
    "c": {"quality": 0.1, "diversity": 0.6},
    "d": {"quality": 0.4, "diversity": 0.2},
}
SAME, PAIRS = dict.fromkeys(MEASURES, ""), {"a": "x", "b": "x", "c": "y", "d": "y"}


@pytest.mark.parametrize(
    ("ranking", "groups", "count", "best"),
    [
        (Ranking(), SAME, 2, ["d", "a"]),
        (Ranking(metric="diversity"), SAME, 1, ["c"]),
        (Ranking(min_diversity=0.3), SAME, 3, ["b", "c"]),
        (Ranking(min_diversity=0.9), SAME, 2, ["c"]),
        (Ranking(), PAIRS, 1, ["a", "d"]),
        (Ranking(among="all"), PAIRS, 1, ["d"]),
        (Ranking(), SAME, 0, ["d"]),
    ],
)
def test_the_best_are_good_and_varied(ranking, groups, count, best):
    assert ranking.best(MEASURES, groups, SAME, lambda found: count) == best


def test_the_smallest_distance_to_the_truth_is_the_best():
    distances = {name: {"distance to the truth": found["quality"]} for name, found in MEASURES.items()}
    assert Ranking("distance to the truth").best(distances, SAME, SAME, lambda found: 2) == ["c", "b"]


def test_unknown_measures_are_reported():
    with pytest.raises(UsageError, match="no job has a measure 'beauty'; they have: diversity, quality"):
        Ranking(metric="beauty").best(MEASURES, SAME, SAME, lambda found: found)
    assert Ranking(metric="beauty").best({}, {}, {}, lambda found: found) == []


@pytest.mark.parametrize("groups", [SAME, PAIRS])
@pytest.mark.parametrize(("lacking", "ranking"), [("quality", Ranking()), ("diversity", Ranking(min_diversity=0.05))])
def test_who_lacks_a_measure_is_left_out(groups, lacking, ranking, caplog):
    others = {name: value for name, value in MEASURES["b"].items() if name != lacking}
    assert sorted(ranking.best({**MEASURES, "b": others}, groups, SAME, lambda found: found)) == ["a", "c", "d"]
    assert f"b has no measure '{lacking}'" in caplog.text


@pytest.mark.parametrize(
    ("share", "at", "words"),
    [
        ("1/3", None, "at is missing"),
        (None, "50", "keep_best is missing"),
        ("3/2", "50", "between 0 and 1"),
        ("1/0", "50", "must be a share and iterations"),
        ("1/3", "100,50", "rising order"),
        (0.5, [0, 50], "rising order"),
        ("1e999999999", "50", "must be a share and iterations"),
        ("1/" + "9" * 5000, "50", "must be a share and iterations"),
        (float("nan"), "50", "must be a share and iterations"),
        ("1/3", [float("inf")], "must be a share and iterations"),
        ("1/3", "9" * 5000, "must be a share and iterations"),
    ],
)
def test_mistakes_are_explained(share, at, words):
    with pytest.raises(UsageError, match=words):
        Halving.parse(share, at)


@pytest.fixture
def orders(tmp_path, monkeypatch):
    """Orders to compare jobs of five iterations after the second, by the seed instead of a measurement."""

    def measure(generator, clip, config, *others):
        recipe = generator.metadata["styles"][-1]["recipe"]
        measured.append((recipe["seed"], recipe["iterations_done"], generator.fingerprint()))
        setting = vars(config) | {"encoders": []}
        return {"measures": {"quality": {"mean": float(recipe["seed"])}}, "setting": setting}

    measured: list[tuple[int, int, str]] = []
    monkeypatch.setattr(work, "evaluate", measure)
    orders = Orders(tmp_path, evaluation=Evaluation({"count": 4}), rungs=(2,), snapshots=1)
    return orders, measured


def train_until(models, orders, jobs, iteration):
    """Train jobs until an interrupt after an iteration; 0 trains nothing."""
    done = []
    watch = Watch(stepped=lambda job, number, loss: done.append(number), stop=lambda: done[-1] == iteration)
    for job in jobs if iteration else ():
        Worker(models, orders, watch).work([job])


@pytest.mark.parametrize("before", [2, 4, *(pytest.param(before, marks=pytest.mark.slow) for before in (0, 1, 3, 5))])
def test_a_job_is_compared_by_its_generator_of_that_iteration_wherever_it_was(
    resolved, models, orders, before, tmp_path
):
    (job,), (orders, measured) = resolved({"target": "sketch", "iterations": 5, "seed": 1}), orders
    straight = Orders(tmp_path / "straight", evaluation=orders.evaluation, rungs=(2,))
    Worker(models, straight).work([job], 2)
    train_until(models, orders, [job], before)
    assert status(orders.folder(job), 5) != DONE
    Worker(models, orders).work([job], 2)
    assert is_measured(orders, job, 2)
    first, second = measured
    assert first == second == (1, 2, first[2])
    Worker(models, orders).work([job])
    assert status(orders.folder(job), 5) == DONE, "it continues from where it was"


def test_a_job_beyond_a_comparison_without_a_snapshot_of_it_continues_uncompared(resolved, models, orders):
    jobs, (orders, measured) = (
        resolved(*({"target": "sketch", "iterations": 5, "seed": seed} for seed in range(4))),
        orders,
    )
    without = Orders(orders.root, evaluation=orders.evaluation, snapshots=1)
    train_until(models, without, jobs[:1], 3)
    train_best(jobs, LocalEngine(models, orders, Watch(), 4), orders, Halving.parse("1/3", [2]), lambda: False)
    assert [status(orders.folder(job), 5) for job in jobs] == [DONE, STOPPED, STOPPED, DONE]
    assert [entry[:2] for entry in measured] == [(1, 2), (2, 2), (3, 2), (0, 5), (3, 5)]


def contents(folder):
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("begun", [1, *(pytest.param(begun, marks=pytest.mark.slow) for begun in (0, 4))])
def test_nothing_is_compared_while_another_process_works_on_a_job(resolved, models, orders, begun):
    jobs, (orders, _) = resolved(*({"target": "sketch", "iterations": 5, "seed": seed} for seed in range(3))), orders
    train_until(models, orders, jobs[:1], begun)
    held, before = orders.folder(jobs[0]), contents(orders.folder(jobs[0]))
    compare = lambda: train_best(
        jobs, LocalEngine(models, orders, Watch(), 4), orders, Halving.parse("1/3", [2]), lambda: False
    )
    before[held.path / LOCK] = b""
    with held.alone():
        with pytest.raises(NadaError, match="another process works on 1 of the jobs"):
            compare()
        Worker(models, orders).save_stopped(jobs[0])
        assert contents(held) == before
    assert STOPPED not in [status(orders.folder(job), 5) for job in jobs], "nobody is stopped"
    compare()
    assert [status(orders.folder(job), 5) for job in jobs] == [STOPPED, STOPPED, DONE]


def test_results_that_another_process_saved_meanwhile_are_not_replaced(resolved, models, orders):
    (job,), (orders, _) = resolved({"target": "sketch", "iterations": 2}), orders
    Worker(models, orders).work([job])
    before = contents(orders.folder(job))
    Worker(models, orders).save_stopped(job)
    assert contents(orders.folder(job)) == before


def test_a_target_that_has_no_measure_ends_no_other(resolved, models, orders, monkeypatch, caplog):
    wanted = [{"target": target, "iterations": 5, "seed": seed} for target in ("sketch", "zebra") for seed in (0, 1)]
    jobs, (orders, _) = resolved(*wanted), orders
    evaluate = work.evaluate

    def judged(generator, clip, config, *others):
        result = evaluate(generator, clip, config, *others)
        if config.target == "sketch":
            result["measures"]["target rate"] = result["measures"]["quality"]
        return result

    monkeypatch.setattr(work, "evaluate", judged)
    halving = Halving.parse("1/2", [2], metric="target rate")
    train_best(jobs, LocalEngine(models, orders, Watch(), 4), orders, halving, lambda: False)
    states = {(job.config.target, job.config.seed): status(orders.folder(job), 5) for job in jobs}
    assert states["sketch", 0] == STOPPED
    assert states["sketch", 1] == DONE
    left_out = [job.folder_name for job in jobs if job.config.target == "zebra"]
    assert all(f"{name} has no measure 'target rate'" in caplog.text for name in left_out)


def test_the_better_half_continues(nada, trained, tmp_path):
    (tmp_path / "s.yaml").write_text("evaluate: {count: 4, seeds: 1}\nkeep: style")
    grid = ("--target", "sketch", "--source", "photo", "--iterations", 2, "--seed", 0, 1)
    halved = ("sweep", "s.yaml", *grid, "--keep-best", "1/2", "--at", 1, "--out", "s")
    code, result, _ = nada(*halved)
    assert (code, result["jobs"]) == (0, {"done": 1, "stopped": 1})
    assert len(trained) == 2 * 1 + 1 * 1
    quality = {}
    for row in json.loads((tmp_path / "s" / "results.json").read_text())["jobs"]:
        found = json.loads((tmp_path / "s" / row["folder"] / "evaluation_00001.json").read_text())
        quality[row["iterations_done"]] = found["measures"]["quality"]["mean"]
    assert quality[2] >= quality[1]
    trained.clear()
    assert nada(*halved)[1]["jobs"] == {"done": 1, "stopped": 1}
    assert not trained, "decisions are made again from what was measured"


@pytest.mark.slow
def test_what_does_not_come_along_is_stopped_and_can_be_resumed_exactly(nada, trained, tmp_path):
    (tmp_path / "s.yaml").write_text("evaluate: {count: 4, seeds: 1}\nkeep: style")
    options = ("sweep", "s.yaml", "--target", "sketch", "--source", "photo", "--iterations", 3, "--seed", 0, 1, 2, 3)
    halved = (*options, "--keep-best", "1/2", "--at", "1,2", "--out", "s")
    code, result, _ = nada(*halved)
    assert (code, result["jobs"]) == (0, {"done": 1, "stopped": 3})
    assert len(trained) == 4 * 1 + 2 * 1 + 1 * 1
    rows = json.loads((tmp_path / "s" / "results.json").read_text())["jobs"]
    assert sorted(row["iterations_done"] for row in rows) == [1, 1, 2, 3]
    first = [json.loads((tmp_path / "s" / row["folder"] / "evaluation_00001.json").read_text()) for row in rows]
    quality = [found["measures"]["quality"]["mean"] for found in first]
    assert {i for i, row in enumerate(rows) if row["iterations_done"] > 1} == {
        i for i, value in enumerate(quality) if value >= sorted(quality)[2]
    }
    trained.clear()
    assert nada(*halved)[1]["jobs"] == {"done": 1, "stopped": 3}
    assert not trained, "decisions are made again from what was measured"
    assert nada(*options, "--out", "s")[1]["jobs"] == {"done": 4}
    assert len(trained) == 1 + 2 + 2
    nada(*options[:-2], "--out", "whole")  # two seeds: one of them was stopped
    for path in (tmp_path / "whole" / "jobs").iterdir():
        one, other = (
            load_style(p / "photo_to_sketch.style.safetensors") for p in (path, tmp_path / "s" / "jobs" / path.name)
        )
        assert all(torch.equal(delta, other.deltas[name]) for name, delta in one.deltas.items())
        assert RunFolder(path).record()["losses"] == RunFolder(tmp_path / "s" / "jobs" / path.name).record()["losses"]


@pytest.mark.slow
def test_the_best_styles_are_copied_and_nothing_is_replaced(nada, tmp_path):
    (tmp_path / "s.yaml").write_text("evaluate: {count: 4, seeds: 1}")
    grid = ("--target", "sketch", "glass", "--seed", 0, 1, "--source", "photo", "--iterations", 2)
    nada("sweep", "s.yaml", *grid, "--out", "s")
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "glass.safetensors").write_text("mine")
    code, result, _ = nada("sweep", "best", "s", "--metric", "quality", "--out", "styles")
    assert (code, [style["target"] for style in result["styles"]]) == (0, ["sketch", "glass"])
    assert sorted(path.name for path in (tmp_path / "styles").iterdir()) == [
        "glass-2.safetensors",
        "glass.safetensors",
        "sketch.safetensors",
    ]
    assert load_style(tmp_path / "styles" / "sketch.safetensors").recipe["target"] == "sketch"
    rows = {row["job"]: row for row in json.loads((tmp_path / "s" / "results.json").read_text())["jobs"]}
    for style in result["styles"]:
        rivals = [row["measures"]["quality"] for row in rows.values() if row["settings"]["target"] == style["target"]]
        assert style["quality"] == max(rivals)
    nada("sweep", "best", "s", "--out", "styles")
    assert len(list((tmp_path / "styles").iterdir())) == 3, "what was copied before is there"
    assert "no job has a measure 'beauty'" in nada("sweep", "best", "s", "--metric", "beauty", "--out", "styles")[2]
    assert "has no results.json" in nada("sweep", "best", "styles", "--out", "styles")[2]


def test_only_measures_of_one_scale_are_compared(caplog):
    """Measures by different CLIP models differ for the same images."""
    assert Ranking().best(MEASURES, SAME, PAIRS, lambda found: 1) == ["a", "d"]
    assert Ranking(among="all").best(MEASURES, SAME, PAIRS, lambda found: 1) == ["a", "d"]
    assert caplog.text.count("measured by different CLIP models") == 2
    caplog.clear()
    Ranking().best(MEASURES, PAIRS, PAIRS, lambda found: 1)
    assert not caplog.text, "other targets are never compared"


def test_jobs_that_differ_in_clip_are_each_compared_with_their_own(resolved, models, orders, monkeypatch):
    evaluate, (orders, _) = work.evaluate, orders
    named = lambda clip: {"encoders": [{"name": clip}]}

    def measure(generator, clip, config, *others):
        found = evaluate(generator, clip, config, *others)
        return found | {"setting": found["setting"] | named(generator.metadata["styles"][-1]["recipe"]["batch"] * "x")}

    monkeypatch.setattr(work, "evaluate", measure)
    settings = ({"target": "sketch", "iterations": 5, "seed": seed, "batch": 1 + seed % 2} for seed in range(4))
    jobs = resolved(*settings)  # the batch stands for the CLIP models
    train_best(jobs, LocalEngine(models, orders, Watch(), 4), orders, Halving.parse("1/2", [2]), lambda: False)
    assert [status(orders.folder(job), 5) for job in jobs] == [STOPPED, STOPPED, DONE, DONE]
