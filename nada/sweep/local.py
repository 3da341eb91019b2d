"""The local engine: train jobs one after the other in this process, or in a new one if the device fails."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..errors import NadaError
from .jobs import Job, Models
from .state import Orders, record_failure
from .work import DeviceLost, Watch, Worker

log = logging.getLogger(__name__)
TOGETHER = 4  # default number of jobs in lock-step
ATTEMPTS = 2  # number of times that a job is tried if the device fails: in this process, and in a new one


def groups(jobs: Sequence[Job], together: int) -> list[list[Job]]:
    """Group jobs that can train in lock-step, at most `together` per group, otherwise in their order."""
    found: list[list[Job]] = []
    latest: dict[str, list[Job]] = {}  # by kind
    for job in jobs:
        group = latest.get(job.kind)
        if group is None or len(group) >= together:
            group = latest[job.kind] = []
            found.append(group)
        group.append(job)
    return found


@dataclass
class LocalEngine:
    """Engine that trains jobs in this process. Finished jobs are skipped, and jobs that were begun are resumed.

    If the device fails, the remaining jobs train in a new process; a job during which the device fails twice is
    recorded as failed.
    """

    models: Models
    orders: Orders
    watch: Watch
    together: int = 1
    """Largest number of jobs in lock-step."""
    lost: bool = False
    """Whether the device has failed, so that this process cannot use it anymore."""

    def train(self, jobs: Sequence[Job], until: int | None = None) -> None:
        """Train jobs in their order.

        Args:
            jobs: jobs to train.
            until: as for `Worker.work`.

        Raises:
            NadaError: a job failed, and the orders are to stop on errors.
        """
        losses: Counter[str] = Counter()
        while failure := self._attempt(jobs, until):
            self.lost = True
            losses[failure.job.id] += 1
            log.warning("%s; the remaining jobs train in a new process", failure)
            if losses[failure.job.id] >= ATTEMPTS:
                record_failure(self.orders.folder(failure.job), failure.reason)
                self.watch.settled(failure.job)
                if self.orders.stop_on_error:
                    raise NadaError(f"{failure.job.folder_name} failed: {failure.reason}") from failure
            jobs = [job for job in jobs if losses[job.id] < ATTEMPTS]

    def save_stopped(self, jobs: Sequence[Job]) -> None:
        """Write the results of jobs that a comparison has stopped; on the CPU once the device has failed."""
        worker = self._saver()
        for job in jobs:
            try:
                worker.save_stopped(job)
            except DeviceLost as error:
                if self.lost:
                    raise
                log.warning("%s; the results of stopped jobs are made on the CPU", error)
                self.lost = True
                worker = self._saver()  # on the CPU from here on
                worker.save_stopped(job)

    def _saver(self) -> Worker:
        models = Models(self.models.load, torch.device("cpu")) if self.lost else self.models
        return Worker(models, self.orders, self.watch)

    def _attempt(self, jobs: Sequence[Job], until: int | None) -> DeviceLost | None:
        """Train jobs here, or in a new process if the device has failed here; returns a failure of the device."""
        if self.lost:
            return self._in_fresh_process(jobs, until)
        try:
            _work(jobs, Worker(self.models, self.orders, self.watch), self.together, until)
        except DeviceLost as error:
            return error
        return None

    def _in_fresh_process(self, jobs: Sequence[Job], until: int | None) -> DeviceLost | None:
        """Train jobs in a new process with its own device context; returns the failure that ended it, if any."""
        if not jobs:
            return None
        spawned = multiprocessing.get_context("spawn")  # a forked process would share the broken device context
        here, there = spawned.Pipe()
        work = (there, jobs, self.models, self.orders, self.together, until)
        process = spawned.Process(target=_child, args=work)
        process.start()
        there.close()
        try:
            return self._listen(here, {job.id: job for job in jobs}, jobs[0])
        except EOFError:  # the process was killed
            process.join()
            return DeviceLost(self._last, f"its process ended with {process.exitcode}")
        except BaseException:
            process.terminate()  # its saved states are kept
            raise
        finally:
            process.join()

    def _listen(self, pipe: Connection, known: Mapping[str, Job], first: Job) -> DeviceLost | None:
        """Forward the messages of the new process to `watch`, until it ends."""
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
    """Train jobs in the new process, and report to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes, and the parent answers `stop`

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
