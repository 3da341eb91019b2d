"""Tables of the documentation: what each is called, how it is measured, and its place on a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from nada.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- table: {} -->", "<!-- end of table -->"
PLACE = re.compile(re.escape(BEGIN).replace(r"\{\}", "(.+?)") + rf"\n+(.*?)\n+{re.escape(END)}", re.DOTALL)


@dataclass(frozen=True)
class Options:
    """How tables are measured."""

    results: Path
    """Folder where every result is kept as JSON; what is there is not measured again."""
    seeds: int | None = None
    """Trainings of each setting; None for as many as a table usually has."""
    divide: int = 1
    """Iterations and images are fewer by this factor, to see whether a table can be made."""
    reference: Path | None = None
    """A checkout of the authors' code."""
    device: str = "cpu"
    threads: int = 1
    turns: int = 2
    """Timed iterations of each case."""
    warmup: int = 1
    """Iterations before them that are not timed."""

    def fewer(self, number: int, least: int = 1) -> int:
        """A number of iterations or images, divided."""
        return max(number // self.divide, min(number, least))

    def kept(self, name: str, measure: Callable[[], Any]) -> Iterator[Any]:
        """Measure something, unless its result is kept; yields the result only if it is new.

        Args:
            name: of the JSON file, without ending.
            measure: gives something JSON-able.
        """
        if not self.file(name).exists():
            result = measure()
            with atomic_path(self.file(name)) as temporary:
                temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
            yield result

    def found(self, name: str) -> Any:
        """A result that is kept; None if there is none."""
        file = self.file(name)
        return json.loads(file.read_text("utf-8")) if file.exists() else None

    def file(self, name: str) -> Path:
        return self.results / f"{name}.json"


@dataclass
class Shown:
    """A table as a page shows it."""

    text: str
    """Markdown with heading; "" where too little was measured."""
    pictures: dict[str, Image.Image] = field(default_factory=dict)
    """{file name: picture} that belong beside the page."""
    figures: Any = None
    """The numbers behind the table, where a JSON file beside the page has them."""


@dataclass(frozen=True)
class Table:
    """A table of the documentation.

    Attributes:
        name: group/name, as between the marks on its page.
        page: path from the root of the repository.
        measure: measures what is not kept yet, and yields a line on each result.
        show: what is kept as a table.
        needs_reference: whether the authors' code is part of it.
    """

    name: str
    page: str
    measure: Callable[[Options], Iterator[str]]
    show: Callable[[Options], Shown]
    needs_reference: bool = False

    def write(self, shown: Shown) -> None:
        """Put the table in its place on its page, or at the end; its pictures and figures beside the page."""
        page = ROOT / self.page
        for name, picture in shown.pictures.items():
            with atomic_path(page.with_name(name)) as temporary:
                picture.save(temporary, "JPEG", quality=72)
        if shown.figures is not None:
            known = json.loads(page.with_suffix(".json").read_text("utf-8"))
            _write(page.with_suffix(".json"), json.dumps(known | {self.name: shown.figures}, indent=1) + "\n")
        _write(page, with_table(page.read_text("utf-8"), self.name, shown.text))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")


def tables_of(page: str) -> dict[str, str]:
    """{name: Markdown} of the tables between marks."""
    return dict(PLACE.findall(page))


def with_table(page: str, name: str, text: str) -> str:
    """A page with a table between its marks, which are added at the end where they are missing."""
    block = f"{BEGIN.format(name)}\n\n{text.strip()}\n\n{END}"
    if name not in tables_of(page):
        return f"{page.rstrip()}\n\n{block}\n"
    return PLACE.sub(lambda match: block if match[1] == name else match[0], page)


def line(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def grid(columns: list[str], rows: list[list[str]]) -> str:
    """A whole table in Markdown."""
    return "\n".join([line(*columns), "|---" * len(columns) + "|", *(line(*row) for row in rows)])
