"""Cases that are timed beside each other: each in a process of its own, so that it has its own peak of memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from speed_timed import Case, Timed


def serve(case: Case, connection) -> None:
    """Make a case in this process and call the methods of it that come through the connection, until None comes."""
    timed: Timed
    if case.reference:
        from speed_reference import Reference  # here: its imports would count in the memory of the other cases

        timed = Reference(case)
    else:
        timed = Timed(case)
    while method := connection.recv():
        connection.send(getattr(timed, method)())


class Worker:
    """A case in a process of its own."""

    def __init__(self, case: Case):
        context = multiprocessing.get_context("spawn")
        self.case, (self.connection, other) = case, context.Pipe()
        self.process = context.Process(target=serve, args=(case, other), daemon=True)
        self.process.start()
        other.close()

    def ask(self, method: str) -> dict[str, float]:
        """The result of a method of `Timed`."""
        self.connection.send(method)
        return self.connection.recv()

    def close(self) -> None:
        """End the process."""
        self.connection.send(None)
        self.process.join()


@contextmanager
def workers(cases: list[Case]) -> Iterator[list[Worker]]:
    """Processes for cases that are to be compared."""
    started = [Worker(case) for case in cases]
    try:
        yield started
    finally:
        for worker in started:
            worker.close()


def in_turns(cases: list[Case], rounds: int, warmup: int = 1, then: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Time cases in turns, so that what else the machine does falls on all of them.

    Args:
        cases: the first is what the others are compared with.
        rounds: timed iterations of each.
        warmup: iterations before them that are not.
        then: methods of `Timed` to call on each afterwards.

    Returns:
        For each case its fields, "steps" (a list of what `Timed.step` gives), and under their names what the methods
        gave.
    """
    with workers(cases) as running:
        steps = [[worker.ask("step") for worker in running] for _ in range(warmup + rounds)]
        rows = []
        for i, worker in enumerate(running):
            after = {method: worker.ask(method) for method in then}
            case = asdict(worker.case) | {"reference": worker.case.reference is not None}  # not where it lies
            rows.append({**case, "steps": [turn[i] for turn in steps[warmup:]], **after})
        return rows
