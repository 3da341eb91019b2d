"""The engine of one machine: jobs one after the other in this process, and in a fresh one if the device fails."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ..errors import NadaError
from .jobs import Job, Models
from .state import Orders, record_failure
from .work import DeviceLost, Watch, Worker

log = logging.getLogger(__name__)
ATTEMPTS = 2  # of a job whose device fails: in this process, and in a fresh one


def groups(jobs: Sequence[Job], together: int) -> Iterator[list[Job]]:
    """Jobs in their order, those that can train in lock-step drawn together, at most so many at a time."""
    left = list(jobs)
    while left:
        group = [job for job in left if job.kind == left[0].kind][:together]
        taken = {job.id for job in group}
        left = [job for job in left if job.id not in taken]
        yield group


def run_local(
    jobs: Sequence[Job], models: Models, orders: Orders, watch: Watch, together: int = 1, until: int | None = None
) -> None:
    """Train jobs in this process. What is done already is not repeated, and what was begun is resumed.

    After a failure of the device, the jobs that are left train in a fresh process; a job whose device fails twice is
    left out.

    Args:
        jobs: in the order of their training.
        models: loaded on the device.
        orders, watch: see `Worker`.
        together: how many jobs train in lock-step, at most.
        until: as for `Worker.work`.

    Raises:
        NadaError: a job failed, and the orders are to stop on errors.
    """
    try:
        _work(jobs, Worker(models, orders, watch), together, until)
        return
    except DeviceLost as error:
        lost = error
    losses: Counter[str] = Counter()
    while True:
        losses[lost.job.id] += 1
        log.warning("%s; the jobs that are left train in a fresh process", lost)
        if losses[lost.job.id] >= ATTEMPTS:
            record_failure(orders.folder(lost.job), lost.reason)
            watch.settled(lost.job)
            if orders.stop_on_error:
                raise lost
        jobs = [job for job in jobs if losses[job.id] < ATTEMPTS]
        found = _in_fresh_process(jobs, models, orders, watch, together, until)
        if found is None:
            return
        lost = found


def _work(jobs: Sequence[Job], worker: Worker, together: int, until: int | None) -> None:
    for group in groups(jobs, together):
        if worker.watch.stop():
            return
        worker.work(group, until)


def _in_fresh_process(
    jobs: Sequence[Job], models: Models, orders: Orders, watch: Watch, together: int, until: int | None
) -> DeviceLost | None:
    """Train jobs in a process that has its own connection to the device; the failure that ended it, if any."""
    spawned = multiprocessing.get_context("spawn")  # a forked process would share what is broken
    here, there = spawned.Pipe()
    process = spawned.Process(target=_child, args=(there, jobs, models, orders, together, until))
    process.start()
    there.close()
    known, last = {job.id: job for job in jobs}, jobs[0] if jobs else None
    try:
        while True:
            try:
                kind, content = here.recv()
            except EOFError:  # the process was killed
                break
            if kind == "begun":
                last = known[content[0]]
                watch.begun(last, content[1])
            elif kind == "stepped":
                watch.stepped(known[content[0]], *content[1:])
            elif kind == "settled":
                watch.settled(known[content])
            elif kind == "stop?":
                here.send(watch.stop())
            elif kind == "lost":
                return DeviceLost(known[content[0]], content[1])
            elif kind == "failed":
                raise NadaError(content)
            else:
                return None
    except BaseException:
        process.terminate()  # what it has stored stays
        raise
    finally:
        process.join()
    return DeviceLost(last, f"its process ended with {process.exitcode}") if last else None


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
