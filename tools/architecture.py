"""Draw docs/architecture.svg: the rooms of the pack, and an arrow for each import between them.

    python -m tools.architecture

Rooms stand on floors: each one above all that it imports. An arrow that follows from two others is left out.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Mapping
from itertools import pairwise
from xml.sax.saxutils import escape

from .imports import ROOT, arrows

PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, HEIGHT, GAP, FLOOR, MARGIN = 196, 74, 26, 132, 24  # pixels; FLOOR is from one row of boxes to the next
LINE = 28  # largest number of characters in a line of a description
LINES = 3
SWEEPS = 24
Arrows = Mapping[str, set[str]]
Point = tuple[str, ...]  # (room,), or (from, to, floor) where an arrow crosses a floor


def main() -> None:
    """Write the picture, and print a summary of it."""
    found = arrows()
    floors = floors_of(found)
    PICTURE.write_text(draw(found), "utf-8")
    count = sum(map(len, found.values()))
    print(f"{len(found)} rooms on {1 + max(floors.values())} floors, {count} arrows, all of them down: {PICTURE}")


def floors_of(found: Arrows) -> dict[str, int]:
    """The floor of each room: 0 if it imports no other, else one above the highest that it imports.

    Raises:
        ValueError: rooms import each other in a circle.
    """
    floors: dict[str, int] = {}
    while len(floors) < len(found):
        free = [room for room in found if room not in floors and found[room] <= floors.keys()]
        if not free:
            raise ValueError(f"these rooms import each other in a circle: {sorted(found.keys() - floors.keys())}")
        floors |= {room: 1 + max((floors[below] for below in found[room]), default=-1) for room in free}
    return floors


def reduced(found: Arrows) -> dict[str, set[str]]:
    """Remove arrows that follow from others (transitive reduction)."""
    return {room: below - {far for near in below for far in _reached(found, near)} for room, below in found.items()}


def _reached(found: Arrows, start: str) -> set[str]:
    reached, pending = set[str](), [start]
    while pending:
        new = found[pending.pop()] - reached
        reached |= new
        pending += new
    return reached


def draw(found: Arrows) -> str:
    """The picture as SVG. The same arrows give the same text on every machine."""
    floors, shown = floors_of(found), reduced(found)
    rows, links = _rows(shown, floors)
    _order(rows, links)
    x = _places(rows, links)
    left, right = min(x[p] - _width(p) // 2 for p in x), max(x[p] + _width(p) // 2 for p in x)
    top = max(floors.values())
    y = {point: (top - floor) * FLOOR + HEIGHT // 2 for floor, row in enumerate(rows) for point in row}
    size = f"{left - MARGIN} {-MARGIN} {right - left + 2 * MARGIN} {top * FLOOR + HEIGHT + 2 * MARGIN}"
    parts = [_HEAD.format(size=size)]
    for room in sorted(shown):
        parts += [_arrow([(x[p], y[p]) for p in _way(room, below, floors)]) for below in sorted(shown[room])]
    parts += [_box(room, x[(room,)], y[(room,)], found) for room in sorted(found)]
    return "\n".join([*parts, "</svg>\n"])


_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="Helvetica, Arial, sans-serif">
<style>
  path {{ fill: none; stroke: #8a94a3; stroke-width: 1.4 }}
  rect {{ stroke: #45546b; fill: #eef3fa }}
  .alone {{ fill: #fdf5e4 }}
  .comfy {{ fill: #e9f6ec }}
  .name {{ font-size: 15px; font-weight: bold; fill: #16202e }}
  .text {{ font-size: 11.5px; fill: #36404e }}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" orient="auto">
  <path d="M0 0 8 4 0 8z" style="fill: #8a94a3; stroke: none"/></marker></defs>
<rect x="-9999" y="-9999" width="30000" height="30000" style="fill: white; stroke: none"/>"""


def _way(room: str, below: str, floors: Mapping[str, int]) -> list[Point]:
    """The points that an arrow passes, from the top down."""
    passed = range(floors[room] - 1, floors[below], -1)
    return [(room,), *((room, below, str(floor)) for floor in passed), (below,)]


def _rows(shown: Arrows, floors: Mapping[str, int]) -> tuple[list[list[Point]], list[tuple[Point, Point]]]:
    """Points on each floor, and pairs of points that are joined (upper, lower)."""
    rows: list[list[Point]] = [[] for _ in range(1 + max(floors.values()))]
    links = []
    for room in sorted(shown):
        rows[floors[room]].append((room,))
        for below in sorted(shown[room]):
            way = _way(room, below, floors)
            links += list(pairwise(way))
            for point in way[1:-1]:
                rows[int(point[2])].append(point)
    return rows, links


def _order(rows: list[list[Point]], links: Iterable[tuple[Point, Point]]) -> None:
    """Sort each row so that few arrows cross, by repeatedly averaging the places of neighbors on the adjacent row."""
    ups, downs = _neighbours(links)
    best, fewest = [list(row) for row in rows], _crossings(rows, downs)
    for sweep in range(SWEEPS):
        order = range(1, len(rows)) if sweep % 2 else range(len(rows) - 2, -1, -1)
        near = downs if sweep % 2 else ups
        for i in order:
            place = {point: j for j, point in enumerate(rows[i - 1 if sweep % 2 else i + 1])}
            own = {point: j for j, point in enumerate(rows[i])}
            rows[i].sort(key=lambda p, place=place, own=own, near=near: (_mean([place[q] for q in near[p]], own[p]), p))
        if (crossings := _crossings(rows, downs)) < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _neighbours(links: Iterable[tuple[Point, Point]]) -> tuple[dict[Point, list[Point]], dict[Point, list[Point]]]:
    ups: dict[Point, list[Point]] = {}
    downs: dict[Point, list[Point]] = {}
    for upper, lower in links:
        for point in (upper, lower):
            ups.setdefault(point, []), downs.setdefault(point, [])
        ups[lower].append(upper)
        downs[upper].append(lower)
    return ups, downs


def _mean(values: list[int], otherwise: int) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(rows: list[list[Point]], downs: Mapping[Point, list[Point]]) -> int:
    """Number of pairs of arrows that cross between adjacent rows."""
    count = 0
    for upper, lower in zip(rows[1:], rows, strict=False):
        place = {point: i for i, point in enumerate(lower)}
        ends = [place[point] for above in upper for point in sorted(downs[above], key=place.__getitem__)]
        count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return count


def _places(rows: list[list[Point]], links: Iterable[tuple[Point, Point]]) -> dict[Point, int]:
    """Center of each point in x: close to its neighbors' centers, in the order of the row, without overlaps."""
    ups, downs = _neighbours(links)
    x = {point: float(i * (WIDTH + GAP)) for row in rows for i, point in enumerate(row)}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            near = {p: ups[p] + downs[p] for p in row}
            wanted = [sum(x[q] for q in near[p]) / len(near[p]) if near[p] else x[p] for p in row]
            offsets = [0.0]
            for left, right in pairwise(row):
                offsets.append(offsets[-1] + (_width(left) + _width(right)) / 2 + GAP)
            moved = _increasing([a - b for a, b in zip(wanted, offsets, strict=True)])
            x |= {point: place + offset for point, place, offset in zip(row, moved, offsets, strict=True)}
    return {point: round(place) for point, place in x.items()}


def _increasing(values: list[float]) -> list[float]:
    """Closest non-decreasing numbers in the mean square (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []  # mean, and number of values that share it
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (mean * count + before * many) / (count + many), count + many
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _width(point: Point) -> int:
    return WIDTH if len(point) == 1 else 0


def _arrow(points: list[tuple[int, int]]) -> str:
    """Draw an arrow from the bottom of one box to the top of another: curved between rows, straight beside boxes."""
    (x, y), *middle, end = points
    half = HEIGHT // 2
    path = f"M{x} {y + half}"
    for next_x, next_y in [*middle, end]:
        bend = (y + next_y) // 2
        path += f"C{x} {bend} {next_x} {bend} {next_x} {next_y - half}"
        path += f"V{next_y + half}" if (next_x, next_y) != end else ""
        x, y = next_x, next_y
    return f'<path d="{path}" marker-end="url(#tip)"/>'


def _box(room: str, x: int, y: int, found: Arrows) -> str:
    """Draw a room with its name, its description, and all its imports as a tooltip."""
    left, top = x - WIDTH // 2, y - HEIGHT // 2
    kind = "" if (ROOT / room).is_dir() else ' class="alone"'
    kind = ' class="comfy"' if not room.startswith("nada") else kind
    tooltip = f"{room} imports {', '.join(sorted(found[room])) or 'no other room'}"
    lines = [f"<g><title>{escape(tooltip)}</title>"]
    lines.append(f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="7"{kind}/>')
    lines.append(f'<text class="name" x="{left + 10}" y="{top + 20}">{escape(_name(room))}</text>')
    for i, line in enumerate(textwrap.wrap(_about(room), LINE, max_lines=LINES, placeholder=" ...")):
        lines.append(f'<text class="text" x="{left + 10}" y="{top + 37 + 14 * i}">{escape(line)}</text>')
    return "\n".join([*lines, "</g>"])


def _name(room: str) -> str:
    return f"{room}/" if (ROOT / room).is_dir() else f"{room}.py"


def _about(room: str) -> str:
    """The first sentence of a room's docstring."""
    path = ROOT / room / "__init__.py" if (ROOT / room).is_dir() else ROOT / f"{room}.py"
    text = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
    return text.replace("`", "").partition(". ")[0].rstrip(".")


if __name__ == "__main__":
    main()
