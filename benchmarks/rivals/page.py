"""docs/rivals.md, written from the records: the table, the curve, and the paper's sentences with a mark each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from nada.files import atomic_path
from nada.measure.metrics import interval

from . import measures, methods
from .runs import IMAGES, TASKS, Bench, Run

COLUMNS = (
    ("target rate", 2),
    ("variety kept", 2),
    ("identity kept", 2),
    ("distance to truth", 3),
    ("precision", 2),
    ("recall", 2),
    ("memorised", 2),
    ("intra-cluster distance", 2),
)
OTHERS = ("TGAN", "FreezeD", "TGAN+ADA", "MineGAN", "CDC")  # those that the paper compares with
STYLECLIP = ("StyleCLIP optimization", "StyleCLIP mapper", "StyleCLIP directions")
NADA = "NADA"
MEMORISED = 4 * measures.BY_CHANCE  # share of memorised images from which a result counts as overfitted
REACHED = 0.5  # target rate from which a target counts as reached
HOLDS, IN_PART = 0.9, 0.5  # shares of the comparisons

Results = dict[tuple[str, str], dict[str, float]]
"""{(method, target): means over seeds}, of the rows of the table."""


@dataclass(frozen=True)
class Sentence:
    """A claim of the paper, as comparisons that are true or not."""

    says: str
    means: str
    """What is compared."""
    comparisons: Callable[[Results], Iterable[bool]]

    def mark(self, results: Results) -> tuple[str, int, int]:
        """ "holds", "holds in part" or "does not hold here"; how many comparisons are true, and of how many."""
        found = list(self.comparisons(results))
        share = mean(found) if found else 0.0
        words = "holds" if share >= HOLDS else "holds in part" if share >= IN_PART else "does not hold here"
        return (words if found else "not measured yet"), sum(found), len(found)


def _against(others: tuple[str, ...], true: Callable[[dict[str, float], dict[str, float]], bool]) -> Any:
    """Compare NADA with each of the others on each target: `true` of NADA's measures and the other's."""

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
    """Write the page of all runs that have a record."""
    records = [record for run in runs if (record := bench.record(run)) is not None]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines(records, command)) + "\n", encoding="utf-8")


def lines(records: list[dict[str, Any]], command: str) -> list[str]:
    """The page in Markdown."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for record in records:
        run = record["run"]
        groups.setdefault((run["target"], run["method"], run["images"]), []).append(record)
    usual = {method.name: method.sees for method in TASKS.values()}
    table = {key: rows for key, rows in groups.items() if key[2] == usual.get(key[1], IMAGES)}
    results = {(method, target): _means(rows) for (target, method, _), rows in table.items()}
    return [
        "# NADA and its rivals",
        "",
        f"Written by `{command}`. Every method starts from the same generator and, where it has one, the same",
        "discriminator; the methods that train both have the same number of steps and see",
        f"{IMAGES} true pictures. The judge took part in no training, and distances are taken in the features of its",
        "last layer. Means over seeds, with half the 95 % interval. Of true pictures that no method saw,",
        f"{measures.BY_CHANCE:.0%} would count as memorised.",
        "",
        *_sentences(results),
        *_table(table),
        *_curve(groups),
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


def _table(table: dict[tuple[str, str, int], list[dict[str, Any]]]) -> list[str]:
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
        found.append("")
    return found


def _curve(groups: dict[tuple[str, str, int], list[dict[str, Any]]]) -> list[str]:
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
