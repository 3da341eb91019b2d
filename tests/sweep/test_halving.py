"""Successive halving: the jobs that continue, the results of stopped ones, and the best styles of a sweep."""

from __future__ import annotations

import json

import pytest
import torch

from nada.errors import UsageError
from nada.runs.folder import RunFolder
from nada.styles.files import load_style
from nada.sweep.halving import Halving
from nada.sweep.ranking import Ranking

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
        (Ranking(), SAME, 2, ["a", "d"]),
        (Ranking(metric="diversity"), SAME, 1, ["c"]),
        (Ranking(min_diversity=0.3), SAME, 3, ["b", "c"]),
        (Ranking(min_diversity=0.9), SAME, 2, ["c"]),
        (Ranking(), PAIRS, 1, ["a", "d"]),
        (Ranking(among="all"), PAIRS, 1, ["d"]),
        (Ranking(), SAME, 0, ["d"]),
    ],
)
def test_the_best_are_good_and_varied(ranking, groups, count, best):
    assert ranking.best(MEASURES, groups, lambda found: count) == best


def test_unknown_measures_are_reported():
    with pytest.raises(UsageError, match="a has no measure 'beauty'; it has: diversity, quality"):
        Ranking(metric="beauty").best(MEASURES, SAME, len)


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
    assert "has no measure 'beauty'" in nada("sweep", "best", "s", "--metric", "beauty", "--out", "styles")[2]
    assert "has no results.json" in nada("sweep", "best", "styles", "--out", "styles")[2]
