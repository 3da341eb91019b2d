"""Estimate the time and the disk space that a sweep needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..adapt import adapt
from ..errors import NadaError
from ..pictures.grids import TILE_MAX, TILE_MIN
from ..runs.results import PREVIEWS, STRIP_COLUMNS, STRIP_ROWS
from ..seeding import seeded
from ..training.trainable import Trainable
from .jobs import Job, Models
from .plan import GENERATOR, NONE

TIMED = 3  # iterations of a measurement: the first one also loads and compiles, the next two are timed
STATE, STYLE, WEIGHT, PIXEL = 12, 2, 4, 1.1  # bytes per trained number in a state and a style, per weight, per pixel


@dataclass(frozen=True)
class Step:
    """Measured cost of an iteration."""

    seconds: float
    """Mean time, to which the selection of layers contributes as often as the settings ask for it."""
    peak_bytes: int
    """Peak memory on the device; 0 where PyTorch does not measure it."""


def measure_step(job: Job, models: Models) -> Step:
    """Measure the time and the peak memory of an iteration of a job."""
    generator, clip, device = models.generator(job.generator), models.clip(job.clip), models.device
    images, _ = models.style_images(job.style_images, generator.config.image_size)
    # Every second iteration selects layers: the first one, and the last of the two that are timed.
    run = adapt(generator, clip, replace(job.config, iterations=TIMED, select_every=2), images)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    _, plain, selecting = (step.seconds for step in run)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Step(plain + (selecting - plain) / job.config.select_every, peak)


def step_kind(job: Job) -> str:
    """Key that is equal for jobs whose iterations take the same time: texts, images, seed and length do not count."""
    settings = asdict(job.config) | {"source": "", "target": "", "seed": 0, "iterations": 0}
    return json.dumps([job.generator, job.clip, settings], sort_keys=True)


def seconds_of(jobs: Sequence[Job], models: Models) -> list[float]:
    """Estimate the seconds of training of each job, from measured iterations of each kind."""
    steps: dict[str, Step] = {}
    for job in jobs:
        if (kind := step_kind(job)) not in steps:
            steps[kind] = measure_step(job, models)
    return [steps[step_kind(job)].seconds * job.config.iterations for job in jobs]


def bytes_of(job: Job, models: Models, keep: str) -> tuple[int, int]:
    """Estimate the bytes that a job takes on disk.

    Args:
        job: the job.
        models: source of its generator.
        keep: results to keep: one of the values of `keep` in a sweep's file.

    Returns:
        The bytes that are kept, and those that are needed besides while it trains.
    """
    generator, config = models.generator(job.generator), job.config
    trainable = Trainable(generator, config.trained_layers(generator), config.train, config.rank, seeded(0))
    numbers = sum(p.numel() for parts in trainable.parameters.values() for p in parts.values())
    leaves = sum(leaf.numel() for leaf in trainable.leaves.values())
    tile = min(max(generator.config.resolution, TILE_MIN), TILE_MAX)
    kept = (2 * PREVIEWS + (1 + STRIP_COLUMNS) * STRIP_ROWS) * round(tile * tile * PIXEL)
    working = STATE * leaves + STRIP_COLUMNS * STYLE * numbers
    if keep != NONE:
        kept += STYLE * numbers
    if keep == GENERATOR:
        weights = sum(tensor.numel() for tensor in generator.state_dict().values())
        kept, working = kept + WEIGHT * weights + working, 0
    return kept, working


def _size_kind(job: Job, models: Models) -> tuple[Any, ...]:
    """Key that is equal for jobs whose results take the same space: only what is trained counts."""
    config = job.config
    return job.generator, config.trained_layers(models.generator(job.generator)), config.train, config.rank


def refuse_short_disk(root: Path, jobs: Sequence[Job], models: Models, keep: str, together: int) -> int:
    """Estimate the bytes that the results of jobs need on disk.

    Args:
        root: folder of the sweep, which need not exist.
        jobs: the jobs that are left.
        models: source of their generators.
        keep: results to keep: one of the values of `keep` in a sweep's file.
        together: largest number of jobs that train at the same time.

    Raises:
        NadaError: the disk has less free space than that.
    """
    kinds = [_size_kind(job, models) for job in jobs]
    known = {kind: bytes_of(job, models, keep) for kind, job in dict(zip(kinds, jobs, strict=True)).items()}
    sizes = [known[kind] for kind in kinds]
    total = sum(kept for kept, _ in sizes) + sum(sorted(working for _, working in sizes)[-together:])
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if total > free:
        raise NadaError(
            f"the sweep needs about {total / 1e9:.1f} GB in {root}, and {free / 1e9:.1f} GB are free; free some space, "
            "keep less (keep: style or none), or choose another folder"
        )
    return total
