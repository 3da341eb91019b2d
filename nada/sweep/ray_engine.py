"""The Ray engine, for several GPUs and hosts: actors that keep their models loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..clip.loading import ClipSpec
from ..demo import CLIPS, GENERATORS, NAME
from ..errors import NadaError, UsageError, is_out_of_memory
from ..generators.threads import use_threads
from .estimate import measure_step, step_kind
from .jobs import Job, LoadGenerator, Models
from .local import groups
from .state import Orders, record_failure
from .work import DeviceLost, Watch, Worker

log = logging.getLogger(__name__)

LOCAL = "local"  # in place of an address: starts a cluster on this machine, which ends with the command
RETRIES = 3  # number of retries of a job whose worker is lost
POLL = 0.5  # seconds between checks for an interrupt
CONTEXT = 700_000_000  # bytes that a process needs on a GPU besides its tensors
SPARE = 1.2  # safety factor for memory that the measured iteration did not show
OPTIMIZER = 16  # bytes per trained number of each further job in a group: weight, gradient, and Adam's averages


@dataclass(frozen=True)
class Cluster:
    """The Ray cluster to use, and the resources to take from it."""

    address: str = LOCAL
    """`LOCAL`, or the address of a cluster, such as "auto" or "ray://HOST:10001"."""
    workers: int | None = None
    """Number of workers; None for as many as fit."""
    threads: int = 1
    """CPU threads of each worker."""
    on_gpu: bool = True
    """Whether to use the GPUs of the cluster, if it has any."""


class RayEngine:
    """Engine that trains jobs on the workers of a Ray cluster; `on_ray` makes one."""

    def __init__(self, ray: ModuleType, actors: Sequence[Any], orders: Orders, watch: Watch, together: int):
        self.ray, self.actors, self.orders, self.watch, self.together = ray, actors, orders, watch, together

    def train(self, jobs: Sequence[Job], until: int | None = None) -> None:
        """Train jobs; each free worker takes the next group.

        Raises:
            NadaError: a job failed, and the orders are to stop on errors.
        """
        self._spread("train", [(group, until) for group in groups(jobs, self.together)])

    def save_stopped(self, jobs: Sequence[Job]) -> None:
        """Write the results of jobs that a comparison has stopped."""
        self._spread("save_stopped", [([job], None) for job in jobs])

    def _spread(self, method: str, tasks: list[tuple[list[Job], int | None]]) -> None:
        """Call a method of the workers for each task, whenever one is free.

        On an interrupt or a failure all workers are told to stop, and this waits until they have saved their states.

        Raises:
            NadaError: a worker failed; the message is that of the first failure.
        """
        free, stopped, failure = list(self.actors), False, ""
        running: dict[Any, tuple[Any, list[Job]]] = {}
        while (tasks and not stopped) or running:
            while tasks and free and not stopped:
                (group, until), actor = tasks.pop(0), free.pop()
                running[getattr(actor, method).remote(group, until)] = actor, group
            done, _ = self.ray.wait(list(running), timeout=POLL)
            for reference in done:
                actor, group = running.pop(reference)
                free.append(actor)
                told = self._take(reference, group)
                failure = failure or told
            if not stopped and (failure or self.watch.stop()):
                stopped = True
                self._stop()
        if failure:
            raise NadaError(failure)

    def _take(self, reference: Any, group: Sequence[Job]) -> str:
        """Record a group whose worker was lost, and settle its jobs; returns the reason to stop the sweep, or ""."""
        try:
            failure = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            failure = ""
            for job in group:
                record_failure(self.orders.folder(job), f"its worker was lost {RETRIES + 1} times: {error}"[:500])
        for job in group:
            self.watch.settled(job)
        return failure

    def _stop(self) -> None:
        """Tell all workers to save their states after the current iteration, and stop."""
        for actor in self.actors:
            actor.stop.remote()


@contextmanager
def on_ray(
    jobs: Sequence[Job], load: LoadGenerator, orders: Orders, watch: Watch, together: int, cluster: Cluster
) -> Iterator[RayEngine]:
    """Context with an engine on a Ray cluster, which is disconnected on exit.

    Args:
        jobs: all jobs to be trained; an iteration of each kind is measured, to see how many workers fit on a GPU.
        load: loads a generator by file or name; a function of a module that the cluster has too.
        orders: orders whose folder all hosts see under the same path.
        watch: is called when jobs are settled, and asked whether to stop.
        together: largest number of jobs that a worker trains in lock-step.
        cluster: the cluster to use.

    Raises:
        NadaError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = _ray()
    try:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if cluster.address == LOCAL:
            cpus = None if cluster.workers is None else cluster.workers * cluster.threads
            ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            ray.init(address=cluster.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise NadaError(f"the Ray cluster {cluster.address!r} cannot be reached: {str(error)[:300]}") from error
    try:
        resources = ray.cluster_resources()
        on_gpu = cluster.on_gpu and resources.get("GPU", 0) > 0
        device = torch.device("cuda" if on_gpu else "cpu")
        options: dict[str, Any] = {"num_cpus": cluster.threads, "num_gpus": 0}
        room = int(resources.get("CPU", 1) // cluster.threads)
        if on_gpu:
            options["num_gpus"] = share = _share(ray, jobs, load, device, together)
            room = min(room, int(resources["GPU"]) * int(1 / share))
        count = cluster.workers or room
        if not 1 <= count <= room:
            raise UsageError(
                f"{count} workers of {cluster.threads} threads were requested, but there is room for {room}; use "
                "fewer --workers or --threads"
            )
        # Two concurrent calls: while one trains, `stop` can reach the actor.
        options |= {"max_restarts": -1, "max_task_retries": RETRIES, "max_concurrency": 2}
        actor = ray.remote(**options)(Remote)
        actors = [actor.remote(load, device, orders, cluster.threads) for _ in range(count)]
        yield RayEngine(ray, actors, orders, watch, together)
    finally:
        ray.shutdown()


class Remote:
    """Ray actor around a `Worker`, in its own process on any host."""

    def __init__(self, load: LoadGenerator, device: torch.device, orders: Orders, threads: int):
        use_threads(threads)
        self.stopped = False
        self.worker = Worker(Models(load, device), orders, Watch(stop=lambda: self.stopped))

    def train(self, jobs: Sequence[Job], until: int | None) -> str:
        """Train a group of jobs; returns the reason to stop the whole sweep, or ""."""
        return "" if self.stopped else _told(lambda: self.worker.work(jobs, until))

    def save_stopped(self, jobs: Sequence[Job], until: None) -> str:
        """Write the results of jobs that a comparison has stopped; returns as `train` does."""

        def save() -> None:
            for job in jobs:
                self.worker.save_stopped(job)

        return _told(save)

    def stop(self) -> None:
        """Stop after the current iteration."""
        self.stopped = True


def _told(work: Callable[[], object]) -> str:
    """Do a worker's work; returns the message of an error that should stop the sweep, or ""."""
    try:
        work()
    except DeviceLost as error:
        log.warning("%s", error)
        os._exit(1)  # Ray starts a new process, which does the work again
    except NadaError as error:
        return str(error)
    return ""


def absolute(jobs: Sequence[Job]) -> list[Job]:
    """Make the paths in jobs absolute, so that they are valid from any folder."""
    return [
        replace(
            job,
            generator=job.generator if job.generator in GENERATORS else _path(job.generator),
            clip=absolute_clip(job.clip),
            style_images=tuple(map(_path, job.style_images)),
        )
        for job in jobs
    ]


def absolute_clip(spec: str) -> str:
    """Make the paths in a specification of CLIP models absolute."""
    return ",".join(map(_absolute_entry, ClipSpec.parse(spec)))


def _path(name: str) -> str:
    """Return the absolute path of a file or folder; what is neither is a name, and stays."""
    return str(Path(name).absolute()) if Path(name).exists() else name


def _absolute_entry(entry: ClipSpec) -> str:
    """Return an entry of a specification with an absolute path, be it FOLDER or ARCHITECTURE@FILE."""
    name, at, weights = entry.source.partition("@")
    if entry.source in (NAME, *CLIPS):
        source = entry.source
    elif at and not Path(entry.source).exists():  # the name of a folder may have an @ too
        source = f"{name}@{_path(weights)}"
    else:
        source = _path(entry.source)
    return source if entry.weight == 1 else f"{source}:{entry.weight!r}"


def _share(ray: ModuleType, jobs: Sequence[Job], load: LoadGenerator, device: torch.device, together: int) -> float:
    """Share of a GPU that a worker needs for any of the jobs, from the measured memory of iterations."""
    kinds = list({step_kind(job): job for job in jobs}.values())
    probe = ray.remote(num_gpus=1, max_calls=1)(measured_on_gpu)
    measured, total = ray.get(probe.remote(kinds, load, device))
    needed = [SPARE * (peak + CONTEXT + (together - 1) * OPTIMIZER * trained) for peak, trained in measured]
    return min(1.0, ceil(100 * max(needed, default=total) / total) / 100)


def measured_on_gpu(
    jobs: Sequence[Job], load: LoadGenerator, device: torch.device
) -> tuple[list[tuple[int, int]], int]:
    """Measure an iteration of each job on a GPU; jobs that cannot train are left out, as they fail later with a reason.

    Returns:
        Peak memory in bytes and count of trained numbers of each job, and the memory of the GPU in bytes.
    """
    models, total = Models(load, device), torch.cuda.get_device_properties(device).total_memory
    measured = []
    for job in jobs:
        try:
            peak = measure_step(job, models).peak_bytes
        except NadaError:
            continue
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            peak = total
        generator = models.generator(job.generator)
        layers = [generator.parameters_of(name) for name in job.config.trained_layers(generator)]
        measured.append((peak, sum(part.numel() for parts in layers for part in parts.values())))
    return measured, total


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise NadaError(
            "Ray, which --ray needs to train on several GPUs and hosts, is not installed: pip install "
            "'ray>=2.9'. Without --ray, a sweep trains one job after the other on this machine"
        ) from error
    return ray
