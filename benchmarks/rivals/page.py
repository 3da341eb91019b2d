"""Render the tables and pictures of docs/rivals.md from the records."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from math import log10
from statistics import mean
from typing import Any

from PIL import Image

from nada.pictures.grids import make_grid

from ..pages import grid, mean_cell
from . import methods, pictures, truth
from .runs import CURVE, CURVE_METHODS, IMAGES, PICTURES, TASKS, Bench, Run
from .sentences import NADA, REACHED, SENTENCES, STYLECLIP, Case, Row

COLUMNS = (
    ("target rate", 2),
    ("rest kept", 2),
    ("variety kept", 2),
    ("identity kept", 2),
    ("distance to the truth", 2),
    ("Frechet distance", 3),
    ("precision", 2),
    ("recall", 2),
    ("memorised", 2),
    ("intra-cluster distance", 2),
)
BEST, SMALLER = COLUMNS[:8], ("distance to the truth", "Frechet distance")  # measures to compare, and inverse ones
OWN = (NADA, "NADA images", "NADA images+style")
REFERENCES = ("frozen", "true drawings")  # start and ceiling of each measure, which are no rivals
SHOWN = ("target rate", "recall", "memorised", "Frechet distance")  # measures over the number of images
PLANE = ("target rate", "variety kept")  # measures of the plot of a target

Records = list[dict[str, Any]]
Results = dict[tuple[str, str], Row]
"""{(method, target): means over seeds}, for the rows of the tables."""
Groups = dict[tuple[str, str, int], Records]
"""{(target, method, images): records}."""


def rows_of(records: Records) -> Groups:
    """Group the records of the rows of the tables, without those of the curve: {(target, method, images): records}."""
    usual = {method.name: method.sees for method in TASKS.values()}
    return {key: rows for key, rows in grouped(records).items() if key[2] == usual.get(key[1], IMAGES)}


def grouped(records: Records) -> Groups:
    """Group records which differ in the seed, without longer runs: {(target, method, images): records}."""
    groups: Groups = {}
    for record in records:
        run = record["run"]
        if run["times"] == 1:
            groups.setdefault((run["target"], run["method"], run["images"]), []).append(record)
    return groups


def results_of(groups: Groups) -> Results:
    """Average rows over seeds: {(method, target): means}."""
    return {(method, target): _means(rows) for (target, method, _), rows in groups.items()}


def _means(rows: Records) -> Row:
    names = set.intersection(*(set(row["measures"]) for row in rows))
    return {name: mean(row["measures"][name] for row in rows) for name in names}


def sentences(records: Records) -> str:
    """Table of the paper's sentences, each with a mark and the number of true comparisons."""
    cases: list[Case] = [(*names, row) for names, row in results_of(rows_of(records)).items()]
    for record in records:
        if (run := Run(**record["run"])).times > 1:
            cases.append((run.method, run.target, record["measures"]))
    found = []
    for sentence in SENTENCES:
        words, true, count, left_out = sentence.mark(cases)
        found.append([sentence.says, words, f"{true} of {count}", str(left_out), sentence.means])
    return _grid(["sentence", "here", "true comparisons", "target not reached", "what is compared"], found)


def best(records: Records) -> str:
    """Table of the best rival for each measure and target, beside this project's methods.

    Only methods that reach the target are compared: an unchanged picture has the best variety.
    """
    reached = {names: row for names, row in results_of(rows_of(records)).items() if row["target rate"] >= REACHED}
    found = []
    for name, digits in BEST:
        for target in dict.fromkeys(target for _, target in reached):
            values = {method: row[name] for (method, of), row in reached.items() if of == target and name in row}
            if rivals := [method for method in values if method not in (*OWN, *REFERENCES)]:
                first = (min if name in SMALLER else max)(rivals, key=values.__getitem__)
                cells = [mean_cell([values.get(method)], digits) for method in (first, *OWN)]
                found.append([name, target, first, *cells])
    return _grid(["measure", "target", "best rival", "its value", *OWN], found)


def target_table(records: Records, target: str) -> str:
    """Table of all methods for a target: means over seeds, with half the 95 % interval."""
    titles, found = [name for name, _ in COLUMNS], []
    for (of, method, images), rows in rows_of(records).items():
        if of == target:
            cells = [mean_cell([row["measures"].get(name) for row in rows], digits) for name, digits in COLUMNS]
            seconds = mean(row["processor seconds"] for row in rows)
            memory = max(row["memory MB"] or 0 for row in rows)
            cells += [f"{seconds:.0f}", f"{memory:.0f}" if memory else "-"]
            found.append([method, str(images), str(len(rows)), *cells])
    return _grid(["method", "images", "runs", *titles, "processor s", "MB"], found)


def longer_table(records: Records) -> str:
    """Table of longer runs, each below the same run with the usual number of iterations."""
    measured = {Run(**record["run"]): record["measures"] for record in records}
    pairs = [(replace(run, steps=run.steps // run.times, times=1), run) for run in measured if run.times > 1]
    found = []
    for run in chain.from_iterable(pairs):
        if run in measured:
            cells = [mean_cell([measured[run].get(name)], digits) for name, digits in COLUMNS]
            found.append([run.target, run.method, str(run.steps), *cells])
    return _grid(["target", "method", "iterations", *(name for name, _ in COLUMNS)], found)


def curve_table(records: Records) -> str:
    """Table of a few methods over the number of images."""
    found = []
    for (target, method, images), rows in sorted(grouped(records).items()):
        if method in CURVE_METHODS and target in _curve_targets(records):
            digits = dict(COLUMNS)
            cells = [mean_cell([row["measures"].get(name) for row in rows], digits[name]) for name in SHOWN]
            found.append([target, method, str(images), str(len(rows)), *cells])
    return _grid(["target", "method", "images", "runs", *SHOWN], found)


def method_list(records: Records) -> str:
    """Table of all methods, with or without records: their papers, differences from them, and their tests."""
    found = [
        [method.name, method.source, ", ".join(f"`{name}`" for name in method.tests)]
        for method in (*TASKS.values(), *methods.METHODS.values())
    ]
    return _grid(["method", "paper, and differences from it", "checked by"], found)


def planes(records: Records) -> Image.Image | None:
    """Plot variety kept over the target rate, a plot for each target; None without records."""
    results, ticks = results_of(rows_of(records)), {f"{part / 5:g}": part / 5 for part in range(6)}
    colors = {method: 1 if method in OWN else 2 if method in STYLECLIP else 0 for method in (*TASKS, *methods.METHODS)}
    plots = []
    for target in dict.fromkeys(target for _, target in results):
        points = {
            method: [(row[PLANE[0]], row[PLANE[1]])]
            for (method, of), row in results.items()
            if of == target and row.keys() >= set(PLANE)
        }
        if points:
            plots.append(pictures.plot(target, points, *PLANE, ticks, colors))
    return pictures.side_by_side(plots) if plots else None


def curves(records: Records) -> Image.Image | None:
    """Plot the target rate and the recall over the number of images; None without records of the curve."""
    groups, counts = grouped(records), sorted({IMAGES, *CURVE})
    place = {count: log10(count / counts[0]) / log10(counts[-1] / counts[0]) for count in counts}
    colors, plots = {name: i for i, name in enumerate(CURVE_METHODS)}, []
    for target in _curve_targets(records):
        for measure in SHOWN[:2]:
            points = {
                name: [(place[n], _means(rows)[measure]) for n in counts if (rows := groups.get((target, name, n)))]
                for name in CURVE_METHODS
            }
            points = {name: path for name, path in points.items() if path}
            ticks = {str(count): x for count, x in place.items()}
            plots.append(pictures.plot(target, points, "number of images", measure, ticks, colors))
    return pictures.side_by_side(plots) if plots else None


def strips(bench: Bench, records: Records, target: str) -> Image.Image | None:
    """Stack true pictures that methods see, and the pictures of a target's methods; None without records."""
    firsts = {key[1]: Run(**rows[0]["run"]) for key, rows in rows_of(records).items() if key[0] == target}
    found = {method: bench.picture(run) for method, run in firsts.items()}
    opened = [(method, Image.open(picture)) for method, picture in found.items() if picture.is_file()]
    if not opened:
        return None
    seen = truth.seen(truth.TARGETS[target], PICTURES, 0, bench.base.config.resolution)
    return pictures.rows([(f"{PICTURES} of the {IMAGES} true pictures", make_grid(seen, columns=PICTURES)), *opened])


def _curve_targets(records: Records) -> list[str]:
    """Targets with records for other numbers of images."""
    found = grouped(records)
    return list(dict.fromkeys(t for t, method, images in found if method in CURVE_METHODS and images in CURVE))


def _grid(titles: list[str], rows: list[list[str]]) -> str:
    """Table in Markdown; "" without rows."""
    return grid(titles, rows) if rows else ""
