"""The tables of docs/rivals.md; `python -m benchmarks.rivals plan` estimates what they take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from typing import Any

from pages import Options, Shown, Table
from PIL import Image

from benchmarks.rivals import page
from benchmarks.rivals.__main__ import parse
from benchmarks.rivals.processes import do, make_bench
from benchmarks.rivals.runs import OWN_STEPS, SEEDS, STEPS, Bench, Run, planned
from benchmarks.rivals.truth import TARGETS

PAGE = "docs/rivals.md"
NAMES = {"sketch": "sketch †", "pig": "pig †", "glass": "glass"}  # † as in docs/paper_claims.md


def runs(options: Options) -> list[Run]:
    """All runs of the page."""
    steps, own_steps = options.fewer(STEPS), options.fewer(OWN_STEPS)
    return planned(steps, own_steps, options.seeds or SEEDS, [*TARGETS])


def arguments(options: Options) -> list[str]:
    """Arguments of the rivals' command for the same results."""
    folder = ["--folder", str(images)] if (images := options.images_of("rivals")) else []
    return ["run", "--records", str(options.file("rivals").with_suffix("")), *folder, "--threads", str(options.threads)]


@cache
def bench_of(options: Options) -> Bench:
    return make_bench(parse(arguments(options)))


def records(options: Options) -> list[dict[str, Any]]:
    """All records that were measured so far."""
    bench = bench_of(options)
    return [record for run in runs(options) if (record := bench.record(run)) is not None]


def measure(targets: Collection[str], options: Options) -> Iterator[str]:
    """Do the runs of some targets that have no record, each in a process of its own."""
    bench, args = bench_of(options), parse(arguments(options))
    for run in runs(options):
        if run.target in targets and do(args, bench, run):
            yield run.name


def show(
    title: str,
    text: Callable[[list[dict[str, Any]]], str],
    pictures: dict[str, tuple[str, Callable[[Bench, list[dict[str, Any]]], Image.Image | None]]],
    options: Options,
) -> Shown:
    """Render a table, and pictures below it: {file name: (description, function that makes it)}."""
    found = records(options)
    if not (table := text(found)):
        return Shown("")
    made = {name: make(bench_of(options), found) for name, (_, make) in pictures.items()}
    drawn = {name: picture for name, picture in made.items() if picture is not None}
    below = [f"![{pictures[name][0]}]({name})" for name in drawn]
    return Shown("\n\n".join([f"## {title}", table, *below]), drawn)


def of_target(target: str) -> Table:
    """The table of all methods for a target."""
    description = f"A row of pictures for each method, target {target}"
    picture = {f"rivals_{target}.jpg": (description, lambda bench, found: page.strips(bench, found, target))}
    text = partial(page.target_table, target=target)
    return Table(f"rivals/{target}", PAGE, partial(measure, [target]), partial(show, NAMES[target], text, picture))


PLANES = {
    "rivals_planes.jpg": (
        "Target rate and variety kept by each method, a plot for each target",
        lambda bench, found: page.planes(found),
    )
}
CURVES = {
    "rivals_curves.jpg": (
        "Target rate and recall over the number of images",
        lambda bench, found: page.curves(found),
    )
}
every = partial(measure, TARGETS)
TABLES = [
    Table("rivals/sentences", PAGE, every, partial(show, "The paper's sentences", page.sentences, PLANES)),
    Table("rivals/best", PAGE, every, partial(show, "The best rival that reaches the target", page.best, {})),
    *map(of_target, TARGETS),
    Table("rivals/curve", PAGE, every, partial(show, "Over the number of images", page.curve_table, CURVES)),
    Table("rivals/longer", PAGE, every, partial(show, "Longer trainings", page.longer_table, {})),
    Table("rivals/methods", PAGE, partial(measure, []), partial(show, "The methods", page.method_list, {})),
]
