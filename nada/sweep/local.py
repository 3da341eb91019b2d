"""The engine of one machine: jobs one after the other in this process, and in a fresh one if the device fails."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..errors import NadaError
from .jobs import Job, Models
from .state import Orders, record_failure
from .work import DeviceLost, Watch, Worker

log = logging.getLogger(__name__)
TOGETHER = 4  # jobs in lock-step, unless told otherwise
ATTEMPTS = 2  # of a job whose device fails: in this process, and in a fresh one


def groups(jobs: Sequence[Job], together: int) -> Iterator[list[Job]]:
    """Jobs in their order, those that can train in lock-step drawn together, at most so many at a time."""
    left = list(jobs)
    while left:
        group = [job for job in left if job.kind == left[0].kind][:together]
        taken = {job.id for job in group}
        left = [job for job in left if job.id not in taken]
        yield group


@dataclass
class LocalEngine:
    """Trains jobs in this process. What is done already is not repeated, and what was begun is resumed.

    After a failure of the device, the jobs that are left train in a fresh process; a job whose device fails twice is
    left out.
    """

    models: Models
    orders: Orders
    watch: Watch
    together: int = 1
    """How many jobs train in lock-step, at most."""
    lost: bool = False
    """Whether the device has failed, so that this process cannot use it any more."""

    def train(self, jobs: Sequence[Job], until: int | None = None) -> None:
        """Train jobs in their order.

        Args:
            jobs: what to train.
            until: as for `Worker.work`.

        Raises:
            NadaError: a job failed, and the orders are to stop on errors.
        """
        losses: Counter[str] = Counter()
        while failure := self._attempt(jobs, until):
            self.lost = True
            losses[failure.job.id] += 1
            log.warning("%s; the jobs that are left train in a fresh process", failure)
            if losses[failure.job.id] >= ATTEMPTS:
                record_failure(self.orders.folder(failure.job), failure.reason)
                self.watch.settled(failure.job)
                if self.orders.stop_on_error:
                    raise NadaError(f"{failure.job.folder_name} failed: {failure.reason}") from failure
            jobs = [job for job in jobs if losses[job.id] < ATTEMPTS]

    def save_stopped(self, jobs: Sequence[Job]) -> None:
        """Write the results of jobs that a comparison has stopped."""
        models = Models(self.models.load, torch.device("cpu")) if self.lost else self.models
        for job in jobs:
            Worker(models, self.orders, self.watch).save_stopped(job)

    def _attempt(self, jobs: Sequence[Job], until: int | None) -> DeviceLost | None:
        """Train jobs here, or in another process if the device is lost to this one; a failure of the device."""
        if self.lost:
            return self._in_fresh_process(jobs, until)
        try:
            _work(jobs, Worker(self.models, self.orders, self.watch), self.together, until)
        except DeviceLost as error:
            return error
        return None

    def _in_fresh_process(self, jobs: Sequence[Job], until: int | None) -> DeviceLost | None:
        """Train jobs in a process that has its own connection to the device; the failure that ended it, if any."""
        if not jobs:
            return None
        spawned = multiprocessing.get_context("spawn")  # a forked process would share what is broken
        here, there = spawned.Pipe()
        work = (there, jobs, self.models, self.orders, self.together, until)
        process = spawned.Process(target=_child, args=work)
        process.start()
        there.close()
        try:
            return self._listen(here, {job.id: job for job in jobs}, jobs[0])
        except EOFError:  # it was killed
            process.join()
            return DeviceLost(self._last, f"its process ended with {process.exitcode}")
        except BaseException:
            process.terminate()  # what it has stored stays
            raise
        finally:
            process.join()

    def _listen(self, pipe: Connection, known: Mapping[str, Job], first: Job) -> DeviceLost | None:
        """Pass on what another process tells, until its end."""
        self._last = first
        while True:
            kind, content = pipe.recv()
            if kind == "begun":
                self._last = known[content[0]]
                self.watch.begun(self._last, content[1])
            elif kind == "stepped":
                self._last = known[content[0]]
                self.watch.stepped(self._last, *content[1:])
            elif kind == "settled":
                self.watch.settled(known[content])
            elif kind == "stop?":
                pipe.send(self.watch.stop())
            elif kind == "lost":
                return DeviceLost(known[content[0]], content[1])
            elif kind == "failed":
                raise NadaError(content)
            else:
                return None


def _work(jobs: Sequence[Job], worker: Worker, together: int, until: int | None) -> None:
    for group in groups(jobs, together):
        if worker.watch.stop():
            return
        worker.work(group, until)


def _child(
    pipe: Connection, jobs: Sequence[Job], models: Models, orders: Orders, together: int, until: int | None
) -> None:
    """Train jobs for another process, which is told what happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both, and the other one answers `stop`

    def stop() -> bool:
        pipe.send(("stop?", None))
        return bool(pipe.recv())

    watch = Watch(
        begun=lambda job, iteration: pipe.send(("begun", (job.id, iteration))),
        stepped=lambda job, iteration, loss: pipe.send(("stepped", (job.id, iteration, loss))),
        settled=lambda job: pipe.send(("settled", job.id)),
        stop=stop,
    )
    try:
        _work(jobs, Worker(models, orders, watch), together, until)
        message: tuple[str, Any] = ("done", None)
    except DeviceLost as error:
        message = ("lost", (error.job.id, error.reason))
    except NadaError as error:
        message = ("failed", str(error))
    pipe.send(message)
