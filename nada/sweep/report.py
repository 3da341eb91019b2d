"""Write the report of a sweep: index.html, results.json and results.csv, from the folders of its jobs."""

from __future__ import annotations

import csv
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoint.metadata import NUMBER, fits, read_json_file, strict_json
from ..files import atomic_path
from ..pictures.page import render
from ..runs.folder import RunFolder
from ..runs.result_folder import FINISHED, PAGE
from ..runs.results import summary
from .jobs import JOBS, Job
from .plan import AIMS, METRICS
from .state import DONE, FAILED, PLANNED, STOPPED, failure, final_measures, measured_scale, status

RESULTS, TABLE = "results.json", "results.csv"
SETTLED = (DONE, STOPPED)
SCALE = "measured_by"  # key, in a row, of how it was measured; see `measured_scale`
FACTS = ("status", "iterations_done", "loss", "seconds", "folder", "error")  # columns besides settings and measures
PLAIN = lambda value: not isinstance(value, (dict, list))
ROW = {  # schema of rows in results.json
    "folder": lambda value: isinstance(value, str) and bool(re.fullmatch(rf"{JOBS}/(?!\.+/)[^/\\:]+/", value)),
    "status": str,
    "job": str,
    "settings": {str: PLAIN},
    "measures": {str: NUMBER},
    f"{SCALE}?": str,
}
SUMMARY = {"settings": {str: PLAIN}, "iterations_done": int, "seconds": NUMBER}  # schema of a `summary`
PAUSE = 20  # the next report waits 20 times as long as writing one took, so that reports cost at most 5 % of the time
Row = dict[str, Any]
log = logging.getLogger(__name__)


class Report:
    """Report with a row for each job of a sweep, and for earlier jobs whose results are still in its folder.

    Args:
        root: folder of the sweep.
        jobs: jobs of the current description.
        title: heading of the page.
        metrics: measures to show.
    """

    def __init__(self, root: Path, jobs: Sequence[Job], title: str, metrics: Sequence[str] = METRICS):
        self.root, self.jobs, self.title, self.metrics = root, jobs, title, tuple(metrics)
        self._known: dict[str, Row] = {}  # cached rows of settled jobs, whose folders are read only once
        self._earlier = _earlier(root, {job.folder_name for job in jobs})
        self._not_before = 0.0

    def update(self, job: Job) -> None:
        """Drop the cached row of a job, so that the next `save` reads its folder again."""
        self._known.pop(job.folder_name, None)

    def rows(self) -> list[Row]:
        """Rows of all jobs in order, then of earlier jobs; see `page.render`."""
        found = [self._row(job.folder_name, job) for job in self.jobs]
        return found + [self._row(name, None) for name in self._earlier]

    def _row(self, name: str, job: Job | None) -> Row:
        """Row of a folder, cached once the job is settled; `job` is None for earlier jobs."""
        if name not in self._known:
            row = _row(self.root, name, job)
            if row["status"] not in SETTLED:
                return row
            self._known[name] = row
        return self._known[name]

    def refresh(self) -> None:
        """Write the report, unless it was written recently (see `PAUSE`)."""
        if (began := time.monotonic()) >= self._not_before:
            self.save()
            now = time.monotonic()
            self._not_before = now + PAUSE * (now - began)

    def save(self) -> None:
        """Write index.html, results.json and results.csv, each atomically.

        Raises:
            NadaError: a file cannot be written.
        """
        rows = self.rows()
        axes = axes_of(rows)
        metrics = [name for name in self.metrics if any(name in row["measures"] for row in rows)]
        page = strict_json({"rows": rows, "axes": axes, "metrics": metrics})
        told = [{name: value for name, value in row.items() if name != "curve"} for row in rows]
        results = {"name": self.title, "axes": axes, "jobs": told}
        for name, text in ((PAGE, render(self.title, page)), (RESULTS, strict_json(results, indent=1))):
            with atomic_path(self.root / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        with atomic_path(self.root / TABLE) as temporary:
            _write_table(rows, temporary)


def load_rows(root: Path) -> list[Row]:
    """Read the rows of a sweep from its results.json; [] if it is missing or unreadable."""
    return [row for row in read_json_file(root / RESULTS, {"jobs": list}).get("jobs", []) if fits(row, ROW)]


def axes_of(rows: Sequence[Row]) -> list[str]:
    """Settings in which jobs differ: the target first, then those with the most values.

    Settings that follow from the target come last, such as the source, or what a pair sets.
    """
    values: dict[str, set[Any]] = {}
    for row in rows:
        for name, value in row["settings"].items():
            values.setdefault(name, set()).add(value)
    varied = [name for name, found in values.items() if len(found) > 1]
    first = next((aim for aim in AIMS if aim in varied), "")
    pairs = lambda name: {(row["settings"].get(first), row["settings"].get(name)) for row in rows}
    follows = {name for name in varied if name != first and len(pairs(name)) == len(pairs(first))}
    return sorted(varied, key=lambda name: (name != first, name in follows, -len(values[name])))


def measures_of(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Extract {measure: mean} from a result of `evaluate`, with averages of measures by several CLIP models."""
    found = {name: entry["mean"] for name, entry in evaluation.get("measures", {}).items() if NUMBER(entry["mean"])}
    models = [entry["name"] for entry in evaluation.get("setting", {}).get("encoders", ())]
    if len(models) > 1:
        names = {name.removeprefix(f"{model} ") for model in models for name in found if name.startswith(f"{model} ")}
        for name in sorted(names):
            values = [found[f"{model} {name}"] for model in models if f"{model} {name}" in found]
            found[name] = sum(values) / len(values)
    return found


def _earlier(root: Path, present: Iterable[str]) -> list[str]:
    """Names of job folders with results that the sweep no longer describes."""
    folders = sorted(path.name for path in (root / JOBS).glob("*") if path.name not in present)
    return [name for name in folders if _has_results(RunFolder(root / JOBS / name).record())]


def _has_results(record: Mapping[str, Any]) -> bool:
    recipe = record.get("recipe")
    return bool(record.get(FINISHED)) and isinstance(recipe, dict) and {"iterations_done", "target"} <= recipe.keys()


def _row(root: Path, name: str, job: Job | None) -> Row:
    """Read the row of a job from its folder."""
    place = f"{JOBS}/{name}/"
    folder = RunFolder(root / JOBS / name)
    record = folder.record()
    planned = job.config.iterations if job else record["recipe"].get("iterations")
    iterations = planned if type(planned) is int else 0
    row: Row = {"job": name.partition("-")[0], "status": status(folder, iterations), "folder": place, "measures": {}}
    row |= {"settings": job.settings if job else {}, "command": job.command if job else ""}
    if row["status"] == FAILED:
        return row | {"error": failure(folder)}
    if row["status"] in SETTLED or job is None:
        try:
            told = summary(record, place)
            # A recipe has what automatic settings became, which jobs that are not done do not know.
            planned = job.settings if job else record.get(PLANNED, told["settings"])
            if not (fits(told, SUMMARY) and fits(planned, SUMMARY["settings"])):
                raise ValueError("it says something impossible")
            found = final_measures(folder)
            return row | told | {"settings": planned, "measures": measures_of(found), SCALE: measured_scale(found)}
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            log.warning("the record of %s cannot be used: %r", name, error)
            return row | {"error": "its record is damaged; delete its folder to train it again"}
    return row


def _write_table(rows: Sequence[Row], path: Path) -> None:
    settings = list(dict.fromkeys(name for row in rows for name in row["settings"]))
    measures = list(dict.fromkeys(name for row in rows for name in row["measures"]))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["job", *settings, *FACTS, *measures])
        for row in rows:
            values = [row["settings"].get(name) for name in settings] + [row.get(name) for name in FACTS]
            writer.writerow([row["job"], *values, *(row["measures"].get(name) for name in measures)])
