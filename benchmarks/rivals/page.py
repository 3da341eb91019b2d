"""Write docs/rivals.md from the records: the table, the curve, and a mark for each claim of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from PIL import Image

from nada.files import atomic_path
from nada.measure.metrics import interval

from . import measures, methods, pictures
from .own import OPTIMIZED
from .runs import IMAGES, MEASURED, TASKS, Bench, Run

COLUMNS = (
    ("target rate", 2),
    ("variety kept", 2),
    ("identity kept", 2),
    ("distance to the truth", 2),
    ("Frechet distance", 3),
    ("precision", 2),
    ("recall", 2),
    ("memorised", 2),
    ("intra-cluster distance", 2),
)
OTHERS = ("TGAN", "FreezeD", "TGAN+ADA", "MineGAN", "CDC")  # methods with which the paper compares
STYLECLIP = ("StyleCLIP optimization", "StyleCLIP mapper", "StyleCLIP directions")
NADA = "NADA"
MEMORISED = 4 * measures.BY_CHANCE  # share of memorised images from which a result counts as overfitted
REACHED = 0.5  # target rate from which a target counts as reached
HOLDS, IN_PART = 0.9, 0.5  # shares of true comparisons for each mark

PLANE = {"target rate", "variety kept"}  # measures of the plot

Groups = dict[tuple[str, str, int], list[dict[str, Any]]]
"""{(target, method, images): records}."""
Results = dict[tuple[str, str], dict[str, float]]
"""{(method, target): means over seeds}, for the rows of the table."""


@dataclass(frozen=True)
class Sentence:
    """A claim of the paper as a set of comparisons."""

    says: str
    means: str
    """Description of the comparison."""
    comparisons: Callable[[Results], Iterable[bool]]

    def mark(self, results: Results) -> tuple[str, int, int]:
        """Mark ("holds", "holds in part" or "does not hold here"), number of true comparisons, and of all."""
        found = list(self.comparisons(results))
        share = mean(found) if found else 0.0
        words = "holds" if share >= HOLDS else "holds in part" if share >= IN_PART else "does not hold here"
        return (words if found else "not measured yet"), sum(found), len(found)


def _against(others: tuple[str, ...], true: Callable[[dict[str, float], dict[str, float]], bool]) -> Any:
    """Compare NADA with each of the others on each target by `true`, a function of NADA's measures and the other's."""

    def comparisons(results: Results) -> Iterable[bool]:
        for (method, target), other in results.items():
            if method in others and (NADA, target) in results:
                with suppress(KeyError):  # the judge does not know every target
                    yield true(results[NADA, target], other)

    return comparisons


SENTENCES = (
    Sentence(
        "Methods that see ten images overfit or collapse.",
        f"memorised at least {MEMORISED:.0%} of their images, or keep less variety than NADA",
        _against(
            OTHERS, lambda nada, other: other["memorised"] >= MEMORISED or other["variety kept"] < nada["variety kept"]
        ),
    ),
    Sentence(
        "MineGAN repeats the training set.",
        f"memorised at least {MEMORISED:.0%} of its images",
        _against(("MineGAN",), lambda nada, other: other["memorised"] >= MEMORISED),
    ),
    Sentence(
        "NADA keeps variety.",
        "keeps more variety than each of them",
        _against(OTHERS, lambda nada, other: nada["variety kept"] > other["variety kept"]),
    ),
    Sentence(
        "NADA has artefacts.",
        "has less precision than each of them",
        _against(OTHERS, lambda nada, other: nada["precision"] < other["precision"]),
    ),
    Sentence(
        "Only NADA reaches targets outside the domain, where StyleCLIP cannot.",
        f"reaches a target rate of {REACHED} where each of StyleCLIP's methods does not",
        _against(STYLECLIP, lambda nada, other: nada["target rate"] >= REACHED > other["target rate"]),
    ),
)


def write(bench: Bench, runs: list[Run], path: Path, command: str) -> None:
    """Write the page for all runs with a record."""
    records = [record for run in runs if (record := bench.record(run)) is not None]
    table = _rows_of_table(records)
    results = _results(table)
    points = {key: (m["target rate"], m["variety kept"]) for key, m in results.items() if m.keys() >= PLANE}
    if points:
        _save(pictures.plane(points), path, "plane")
    for target in dict.fromkeys(key[0] for key in table):
        firsts = {key[1]: Run(**found[0]["run"]) for key, found in table.items() if key[0] == target}
        found = {method: bench.picture(run) for method, run in firsts.items() if bench.picture(run).is_file()}
        strips = [(method, Image.open(picture)) for method, picture in found.items()]
        _save(pictures.rows(strips), path, target)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines(records, command)) + "\n", encoding="utf-8")


def _save(picture: Image.Image, path: Path, name: str) -> None:
    """Save a picture beside the page."""
    with atomic_path(path.with_name(f"{path.stem}_{name}.jpg")) as temporary:
        picture.save(temporary, "JPEG", quality=88)


def _rows_of_table(records: list[dict[str, Any]]) -> Groups:
    """{(target, method, images): records} of the rows of the table."""
    usual = {method.name: method.sees for method in TASKS.values()}
    return {key: rows for key, rows in _groups(records).items() if key[2] == usual.get(key[1], IMAGES)}


def _groups(records: list[dict[str, Any]]) -> Groups:
    groups: Groups = {}
    for record in records:
        run = record["run"]
        groups.setdefault((run["target"], run["method"], run["images"]), []).append(record)
    return groups


def _results(table: Groups) -> Results:
    return {(method, target): _means(rows) for (target, method, _), rows in table.items()}


def lines(records: list[dict[str, Any]], command: str) -> list[str]:
    """Render the page in Markdown."""
    table = _rows_of_table(records)
    return [
        "# NADA and its rivals",
        "",
        f"Written by `{command}`. Every method starts from the same generator and, where it has one, the same",
        "discriminator; the methods that train both have the same number of steps and see",
        f"{IMAGES} true pictures. The judge took part in no training, and distances are taken in the features of its",
        f"last layer. Each result is measured on {MEASURED} images; StyleCLIP's optimization, which takes many steps",
        f"for each image, on {OPTIMIZED}. Means over seeds, with half the 95 % interval. Of true pictures that no",
        f"method saw, {measures.BY_CHANCE:.0%} would count as memorised.",
        "",
        *_sentences(_results(table)),
        "![Target rate and variety kept of each method and target](rivals_plane.jpg)",
        "",
        *_table(table),
        *_curve(_groups(records)),
        *_methods(),
    ]


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    names = set.intersection(*(set(row["measures"]) for row in rows))
    return {name: mean(row["measures"][name] for row in rows) for name in names}


def _sentences(results: Results) -> list[str]:
    found = [
        "## What the paper says",
        "",
        "| sentence | here | comparisons | what is compared |",
        "| --- | --- | --- | --- |",
    ]
    for sentence in SENTENCES:
        words, true, count = sentence.mark(results)
        found.append(f"| {sentence.says} | {words} | {true} of {count} | {sentence.means} |")
    return [*found, ""]


def _table(table: Groups) -> list[str]:
    titles = [name for name, _ in COLUMNS]
    found = []
    for target in dict.fromkeys(key[0] for key in table):
        found += [f"## {target}", "", f"| method | images | runs | {' | '.join(titles)} | processor s | MB |"]
        found.append("| --- " * (len(titles) + 5) + "|")
        for (of, method, images), rows in table.items():
            if of == target:
                cells = [_cell([row["measures"].get(name) for row in rows], digits) for name, digits in COLUMNS]
                seconds = mean(row["processor seconds"]["training"] for row in rows)
                memory = max(row["memory MB"] or 0 for row in rows)
                cells += [f"{seconds:.0f}", f"{memory:.0f}" if memory else "-"]
                found.append(f"| {method} | {images} | {len(rows)} | {' | '.join(cells)} |")
        found += ["", f"![One row of pictures of each method for the target {target}](rivals_{target}.jpg)", ""]
    return found


def _curve(groups: Groups) -> list[str]:
    found = [
        "## Over the number of images",
        "",
        "| target | method | images | runs | target rate | recall | memorised |",
    ]
    found.append("| --- " * 7 + "|")
    for (target, method, images), rows in sorted(groups.items()):
        if images:
            cells = [
                _cell([row["measures"].get(name) for row in rows], 2) for name in ("target rate", "recall", "memorised")
            ]
            found.append(f"| {target} | {method} | {images} | {len(rows)} | {' | '.join(cells)} |")
    return [*found, ""]


def _methods() -> list[str]:
    found = ["## The methods", ""]
    for method in (*TASKS.values(), *methods.METHODS.values()):
        found.append(f"- **{method.name}**: {method.source}")
    return found


def _cell(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    found = interval(known)
    half = f" +- {found['high'] - found['mean']:.{digits}f}" if "high" in found else ""
    return f"{found['mean']:.{digits}f}{half}"
