"""Measure the overhead of a sweep, and the savings of lock-step: `python benchmarks/sweep.py lock-step`, or `overhead`.

lock-step: seconds of an iteration of K targets, together and one after the other, in turns (on a CPU, processor time),
and the peak memory of one target and of all (on a CPU, of the whole process). overhead: seconds of the engine for each
job besides training it, in this process and, with --ray, on Ray.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from nada import AdaptConfig, adapt
from nada.adapt import Adaptation
from nada.cli.shared import load_base, pick_device
from nada.clip.loading import usual_clip
from nada.measure.evaluate import peak_memory
from nada.sweep.halving import Engine
from nada.sweep.jobs import Job, Models, resolve
from nada.sweep.local import LocalEngine
from nada.sweep.ray_engine import Cluster, on_ray
from nada.sweep.report import Report
from nada.sweep.state import Orders
from nada.sweep.work import Watch
from nada.training.lock_step import FrozenSide

TARGETS = ("sketch", "watercolor painting", "pixel art", "neon sign", "3d render", "chalk drawing")


def lock_step(args: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds of an iteration of each of K runs, with and without a shared frozen generator."""
    models = Models(load_base, pick_device(args.device))
    generator, clip = models.generator(args.generator), models.clip(args.clip or usual_clip(args.generator))
    first = AdaptConfig.for_generator(generator, "photo", TARGETS[0], batch=args.batch, iterations=10_000)
    runs: list[Adaptation] = []
    for target in TARGETS[: args.targets]:
        runs.append(adapt(generator, clip, replace(first, target=target)))
        seconds_of(runs[-1:], None, models.device)  # a special case, as both generators are still equal
        seconds_of(runs[-1:], None, models.device)
        if len(runs) == 1:
            peak_of_one = peak_memory(models.device)
    alone, together, side = [], [], FrozenSide()
    for _ in range(args.rounds):
        alone.append(seconds_of(runs, None, models.device))
        together.append(seconds_of(runs, side, models.device))
    one, other = median(alone), median(together)
    return {
        "seconds, one after the other": round(one, 4),
        "seconds, in lock-step": round(other, 4),
        "saved": f"{1 - other / one:.1%}",
        "MB that each target holds between its iterations": round(held(runs[0]) / 1e6, 1),
        "MB at the peak, one target": peak_of_one,
        "MB at the peak, in lock-step": peak_memory(models.device),
    }


def seconds_of(runs: list[Adaptation], side: FrozenSide | None, device: torch.device) -> float:
    """Seconds of an iteration of all runs: processor time on a CPU, since others hardly change it, else wall time."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    began = clock()
    for run in runs:
        run.frozen_side = side
        next(run)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began


def held(run: Adaptation) -> int:
    """Bytes that a run holds between iterations: the trained generator, and Adam's averages."""
    averages = [value for state in run.trainer.optimizer.state.values() for value in state.values()]
    return sum(t.numel() * t.element_size() for t in (*run.trained.state_dict().values(), *averages))


def overhead(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an engine per job, measured by passes over finished jobs, which train nothing."""
    models = Models(load_base, pick_device(args.device))
    shared = {"generator": args.generator, "source": "photo", "iterations": 1, "batch": args.batch}
    shared |= {"clip": args.clip} if args.clip else {}
    jobs = resolve([{**shared, "target": target} for target in TARGETS[: args.targets]], models)
    with tempfile.TemporaryDirectory() as folder:
        orders = Orders(Path(folder))
        local = LocalEngine(models, orders, Watch(), args.targets)
        local.train(jobs)
        report = Report(orders.root, jobs, "benchmark")
        result = {"jobs": len(jobs), "in this process": passes(local, jobs, args.rounds)}
        result["page of all jobs"] = round(median(timed(report.save) for _ in range(args.rounds)), 4)
        if args.ray:
            began = time.perf_counter()
            with on_ray(jobs, load_base, orders, Watch(), 1, Cluster(workers=args.workers)) as engine:
                engine.train(jobs)  # starts the workers
                result["seconds to start Ray and its workers"] = round(time.perf_counter() - began, 1)
                result["on Ray"] = passes(engine, jobs, args.rounds)
    return result


def passes(engine: Engine, jobs: list[Job], rounds: int) -> float:
    """Median seconds per job of passes over finished jobs."""
    return round(median(timed(lambda: engine.train(jobs)) for _ in range(rounds)) / len(jobs), 4)


def timed(work: Any) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("lock-step", "overhead"), help="measurement to do")
    parser.add_argument("--generator", default="demo", help="generator, as for `nada adapt` (default: %(default)s)")
    parser.add_argument("--clip", help="CLIP models, as for `nada adapt` (default: its default)")
    parser.add_argument("--device", default="auto", help="device (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="images per iteration (default: %(default)s)")
    parser.add_argument(
        "--targets",
        type=int,
        default=4,
        choices=range(2, len(TARGETS) + 1),
        help="number of targets (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default: %(default)s)")
    parser.add_argument("--ray", action="store_true", help="measure the overhead on Ray too")
    parser.add_argument("--workers", type=int, default=2, help="workers on Ray (default: %(default)s)")
    args = parser.parse_args()
    result = {"generator": args.generator, "device": str(pick_device(args.device)), "threads": torch.get_num_threads()}
    result |= lock_step(args) if args.part == "lock-step" else overhead(args)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
