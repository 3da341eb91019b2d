"""Measure the tables of the documentation: `python benchmarks/tables.py --list`.

A table has a name, such as claims/targets, and a place on a page. Every result is cached as JSON, so that a stopped
command resumes: delete a file to measure it again. Several commands at once, with the same --results, share the runs.
Tables are printed, and with --write also put in their places.
Results of the claims and of the rivals come with the repository, in benchmarks/records.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import by_eye
import paper_claims
import rivals_tables
import speed
import speed_threads
import speed_ways
import styles
import tf32
import torch
from pages import Options, Shown, Table, demo_models, key_of

FOLDER = Path(__file__).parent


def printed(name: str, page: str, script: str, arguments: Callable[[Options], dict[str, Any]]) -> Table:
    """A table that another script in this folder prints in Markdown.

    Args:
        name: name of the table.
        page: page of the table.
        script: file name of the script.
        arguments: returns its arguments, {option: value, or list of values}.
    """

    def name_of(options: Options) -> str:
        settings = {option: value for option, value in arguments(options).items() if option != "--out"}
        return f"{name} {key_of(FOLDER / script, demo_models(), settings)}"

    def output(options: Options) -> str:
        given = []
        for option, value in arguments(options).items():
            given += [option, *map(str, value if isinstance(value, list) else [value])]
        command = [sys.executable, str(FOLDER / script), *given]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def measure(options: Options) -> Iterator[str]:
        for _ in options.kept(name_of(options), partial(output, options)):
            yield "measured"

    return Table(name, page, measure, lambda options: Shown(options.found(name_of(options)) or ""))


def photos(table: str, options: Options) -> dict[str, Any]:
    numbers = {"--steps": 75, "--tuned": 6, "--tuning-steps": 40, "--adapted-after": 6}
    numbers |= {"--count": 200, "--chunk": 20} if table == "ways" else {"--count": 40, "--chunk": 10}
    fewer = {name: options.fewer(number) for name, number in numbers.items()}
    encoder = {"--encoder": "demo"} if table == "ways" else {}
    folder = options.file(f"photos-{table}").with_suffix("")
    return {"--out": folder, "--tables": table, **encoder, "--threads": options.threads, **fewer}


def projector(options: Options) -> dict[str, Any]:
    sizes = {"--count": 2, "--divide": options.divide}
    return {"--out": options.file("projector").with_suffix(""), **sizes, "--threads": options.threads}


def photo_speed(resolution: int, batches: list[int], options: Options) -> dict[str, Any]:
    sizes = {"--resolution": resolution, "--batch": batches, "--steps": options.turns}
    return {**sizes, "--device": options.device, "--threads": options.threads}


PHOTOS = "docs/photos.md"
OTHERS = [
    printed("photos", PHOTOS, "photos.py", partial(photos, "ways")),
    printed("photos/tuning", PHOTOS, "photos.py", partial(photos, "tuning")),
    printed("photos/projector", PHOTOS, "projector.py", projector),
    printed("photos/speed, 256 px", PHOTOS, "photo_speed.py", partial(photo_speed, 256, [1, 2, 4])),
    printed("photos/speed, 1024 px", PHOTOS, "photo_speed.py", partial(photo_speed, 1024, [1, 2])),
]
TABLES: dict[str, Table] = {
    table.name: table
    for tables in (
        *(
            module.TABLES
            for module in (paper_claims, by_eye, rivals_tables, styles, speed, speed_threads, speed_ways, tf32)
        ),
        OTHERS,
    )
    for table in tables
}


def chosen(patterns: list[str]) -> list[Table]:
    """Select the tables whose names match one of the patterns, such as claims/*, speed/parts/* or *1024 px.

    Raises:
        ValueError: a pattern matches no table.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in TABLES):
            raise ValueError(f"no table is called {pattern}; --list names all")
    return [table for name, table in TABLES.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="name, or pattern such as 'claims/*'")
    parser.add_argument("--list", action="store_true", help="print the names of all tables, and their pages")
    parser.add_argument("--write", action="store_true", help="write the tables to their places on the pages")
    parser.add_argument("--kept", action="store_true", help="show cached results, and measure nothing")
    parser.add_argument(
        "--results", type=Path, default=Path("benchmark-results"), help="folder of the results (default: %(default)s)"
    )
    parser.add_argument("--reference", type=Path, metavar="PATH", help="checkout of the authors' StyleGAN-nada")
    parser.add_argument(
        "--images", type=Path, metavar="PATH", help="cache folder of images, for measuring them again without training"
    )
    parser.add_argument("--seeds", type=int, help="number of trainings of each setting (default: the table's own)")
    parser.add_argument(
        "--divide", type=int, default=1, metavar="N", help="divisor of iterations and images, for a trial"
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="device (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each process (default: %(default)s)")
    parser.add_argument("--turns", type=int, help="timed iterations of each case (default: 2, on a GPU 20)")
    parser.add_argument("--warmup", type=int, help="untimed iterations before them (default: 1, on a GPU 5)")
    args = parser.parse_args()
    if args.list or not args.tables:
        for table in TABLES.values():
            print(f"{table.name:72} {table.page}{', with --reference' if table.needs_reference else ''}")
        return
    if args.write and args.divide > 1:
        parser.error("--divide is for trials, whose figures do not belong on a page: leave out --write")
    turns, warmup = (2, 1) if args.device == "cpu" else (20, 5)
    options = Options(
        args.results,
        args.seeds,
        args.divide,
        args.reference,
        args.device,
        args.threads,
        turns if args.turns is None else args.turns,
        warmup if args.warmup is None else args.warmup,
        args.images,
    )
    torch.set_num_threads(args.threads)
    try:
        tables = chosen(args.tables)
    except ValueError as error:
        parser.error(str(error))
    for table in tables:
        if not args.kept and (missing := table.lacks(options)):
            print(f"{table.name}: left out, since it needs {missing}", file=sys.stderr)
            continue
        for words in () if args.kept else table.measure(options):
            print(f"{table.name}: {words}", file=sys.stderr, flush=True)
        if not (shown := table.show(options)).text:
            print(f"{table.name}: nothing to show yet", file=sys.stderr)
        elif args.write:
            table.write(shown)
            print(f"{table.name}: written to {table.page}")
        else:
            print(shown.text, end="\n\n")


if __name__ == "__main__":
    main()
