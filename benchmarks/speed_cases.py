"""Time cases in turns, each in a separate process, so that each has its own peak memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from speed_timed import Case, Timed


def serve(case: Case, connection) -> None:
    """Create a case in this process, and call its methods as requested through the connection, until None arrives."""
    timed: Timed
    if case.reference:
        from speed_reference import Reference  # imported here, since it would count in the memory of other cases

        timed = Reference(case)
    else:
        timed = Timed(case)
    while method := connection.recv():
        connection.send(getattr(timed, method)())


class Worker:
    """A case in a separate process."""

    def __init__(self, case: Case):
        context = multiprocessing.get_context("spawn")
        self.case, (self.connection, other) = case, context.Pipe()
        self.process = context.Process(target=serve, args=(case, other), daemon=True)
        self.process.start()
        other.close()

    def ask(self, method: str) -> dict[str, float]:
        """Call a method of `Timed` in the process, and return its result.

        Raises:
            RuntimeError: the process has ended, such as for lack of memory.
        """
        try:
            self.connection.send(method)
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError(
                f"the process that measures {self.case.name!r} has ended; its messages are above. If there are none, "
                "memory was too short for all processes together: end other programs, or choose a smaller size"
            ) from error

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):  # it may have ended
            self.connection.send(None)
        self.process.join()


@contextmanager
def workers(cases: list[Case]) -> Iterator[list[Worker]]:
    """Start a process for each case, and end them on exit."""
    started = [Worker(case) for case in cases]
    try:
        yield started
    finally:
        for worker in started:
            worker.close()


def in_turns(cases: list[Case], rounds: int, warmup: int = 1, then: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Time cases in turns, so that other load of the machine affects all of them alike.

    Args:
        cases: cases to time; the others are compared with the first.
        rounds: timed iterations of each case.
        warmup: untimed iterations before them.
        then: methods of `Timed` to call on each case afterwards.

    Returns:
        A dict for each case: its fields, "steps" (a list of results of `Timed.step`), and the result of each method
        under the method's name.
    """
    with workers(cases) as running:
        steps = [[worker.ask("step") for worker in running] for _ in range(warmup + rounds)]
        rows = []
        for i, worker in enumerate(running):
            after = {method: worker.ask(method) for method in then}
            case = asdict(worker.case) | {"reference": worker.case.reference is not None}  # a flag instead of its path
            rows.append({**case, "steps": [turn[i] for turn in steps[warmup:]], **after})
        return rows
