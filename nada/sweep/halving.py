"""Successive halving: stop the weaker jobs early, and train only the best to the end (arXiv 1502.07943)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from reprlib import repr as shortened
from typing import Any, Protocol

from ..errors import NadaError, UsageError
from .jobs import Job
from .plan import GROUPED
from .ranking import Ranking
from .report import measures_of
from .state import DONE, FAILED, Orders, is_measured, load_measures, measured_scale, status

log = logging.getLogger(__name__)


class Engine(Protocol):
    """An engine that trains jobs, in this process or elsewhere."""

    def train(self, jobs: Sequence[Job], until: int | None = None) -> None:
        """Train jobs to their ends, or until an iteration at which they are saved and measured."""

    def save_stopped(self, jobs: Sequence[Job]) -> None:
        """Write the results of jobs that a comparison has stopped."""


@dataclass(frozen=True)
class Halving:
    """Iterations at which jobs are compared, and the share of them that continues.

    Raises:
        UsageError: a value is out of range.
    """

    share: Fraction
    """Share of the jobs that continue after each comparison."""
    at: tuple[int, ...]
    """Iterations of the comparisons, in order."""
    ranking: Ranking = field(default_factory=Ranking)

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UsageError(f"keep_best is {self.share}; it must be between 0 and 1, such as 1/3")
        if not self.at or list(self.at) != sorted(set(self.at)) or self.at[0] < 1:
            raise UsageError(f"at is {list(self.at)}; it must be iterations in rising order, such as 50,100")

    @classmethod
    def parse(cls, keep_best: Any = None, at: Any = None, **ranking: Any) -> Halving:
        """Parse `keep_best`, such as "1/3", and `at`, such as "50,100", from a file or the command line.

        Raises:
            UsageError: a value is missing or cannot be parsed.
        """
        if keep_best is None or at is None:
            lacking, example = ("at", "50,100") if at is None else ("keep_best", "1/3")
            raise UsageError(
                f"successive halving needs a share and iterations; {lacking} is missing, such as {example}"
            )
        try:
            moments = at if isinstance(at, list) else str(at).split(",")
            return cls(_share(keep_best), tuple(int(moment) for moment in moments), Ranking(**ranking))
        except (ValueError, TypeError, ArithmeticError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(
                f"keep_best is {shortened(keep_best)} and at is {shortened(at)}; they must be a share and iterations, "
                "such as 1/3 and 50,100"
            ) from error


def _share(value: Any) -> Fraction:
    """A share as it is written. Short texts only: of 1e999999999, `Fraction` would compute every digit.

    Raises:
        ValueError: it is no number.
        ZeroDivisionError: it is a part of nothing.
    """
    if not re.fullmatch(r"\d{1,9}/\d{1,9}|\d{0,9}\.?\d{1,20}", text := str(value), re.ASCII):
        raise ValueError(f"{text[:40]} is no share")
    return Fraction(text)


def train_best(jobs: Sequence[Job], engine: Engine, orders: Orders, halving: Halving, stop: Callable[[], bool]) -> None:
    """Train all jobs to the first comparison, the best of them to the next one, and the remaining ones to their ends.

    Results of stopped jobs are saved too, and their states are kept: the same sweep without halving trains them to
    their ends. Every decision follows from measures stored in the folders, so a repeated sweep decides the same.
    Jobs that were done, or beyond a comparison without a snapshot of it, before the sweep compared them, continue.

    Args:
        jobs: jobs in the order of their training.
        engine: the engine that trains them.
        orders: orders with an evaluation, and with `halving.at` as rungs.
        halving: iterations, share and ranking of the comparisons.
        stop: returns whether the user has interrupted the sweep.

    Raises:
        NadaError: another process works on a job, so that it cannot be compared yet.
        UsageError: no job has a measure of the ranking.
    """
    racing = list(jobs)
    for rung in halving.at:
        new = [job for job in racing if not is_measured(orders, job, rung)]
        beyond = [job for job in new if job.config.iterations <= rung or _status(orders, job) == DONE]
        new = [job for job in new if job not in beyond]
        engine.train(new, rung)
        if stop():
            return
        left = [job for job in new if not is_measured(orders, job, rung) and _status(orders, job) != FAILED]
        beyond += [job for job in left if _has_passed(orders, job, rung)]
        if busy := [job for job in left if job not in beyond]:
            raise NadaError(
                f"another process works on {len(busy)} of the jobs to compare after {rung} iterations; run the same "
                "command again when it is done"
            )
        measured = {job.folder_name: job for job in racing if job not in beyond and is_measured(orders, job, rung)}
        results = {name: load_measures(orders.folder(job), rung) for name, job in measured.items()}
        found = {name: measures_of(result) for name, result in results.items()}
        scales = {name: measured_scale(result) for name, result in results.items()}
        texts = {name: str([job.settings[part] for part in GROUPED]) for name, job in measured.items()}
        best = halving.ranking.best(found, texts, scales, lambda count: ceil(halving.share * count))
        log.info("after %d iterations, %d of %d jobs continue", rung, len(best), len(measured))
        engine.save_stopped([job for name, job in measured.items() if name not in best])
        racing = [job for job in racing if job in beyond or job.folder_name in best]
    engine.train(racing)


def _status(orders: Orders, job: Job) -> str:
    return status(orders.folder(job), job.config.iterations)


def _has_passed(orders: Orders, job: Job, rung: int) -> bool:
    """Whether a job is beyond a comparison and has no snapshot of it, so that it cannot be measured there anymore."""
    folder = orders.folder(job)
    return max(folder.states(), default=0) > rung and all(s.iteration != rung for s in folder.load_snapshots(rung))
