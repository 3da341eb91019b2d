"""Writes what `speed.py` measured as a page."""

from __future__ import annotations

from pathlib import Path
from statistics import linear_regression, median
from typing import Any

HEAD = """# Speed and memory

Written by `python benchmarks/speed.py`; the numbers behind it are in [speed.json](speed.json).

Generators (config-f) and CLIP models (ViT-B/32 and ViT-B/16) have their true shapes and random weights. The batch is 2
unless a table says otherwise, and 8 images where layers are chosen. Each row is a process of its own, and the processes
of a table take turns, iteration by iteration. Seconds are medians; on a CPU they are those of the processor, with one
thread, since other work shared the machine (2 shared CPU cores). Memory is the most that the whole process had, PyTorch
and CLIP included (on CUDA: what PyTorch had allocated). "x faster" compares with the first row of the table, turn by
turn.

The reference is the public implementation of the authors, on the same machine, PyTorch and CLIP modules.
"""
NO_GPU = """
No GPU was at hand. The script runs there unchanged (`--device cuda`); nothing here says how fast that is.
"""
NOTES = Path(__file__).with_name("speed_notes.md")  # written by hand, appended
COLUMNS = ("", "s / iteration", "images / s", "x faster", "peak memory, GB", "of the first")


def page(results: dict[str, Any]) -> str:
    """The page in Markdown."""
    compared = results.get("comparisons", {})
    on_gpu = any(row["device"].startswith("cuda") for rows in compared.values() for row in rows)
    sections = [HEAD if on_gpu else HEAD + NO_GPU]
    kinds = {
        "## Comparisons": [comparison(*item) for item in compared.items()],
        "## Where the time goes": [parts(*item) for item in results.get("parts", {}).items()],
        "## How the cost grows": [growth(*item) for item in results.get("growth", {}).items()],
        "## Long runs": [long_run(*item) for item in results.get("long", {}).items()],
        "## What a GPU would have to do": [counted(*item) for item in results.get("counted", {}).items()],
    }
    for title, tables in kinds.items():
        sections += [f"{title}\n", *tables] if tables else []
    return "\n".join([*sections, NOTES.read_text(encoding="utf-8")])


def seconds(row: dict[str, Any]) -> list[float]:
    """Of each step: of the processor on a CPU, else of the wall."""
    key = "wall" if row["device"].startswith("cuda") else "processor"
    return [step[key] for step in row["steps"]]


def heading(title: str) -> str:
    """Of a table."""
    return f"### {title[0].upper()}{title[1:]}\n"


def line(*cells: str) -> str:
    """Of a table."""
    return f"| {' | '.join(cells)} |"


def comparison(title: str, rows: list[dict[str, Any]]) -> str:
    """A table of cases, the first of which is what the others are compared with."""
    first = rows[0]
    lines = [heading(f"{title} (turns: {len(first['steps'])})"), line(*COLUMNS), "|---" * len(COLUMNS) + "|"]
    for row in rows:
        typical = median(seconds(row))
        faster = median(theirs / own for theirs, own in zip(seconds(first), seconds(row), strict=True))
        peak, whole = (max(step["memory"] for step in r["steps"]) for r in (row, first))
        figures = [f"{typical:.2f}", f"{row['batch'] / typical:.3f}", f"{faster:.2f}", f"{peak / 1e9:.1f}"]
        lines.append(line(row["name"], *figures, f"{peak / whole:.0%}"))
    return "\n".join(lines) + "\n"


def growth(title: str, rows: list[dict[str, Any]]) -> str:
    """A table of cases whose names, or operations, are numbers, beside the line of least squares through them."""
    by_work = "floor" in rows[0]
    x = [row["floor"]["operations"] / 1e9 if by_work else float(row["name"]) for row in rows]
    y = [median(seconds(row)) for row in rows]
    slope, start = linear_regression(x, y)
    columns = ("", title, "s / iteration", "line", "off the line", "peak memory, GB")
    columns = columns if by_work else columns[1:]
    lines = [heading(f"by {title}"), line(*columns), "|---" * len(columns) + "|"]
    for row, at, typical in zip(rows, x, y, strict=True):
        fitted, peak = start + slope * at, max(step["memory"] for step in row["steps"])
        cells = [f"{at:.0f}", f"{typical:.2f}", f"{fitted:.2f}", f"{typical / fitted - 1:+.0%}", f"{peak / 1e9:.1f}"]
        lines.append(line(*([row["name"]] if by_work else []), *cells))
    lines.append(f"\nThe line: {start:.2f} s + {slope:.4g} s each.\n")
    return "\n".join(lines)


def long_run(title: str, rows: list[dict[str, int]]) -> str:
    """A table of the memory in use after so many iterations."""
    lines = [heading(title), line("after iterations", "memory, MB"), "|---|---|"]
    return "\n".join([*lines, *(line(str(row["iteration"]), f"{row['memory'] / 1e6:.0f}") for row in rows)]) + "\n"


def counted(title: str, rows: list[dict[str, Any]]) -> str:
    """A table of what steps ask of a GPU, and the least that cards take for it."""
    cards = list(rows[0]["seconds"])
    columns = ("", "kernels", "GFLOP", "GB moved", "memory, GB", *(f"{card}, ms" for card in cards))
    lines = [heading(title), line(*columns), "|---" * len(columns) + "|"]
    for row in rows:
        figures = [f"{row['kernels']}", f"{row['operations'] / 1e9:.0f}"]
        figures += [f"{row['bytes'] / 1e9:.1f}", f"{row['memory'] / 1e9:.2f}"]
        lines.append(line(row["name"], *figures, *(f"{1e3 * row['seconds'][card]:.1f}" for card in cards)))
    return "\n".join(lines) + "\n"


def parts(title: str, row: dict[str, Any]) -> str:
    """A table of the parts of an iteration, and how far the whole is from the floor."""
    whole, (operations, speed) = median(seconds(row)), row["floor"].values()
    previews = [part for part in row["parts"] if part.startswith("preview")]
    total = sum(s for part, s in row["parts"].items() if part not in previews)
    lines = [heading(title), line("part", "s", "share"), "|---|---|---|"]
    for part, s in row["parts"].items():
        lines.append(line(part, f"{s:.2f}", "" if part in previews else f"{s / total:.0%}"))
    lines.append(
        f"\n{whole:.2f} s per iteration, {row['batch'] / whole:.3f} images/s. Its {operations / 1e9:.0f} GFLOP would "
        f"take {operations / speed:.2f} s at the {speed / 1e9:.0f} GFLOP/s of a large matrix product here: "
        f"{operations / speed / whole:.0%} of the time is arithmetic at full speed.\n"
    )
    return "\n".join(lines)
