"""Format the results of `speed.py` as tables in Markdown."""

from __future__ import annotations

from statistics import linear_regression, median
from typing import Any

from pages import line

COLUMNS = ("", "s / iteration", "images / s", "x faster", "peak memory, GB", "of the first")


def seconds(row: dict[str, Any]) -> list[float]:
    """Seconds of each iteration: processor time on a CPU, else wall time."""
    key = "wall" if row["device"].startswith("cuda") else "processor"
    return [step[key] for step in row["steps"]]


def heading(title: str) -> str:
    """Heading of a table."""
    return f"### {title[0].upper()}{title[1:]}\n"


def comparison(title: str, rows: list[dict[str, Any]]) -> str:
    """Table of cases, compared with the first one."""
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
    """Table of cases whose names, or operations, are numbers, with a least-squares line through them."""
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
    """Table of the memory in use after certain iterations."""
    lines = [heading(title), line("after iterations", "memory, MB"), "|---|---|"]
    return "\n".join([*lines, *(line(str(row["iteration"]), f"{row['memory'] / 1e6:.0f}") for row in rows)]) + "\n"


def counted(title: str, rows: list[dict[str, Any]]) -> str:
    """Table of the counted work of an iteration, and of the lower bound of its time on several cards."""
    cards = list(rows[0]["seconds"])
    columns = ("", "kernels", "GFLOP", "GB moved", "memory, GB", *(f"{card}, ms" for card in cards))
    lines = [heading(title), line(*columns), "|---" * len(columns) + "|"]
    for row in rows:
        figures = [f"{row['kernels']}", f"{row['operations'] / 1e9:.0f}"]
        figures += [f"{row['bytes'] / 1e9:.1f}", f"{row['memory'] / 1e9:.2f}"]
        lines.append(line(row["name"], *figures, *(f"{1e3 * row['seconds'][card]:.1f}" for card in cards)))
    return "\n".join(lines) + "\n"


def parts(title: str, row: dict[str, Any]) -> str:
    """Table of the parts of an iteration, and of the whole relative to the lower bound."""
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


def profile(title: str, row: dict[str, Any]) -> str:
    """Table of the kinds of operations in an iteration, and of the rates that they reach."""
    found, (operations, bandwidth) = row["profile"], row["profile"]["per second"]
    kinds = {kind: sums for kind, sums in found["kinds"].items() if sums["calls"]}
    between = found["between"]
    total = sum(sums["seconds"] for sums in kinds.values()) + between
    columns = ("operations", "calls", "s", "share", "GFLOP/s", "GB/s", "of the machine's rate")
    lines = [heading(title), line(*columns), "|---" * len(columns) + "|"]
    for kind, sums in kinds.items():
        s = sums["seconds"]
        rates = f"{sums['operations'] / s / 1e9:.0f}" if sums["operations"] else "", f"{sums['bytes'] / s / 1e9:.1f}"
        lines.append(line(kind, f"{sums['calls']}", f"{s:.2f}", f"{s / total:.0%}", *rates, f"{sums['least'] / s:.0%}"))
    lines.append(line("between operations", "", f"{between:.2f}", f"{between / total:.0%}", "", "", ""))
    least, work = (sum(sums[key] for sums in kinds.values()) for key in ("least", "operations"))
    lines.append(
        f"\n{total:.2f} s in this iteration, without {found['waiting']:.2f} s of waiting for a processor; "
        f"{median(seconds(row)):.2f} s in one without a timer. Its {work / 1e9:.0f} GFLOP would take "
        f"{work / operations:.2f} s at the {operations / 1e9:.0f} GFLOP/s of a large matrix product here, "
        f"{work / operations / total:.0%} of the time; with what the passes move at the {bandwidth / 1e9:.1f} GB/s of "
        f"a large copy, {least:.2f} s, {least / total:.0%}.\n"
    )
    return "\n".join(lines)
