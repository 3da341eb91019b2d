"""Time iterations of the demo models with one thread, with two, and by default, on an idle and on a busy machine."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pages import Options, Shown, Table, demo_models, grid, key_of

from nada import AdaptConfig, adapt, load_clip, load_generator
from nada.generators.threads import use_threads

PAGE, NAME = "docs/speed.md", "speed/threads/demo"
COUNTS = (None, 1, 2)
ROWS = ("by default", "--threads 1", "--threads 2")
LONGEST = 15.0  # seconds after which a slow variant stops
STEPS = 30


def seconds_of_a_step(count: int | None, steps: int) -> float:
    """Train the demo generator with a number of threads; return the mean wall-clock seconds of an iteration."""
    use_threads(count)
    run = adapt(load_generator("demo"), load_clip("demo"), AdaptConfig("photo", "sketch", iterations=steps + 1))
    next(run)  # includes what happens only once
    began, done = time.perf_counter(), 0
    while done < steps and time.perf_counter() - began < LONGEST:
        next(run)
        done += 1
    return (time.perf_counter() - began) / done


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


@contextmanager
def load(busy: bool) -> Iterator[None]:
    """Run a busy loop beside each core inside a `with` block, if the machine should be busy."""
    context = multiprocessing.get_context("spawn")
    loops = [context.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1 if busy else 0)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.terminate()


def timed(options: Options) -> list[dict[str, Any]]:
    rows = []
    for busy in (False, True):
        for count in COUNTS:
            with load(busy), multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds = pool.apply(seconds_of_a_step, (count, options.fewer(STEPS)))
            rows.append({"busy": busy, "threads": count, "seconds": seconds})
    return rows


def file_name() -> str:
    """Name of the file with the results, which do not depend on the number of threads of this process."""
    return f"{NAME} {key_of(demo_models(), LONGEST, STEPS)}"


def measure(options: Options) -> Iterator[str]:
    for rows in options.kept(file_name(), lambda: timed(options)):
        yield f"{len(rows)} variants"


def show(options: Options) -> Shown:
    rows = options.found(file_name())
    if not rows:
        return Shown("")
    found = {(row["busy"], row["threads"]): row["seconds"] for row in rows}
    cells = [
        [name, *(f"{found[busy, count]:.2f} s" for busy in (False, True))]
        for count, name in zip(COUNTS, ROWS, strict=True)
    ]
    return Shown(grid(["an iteration of `nada demo`", "idle", "a busy loop on every core"], cells))


TABLES = [Table(NAME, PAGE, measure, show)]
