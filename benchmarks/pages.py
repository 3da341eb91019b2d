"""Tables of the documentation: their names, how to measure them, and their places on pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from nada import demo
from nada.errors import BusyError
from nada.files import atomic_path, locked
from nada.measure.metrics import interval
from nada.stylegan2.ops.processor import WITHOUT_AVX512

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3  # number of runs for an interval: that of two is many times wider than what they differ by
BEGIN, END = "<!-- table: {} -->", "<!-- end of table -->"
PLACE = re.compile(re.escape(BEGIN).replace(r"\{\}", "(.+?)") + rf"\n+(.*?)\n+{re.escape(END)}", re.DOTALL)


@contextmanager
def reserved(path: Path) -> Iterator[bool]:
    """Hold a lock file for a `with` block; yields False, and holds none, where another command has it."""
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(path))
        except BusyError:
            yield False
        else:
            yield True


@dataclass(frozen=True)
class Options:
    """Options for measuring tables."""

    results: Path
    """Folder in which every result is cached as JSON; cached results are not measured again."""
    seeds: int | None = None
    """Number of trainings of each setting; None for the table's usual number."""
    divide: int = 1
    """Divisor of the numbers of iterations and images, for a quick trial of a table."""
    reference: Path | None = None
    """Checkout of the authors' code."""
    device: str = "cpu"
    threads: int = 1
    turns: int = 2
    """Number of timed iterations of each case."""
    warmup: int = 1
    """Number of untimed iterations before them."""
    images: Path | None = None
    """Cache folder of the images of the claims and of the rivals, which another judge can measure; None for none."""

    def fewer(self, number: int, least: int = 1) -> int:
        """Divide a number of iterations or images by `divide`."""
        return max(number // self.divide, min(number, least))

    def kept(self, name: str, measure: Callable[[], Any]) -> Iterator[Any]:
        """Measure something unless its result is cached, or another command measures it; yields a new result only.

        Args:
            name: name of the JSON file, without ending.
            measure: returns a JSON-serializable result.
        """
        file = self.file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with reserved(file.with_suffix(".lock")) as free:
            if free and not file.exists():
                result = measure()
                with atomic_path(file) as temporary:
                    temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
                yield result

    def found(self, name: str) -> Any:
        """Read a cached result; None if there is none."""
        file = self.file(name)
        return json.loads(file.read_text("utf-8")) if file.exists() else None

    def images_of(self, group: str) -> Path | None:
        """Return the cache folder of a group's images; None for none."""
        return self.images / group if self.images else None

    def file(self, name: str) -> Path:
        """Return the path of a result; results of trials have a folder of their own, and never get onto a page."""
        folder = self.results if self.divide == 1 else self.results / f"divided by {self.divide}"
        return folder / f"{name}.json"

    @property
    def timing(self) -> tuple[str, int, int, int]:
        """Settings that measurements of speed depend on."""
        return self.device, self.threads, self.turns, self.warmup


@dataclass
class Shown:
    """A rendered table."""

    text: str
    """Markdown with heading; "" if too little was measured."""
    pictures: dict[str, Image.Image] = field(default_factory=dict)
    """{file name: picture} for the folder of the page."""
    figures: Any = None
    """Numbers behind the table, for a JSON file beside the page; None for no file."""


@dataclass(frozen=True)
class Table:
    """A table of the documentation.

    Attributes:
        name: group/name, as in the marks on the page.
        page: path of the page from the root of the repository.
        measure: measures what is not cached, and yields a line for each result.
        show: renders the table from cached results.
        needs_reference: whether the authors' code is needed.
        without_avx512: whether only processors without AVX-512 can measure it.
    """

    name: str
    page: str
    measure: Callable[[Options], Iterator[str]]
    show: Callable[[Options], Shown]
    needs_reference: bool = False
    without_avx512: bool = False

    def lacks(self, options: Options) -> str:
        """Return what is missing to measure the table; "" if nothing is."""
        if self.needs_reference and not options.reference:
            return "--reference"
        return "a processor without AVX-512" if self.without_avx512 and not WITHOUT_AVX512 else ""

    def write(self, shown: Shown) -> None:
        """Write the table to its place on the page, or to the end; its pictures and figures beside the page."""
        page = ROOT / self.page
        for name, picture in shown.pictures.items():
            with atomic_path(page.with_name(name)) as temporary:
                picture.save(temporary, "JPEG", quality=72)
        if shown.figures is not None:
            known = json.loads(page.with_suffix(".json").read_text("utf-8"))
            _write(page.with_suffix(".json"), json.dumps(known | {self.name: shown.figures}, indent=1) + "\n")
        _write(page, with_table(page.read_text("utf-8"), self.name, shown.text))


def digits(value: float, count: int = 3) -> str:
    """Format a number with some significant digits, without an exponent below a million: 1531 is 1530, not 1.53e+03."""
    return f"{float(f'{value:.{count}g}'):g}"


def key_of(*what: Any) -> str:
    """Hash what a result depends on, for the name of its file: a path stands for the content of the file there.

    Args:
        what: the version of what measures it, models, settings, and the like; JSON-serializable values or paths.
    """
    parts = [sha256(part.read_bytes()).hexdigest() if isinstance(part, Path) else part for part in what]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


@cache
def demo_models() -> str:
    """Return a key of all models of the demo, the judge included."""
    return key_of(*sorted(path for path in demo.FOLDER.rglob("*") if path.suffix in (".safetensors", ".json")))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")


def tables_of(page: str) -> dict[str, str]:
    """Find the tables between marks on a page: {name: Markdown}."""
    return dict(PLACE.findall(page))


def with_table(page: str, name: str, text: str) -> str:
    """Insert a table between its marks in a page, which are added at the end if they are missing."""
    block = f"{BEGIN.format(name)}\n\n{text.strip()}\n\n{END}"
    if name not in tables_of(page):
        return f"{page.rstrip()}\n\n{block}\n"
    return PLACE.sub(lambda match: block if match[1] == name else match[0], page)


def line(*cells: str) -> str:
    """Make a line of a table."""
    return f"| {' | '.join(cells)} |"


def grid(columns: list[str], rows: list[list[str]]) -> str:
    """Make a whole table in Markdown."""
    return "\n".join([line(*columns), "|---" * len(columns) + "|", *(line(*row) for row in rows)])


def mean_cell(values: list[float | None], digits: int = 3) -> str:
    """Format the mean of a measure over runs, from `RUNS` on with half its 95 % interval; "-" if no run has it."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    found = interval(known)
    half = f" +- {found['high'] - found['mean']:.{digits}f}" if len(known) >= RUNS else ""
    return f"{round(found['mean'], digits) + 0.0:.{digits}f}{half}"  # adding 0.0 turns -0.0 into 0.0
