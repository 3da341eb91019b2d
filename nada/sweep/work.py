"""Train jobs, alone or in lock-step: resume, train, measure and save them."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ..adapt import AdaptStep
from ..checkpoint.metadata import fits
from ..errors import BusyError, NadaError, UsageError, is_out_of_memory
from ..measure.evaluate import evaluate
from ..measure.judging import measures_for
from ..runs.folder import SNAPSHOTS, STATES
from ..runs.kept_run import KeptRun
from ..runs.out_of_memory import sparing
from ..runs.results import save_results
from ..runs.snapshots import evenly
from ..styles.files import load_style
from ..styles.style import Style, apply_style
from ..training.lock_step import FrozenSide
from .jobs import Job, Models, job_id
from .plan import GENERATOR, NONE
from .state import (
    DONE,
    PLANNED,
    STOPPED,
    Orders,
    forget_failure,
    is_measured,
    record_failure,
    save_measures,
    status,
    style_file,
)

log = logging.getLogger(__name__)

Running = tuple[Job, KeptRun, Iterator[AdaptStep]]
# Errors of PyTorch after which this process cannot use the device anymore, although another process can.
_DEVICE_LOST = re.compile(r"CUDA error|HIP error|cuDNN error|CUDNN_STATUS|CUBLAS_STATUS_(?!ALLOC)")


class DeviceLost(NadaError):
    """Error: this process cannot use the GPU anymore.

    Args:
        job: job that was being trained.
        reason: message of PyTorch.
    """

    def __init__(self, job: Job, reason: str):
        super().__init__(f"the device failed: {reason}")
        self.job, self.reason = job, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return DeviceLost, (self.job, self.reason)


class _Stopped(Exception):
    """The user has asked to stop."""


@dataclass
class Watch:
    """Callbacks (hooks) that a worker calls while it works."""

    opened: Callable[[Job, KeptRun], None] = lambda job, kept: None
    """Called with a job and its run before its first iteration, only in the process that trains it."""
    begun: Callable[[Job, int], None] = lambda job, iteration: None
    """Called with a job and the number of iterations done before."""
    stepped: Callable[[Job, int, float], None] = lambda job, iteration, loss: None
    """Called after each iteration with the job, the iteration's number and its loss."""
    settled: Callable[[Job], None] = lambda job: None
    """Called when a job is done, has failed, or waits for a comparison."""
    stop: Callable[[], bool] = lambda: False
    """Returns whether to save all states and stop after the current iteration, or during a measurement."""


@dataclass
class Worker:
    """Worker that trains jobs with models that stay loaded."""

    models: Models
    orders: Orders
    watch: Watch = field(default_factory=Watch)

    def work(self, jobs: Sequence[Job], until: int | None = None) -> None:
        """Train jobs to their ends, in lock-step. Finished jobs are skipped.

        Args:
            jobs: jobs of the same `Job.kind`.
            until: iteration at which to stop, and to save and measure each job for a comparison; None for its end.

        Raises:
            DeviceLost: the device failed, which another process may survive.
            NadaError: a job failed, and the orders are to stop on errors.
        """
        crowded: list[Job] = []
        with ExitStack() as locks, suppress(_Stopped):
            mine = [job for job in jobs if self._claimed(job, locks)]
            self._train(mine, until, crowded)
            for job in crowded:  # the memory may suffice for one job, if not for several
                self._train([job], until, [])

    def save_stopped(self, job: Job) -> None:
        """Save the results of a job that a comparison has stopped. Its state is kept, so that it can be resumed.

        Nothing is written if another process works on the job, or has saved its results.
        """
        with ExitStack() as locks:
            if not self._claimed(job, locks):
                return
            if status(self.orders.folder(job), job.config.iterations) in (STOPPED, DONE):
                return
            with self._failures(job, None):
                kept = self._begin(job)
                self._save(kept, interrupted=True)
                self.watch.settled(job)

    def _claimed(self, job: Job, locks: ExitStack) -> bool:
        """Lock a job; False if another process works on it. The lock ends with this process, even if it is killed."""
        try:
            locks.enter_context(self.orders.folder(job).alone())
        except BusyError:
            log.info("another process works on %s", job.folder_name)
            return False
        return True

    def _train(self, jobs: Sequence[Job], until: int | None, crowded: list[Job]) -> None:
        """Train jobs in lock-step; jobs for which memory is short beside others are added to `crowded`.

        If the user or a failure stops the work, all states are saved first, except if the device is lost.
        """
        runs: dict[str, Running] = {}
        try:
            self._train_all(jobs, until, crowded, runs)
        except DeviceLost:
            raise
        except Exception:
            for _, kept, _ in runs.values():
                kept.keep()
            raise

    def _train_all(self, jobs: Sequence[Job], until: int | None, crowded: list[Job], runs: dict[str, Running]) -> None:
        """Train jobs as `_train` does; `runs` holds those that have begun and not ended, by the ids of their jobs."""
        side = FrozenSide() if len(jobs) > 1 else None
        for job in jobs:
            with self._failures(job, crowded if len(jobs) > 1 else None):
                if status(self.orders.folder(job), job.config.iterations) == DONE:
                    self._complete(job)
                    self.watch.settled(job)
                    continue
                kept = self._begin(job)
                kept.run.frozen_side = side
                self.watch.opened(job, kept)
                self.watch.begun(job, kept.begin)
                runs[job.id] = job, kept, sparing(kept, kept.run)
        while runs:
            # The run that is furthest behind comes next, so that all make the same random draws in turn.
            job, kept, steps = min(runs.values(), key=lambda entry: entry[1].run.iteration)
            goal = min(until or job.config.iterations, job.config.iterations)
            with self._failures(job, crowded if len(runs) > 1 else None, kept):
                if kept.run.iteration < goal:
                    kept.run.start_clock()  # excludes other jobs' time since this one's last iteration
                    step = next(steps)
                    self.watch.stepped(job, step.iteration, float(step.loss))
                    self._check_stop()
                    continue
                kept.keep()
                self._finish(job, kept, goal)
            del runs[job.id], kept, steps

    def _check_stop(self, made: int = 0) -> None:
        """Raise `_Stopped` if the user has asked to stop; also the callback of `evaluate`, which has `made` images."""
        if self.watch.stop():
            raise _Stopped("the user has asked to stop")

    @contextmanager
    def _failures(self, job: Job, crowded: list[Job] | None, kept: KeptRun | None = None) -> Iterator[None]:
        """Record a failure, so that it does not stop the other jobs.

        Args:
            job: the job in progress.
            crowded: list to which a job that ran out of memory beside others is added; None if it trains alone.
            kept: its run, whose state is saved if it runs out of memory, so that the job resumes from there.

        Raises:
            DeviceLost: the device failed.
            NadaError: the job failed, and the orders are to stop on errors; a `UsageError` as it is.
        """
        try:
            yield
        except _Stopped:
            raise
        except Exception as error:
            no_memory = is_out_of_memory(error)
            if no_memory and kept is not None:
                kept.keep()
            if crowded is not None and no_memory:
                crowded.append(job)
                return
            if isinstance(error, RuntimeError) and _DEVICE_LOST.search(str(error)) and not no_memory:
                raise DeviceLost(job, " ".join(str(error).split())[:300]) from error
            known = isinstance(error, (NadaError, OSError)) or no_memory
            sentence = (str(error) if known else f"{type(error).__name__}: {error}") or type(error).__name__
            log.error("%s failed: %s", job.folder_name, sentence, exc_info=not known)  # a defect shows its traceback
            record_failure(self.orders.folder(job), sentence)
            self.watch.settled(job)
            if self.orders.stop_on_error:
                if isinstance(error, UsageError):
                    raise
                # Engines pass on a `NadaError` only; any other error would look like the loss of a worker.
                raise NadaError(f"{job.folder_name} failed: {sentence}") from error

    def _begin(self, job: Job) -> KeptRun:
        """Begin the run of a job, or resume it from its latest state."""
        folder = self.orders.folder(job)
        folder.prepare()
        forget_failure(folder)
        moments = {*evenly(job.config.iterations, self.orders.snapshots), *self.orders.rungs}
        notes: dict[str, Any] = {"generator": job.generator, "clip": job.clip, "device": str(self.models.device)}
        notes |= {"style_images": list(job.style_images), "snapshot_every": None, PLANNED: job.settings}
        generator, clip = self.models.generator(job.generator), self.models.clip(job.clip)
        images, digest = self.models.style_images(job.style_images, generator.config.image_size)
        if job_id(self.models.fingerprint(job.generator), clip, job.config, digest) != job.id:
            raise NadaError(
                "its generator, CLIP models or style images are not those that the sweep began with; run the same "
                "command again to train with those of now"
            )
        return KeptRun(folder, generator, clip, job.config, images, moments, notes)

    def _finish(self, job: Job, kept: KeptRun, iteration: int) -> None:
        """Measure a job at an iteration, and save its results if that is its end; the record is written last."""
        done = iteration == job.config.iterations
        moment = None if done else iteration
        if not is_measured(self.orders, job, moment):
            if style := _style_at(kept, iteration):
                self._measure(job, style, iteration, end=done)
            else:
                log.warning("%s has no snapshot of iteration %d to be compared by", job.folder_name, iteration)
        if done:
            self._save(kept)
            self._complete(job)
        self.watch.settled(job)

    def _save(self, kept: KeptRun, interrupted: bool = False) -> None:
        keep = self.orders.keep
        save_results(kept, interrupted, with_generator=keep == GENERATOR, with_style=keep != NONE, with_page=False)

    def _complete(self, job: Job) -> None:
        """Finish a job whose record is written: measure it if needed, and delete its states and snapshots."""
        folder = self.orders.folder(job)
        forget_failure(folder)
        remedy = f"delete {folder.path} and run the sweep again to train it again"
        if not is_measured(self.orders, job):  # the sweep file's measurement was added or changed afterwards
            if (path := style_file(folder)).is_file():
                self._measure(job, load_style(path), folder.record()["recipe"]["iterations_done"], end=True)
            else:
                log.warning("%s cannot be measured, because its style was not kept; %s", job.folder_name, remedy)
        if (keep := self.orders.keep) != NONE and not fits(folder.record(), {"files": {keep: str}}):
            log.warning("the %s of %s was not kept when it was trained; %s", keep, job.folder_name, remedy)
        if not fits(folder.record(), {"files": {"generator": str}}):  # with keep = generator, states and snapshots stay
            for name in (STATES, SNAPSHOTS):
                shutil.rmtree(folder.path / name, ignore_errors=True)

    def _measure(self, job: Job, style: Style, iteration: int, end: bool) -> None:
        """Measure a job by its style in half precision, so that the style loaded from its file measures the same."""
        evaluation, base = self.orders.evaluation, self.models.generator(job.generator)
        if evaluation is None:
            return
        spec, judge = evaluation.clip or job.clip, self.models.judge(job.generator)
        config = evaluation.config(job.config.target, job.config.source)
        extra = measures_for(judge, config.target) if judge else None
        result = evaluate(apply_style(base, style), self.models.clip(spec), config, base, extra, self._check_stop)
        save_measures(self.orders.folder(job), {"clip": spec, **result}, iteration, end)


def _style_at(kept: KeptRun, iteration: int) -> Style | None:
    """Style of a run at an iteration; of an earlier one from its snapshot, or None if there is no such snapshot."""
    if iteration == kept.run.iteration:
        return Style.between(kept.run.frozen, kept.run.trained)
    return next((snapshot.style for snapshot in kept.snapshots.all if snapshot.iteration == iteration), None)
