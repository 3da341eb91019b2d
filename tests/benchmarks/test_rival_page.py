"""The tables and plots of docs/rivals.md."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.scripts import importable
from PIL import Image

from benchmarks.rivals import page, pictures
from benchmarks.rivals.methods import METHODS
from benchmarks.rivals.runs import STEPS, TASKS, Run, usual_steps
from benchmarks.rivals.sentences import OTHERS, SENTENCES, STYLECLIP

ROOT = Path(__file__).parents[2]


def record(method: str, target: str, images: int, steps: int | None = None, times: int = 1, **values: float) -> dict:
    numbers = {name: 0.5 for name, _ in page.COLUMNS} | {name.replace("_", " "): v for name, v in values.items()}
    run = Run(method, target, images, 0, times * usual_steps(method) if steps is None else steps, times=times)
    return {"run": asdict(run), "measures": numbers, "processor seconds": 10.0, "memory MB": 100}


def test_the_sentences_are_marked_by_comparisons():
    records = [record("NADA", "pig", 0, target_rate=0.9, variety_kept=0.8, precision=0.1)]
    records += [record(name, "pig", 10, variety_kept=0.4, memorised=0.1) for name in OTHERS if name != "MineGAN"]
    records += [record("MineGAN", "pig", 10, variety_kept=0.9, memorised=0.3)]
    records += [record(name, "pig", 0, target_rate=0.1) for name in STYLECLIP[:2]]
    records += [record(STYLECLIP[2], "pig", 0, target_rate=0.8)]
    text = page.sentences(records)
    assert "overfit. | does not hold here | 1 of 5 | 0 |" in text
    assert "collapse. | holds in part | 4 of 5 | 0 |" in text
    assert "training set. | holds | 1 of 1 | 0 |" in text
    assert "keeps variety. | holds in part | 4 of 5 | 0 |" in text
    assert "has artefacts. | holds | 5 of 5 | 0 |" in text
    assert "cannot. | holds in part | 2 of 3 | 0 |" in text
    assert "| CDC | 10 | 1 | 0.50 | 0.50 | 0.40 |" in page.target_table(records, "pig")
    assert page.target_table(records, "sketch") == ""
    assert "not measured yet" in page.sentences([])
    longer = record("TGAN", "pig", 10, times=4, variety_kept=0.4, memorised=0.9)
    assert "overfit. | does not hold here | 2 of 6 |" in page.sentences([*records, longer])


def marks(records: list[dict]) -> dict[str, tuple[str, int, int, int]]:
    """The mark of each sentence, and its numbers of comparisons."""
    cases = [(*names, row) for names, row in page.results_of(page.rows_of(records)).items()]
    return {sentence.says: sentence.mark(cases) for sentence in SENTENCES}


@pytest.mark.parametrize("reached", [{}, {"NADA"}, {*OTHERS}])
def test_sentences_say_nothing_of_results_that_do_not_show_the_target(reached):
    """Unchanged photos do not overfit, keep all variety, and look less like the target than anything."""
    records = [
        record(name, "pig", 0 if name in TASKS else 10, target_rate=0.9 if name in reached else 0.4)
        for name in ("NADA", *OTHERS, *STYLECLIP)
    ]
    found = marks(records)
    alone = [found.pop(says) for says in [*found] if "Only NADA" in says]
    assert alone == [("holds", 3, 3, 0) if "NADA" in reached else ("does not hold here", 0, 3, 0)]
    assert {mark[:3] for mark in found.values()} == {("no comparison", 0, 0)}
    assert [mark[3] for mark in found.values()] == [5, 5, 1, 5, 5]


def test_sentences_count_the_comparisons_that_are_left_out():
    records = [record("NADA", "pig", 0, target_rate=0.9)]
    records += [record(name, "pig", 10, memorised=1.0, target_rate=0.9 if name == "CDC" else 0.1) for name in OTHERS]
    assert marks(records)["Methods that see ten images overfit."] == ("holds", 1, 1, 4)
    assert "overfit. | holds | 1 of 1 | 4 |" in page.sentences(records)


def test_references_are_rows_and_no_rivals():
    records = [record(name, "pig", 0, target_rate=1.0, recall=1.0) for name in page.REFERENCES]
    assert page.best(records) == ""
    text = page.best([*records, record("CDC", "pig", 10, recall=0.1)])
    assert "| recall | pig | CDC | 0.10 |" in text
    for name in page.REFERENCES:
        assert f"| {name} | 0 | 1 | 1.00 |" in page.target_table(records, "pig")


def test_an_interval_needs_three_runs():
    records = [record("CDC", "pig", 10, recall=value) for value in (0.2, 0.3, 0.4)]
    cells = [page.target_table(records[:count], "pig").splitlines()[2].split(" | ")[10] for count in (1, 2, 3)]
    assert cells == ["0.20", "0.25", "0.30 +- 0.25"]


def test_a_mean_that_rounds_to_zero_has_no_sign():
    records = [record("CDC", "pig", 10, recall=value) for value in (-0.004, 0.003)]
    assert page.target_table(records, "pig").splitlines()[2].split(" | ")[10] == "0.00"


def test_the_best_rival_is_one_that_reaches_the_target():
    records = [
        record("NADA", "pig", 0, distance_to_the_truth=0.3),
        record("NADA images", "pig", 10, target_rate=0.4, distance_to_the_truth=0.2),
        record("JoJoGAN", "pig", 1, target_rate=0.1, distance_to_the_truth=0.1, variety_kept=1.0),
        record("CDC", "pig", 10, distance_to_the_truth=0.6, variety_kept=0.9),
        record("EWC", "pig", 10, distance_to_the_truth=0.4, variety_kept=0.7),
    ]
    text = page.best(records)
    assert "| distance to the truth | pig | EWC | 0.40 | 0.30 | - | - |" in text
    assert "| variety kept | pig | CDC | 0.90 |" in text
    assert "JoJoGAN" not in text


def test_other_numbers_of_images_are_points_of_the_curve_and_no_rows():
    records = [
        record("TGAN+ADA", "pig", count, target_rate=share) for count, share in ((1, 0.1), (10, 0.6), (100, 0.9))
    ]
    records += [record("TGAN+ADA", "glass", 10)]
    assert page.target_table(records, "pig").count("| TGAN+ADA |") == 1
    table = page.curve_table(records)
    assert [line.split(" | ")[2] for line in table.splitlines()[2:]] == ["1", "10", "100"]
    assert page.curves(records) is not None
    assert page.curves(records[-1:]) is None
    assert page.planes(records).width > page.planes(records[:3]).width, "one plot for each target"
    assert page.planes([]) is None


def test_methods_with_more_steps_than_others_have_rows():
    records = [record("JoJoGAN", "pig", 1)]
    assert records[0]["run"]["steps"] > STEPS
    assert "| JoJoGAN | 1 | 1 |" in page.target_table(records, "pig")
    assert page.longer_table(records) == ""


def test_longer_runs_have_a_table_of_their_own():
    records = [record("TGAN", "pig", 10, target_rate=0.2), record("TGAN", "pig", 10, times=4, target_rate=0.7)]
    records += [record("CDC", "pig", 10)]
    assert "| TGAN | 10 | 1 | 0.20 |" in page.target_table(records, "pig")
    lines = page.longer_table(records).splitlines()[2:]
    assert [line.split(" | ")[:4] for line in lines] == [
        ["| pig", "TGAN", str(STEPS), "0.20"],
        ["| pig", "TGAN", str(4 * STEPS), "0.70"],
    ]


def test_longer_runs_of_a_trial_are_no_rows():
    records = [record("TGAN", "pig", 10, 30, target_rate=0.2), record("TGAN", "pig", 10, 120, 4, target_rate=0.7)]
    assert "| TGAN | 10 | 1 | 0.20 |" in page.target_table(records, "pig")
    lines = page.longer_table(records).splitlines()[2:]
    assert [line.split(" | ")[2:4] for line in lines] == [["30", "0.20"], ["120", "0.70"]]


@pytest.mark.slow
def test_a_target_has_a_picture_of_every_method(bench):
    runs = [Run("frozen", "sketch", 0, 0, 0), Run("TGAN", "sketch", 10, 0, 1, batch=2), Run("TGAN", "pig", 1, 0, 1)]
    records = [bench.measure(run) for run in runs]
    whole = page.strips(bench, records, "sketch")
    with Image.open(bench.folder / "frozen-sketch-0-0.jpg") as one:
        assert whole.height == 3 * (one.height + pictures.LABEL), "both methods, below the true pictures"
    assert page.strips(bench, records, "pig") is None, "a point of the curve is no row"


def test_every_method_has_its_source_and_its_checks_on_the_page():
    text = page.method_list([])
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parents[1].rglob("test_*.py"))
    for method in (*METHODS.values(), *TASKS.values()):
        assert f"| {method.name} | {method.source} |" in text
        assert method.tests, method.name
        for name in method.tests:
            assert f"`{name}`" in text
            assert f"def {name}(" in tests, f"there is no test {name}"


@pytest.mark.parametrize("heights", [[10.0], [10, 10, 10], [0, 90, 91, 92], [99, 99, 99, 99], [5, 30, 60]])
def test_labels_do_not_overlap_and_stay_in_the_plot(heights):
    moved = pictures.spread(heights, 15, 100)
    assert len(moved) == len(heights)
    assert all(b - a >= 15 for a, b in pairwise(moved))
    assert max(moved) <= 100
    if all(b - a >= 15 for a, b in pairwise(heights)):
        assert moved == heights


def test_a_plot_shows_the_points_where_they_are():
    drawn = pictures.plot("title", {"a": [(0.5, 0.25)]}, "x", "y", {"0": 0.0}, {"a": 0})
    x, y = pictures.MARGIN + pictures.SIDE // 2, pictures.MARGIN + pictures.SIDE * 3 // 4
    assert np.array_equal(np.asarray(drawn)[y, x], pictures.CURVES[0])


def test_the_tables_measure_the_runs_of_their_target(monkeypatch, tmp_path):
    with importable(ROOT / "benchmarks"):
        import rivals_tables
        from pages import Options

        done = []
        monkeypatch.setattr(rivals_tables, "do", lambda args, bench, run: done.append(run) or True)
        options = Options(tmp_path, seeds=1)
        names = [*rivals_tables.TABLES[2].measure(options)]
        assert names == [run.name for run in done]
        assert {run.target for run in done} == {"sketch"}
        assert [*rivals_tables.TABLES[-1].measure(options)] == []
        assert rivals_tables.TABLES[2].show(options).text == ""
        assert rivals_tables.TABLES[-1].show(options).text.startswith("## The methods")
