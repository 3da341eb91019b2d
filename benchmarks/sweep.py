"""What a sweep costs, and what lock-step saves: `python benchmarks/sweep.py`, or with one of its parts.

lock-step   seconds of a step of K targets together and one after the other, in turns; memory that each target adds
overhead    seconds that the engine takes for each job, beside training and saving it: in this process, or on Ray
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from nada import AdaptConfig, KeptRun, RunFolder, adapt
from nada.adapt import Adaptation
from nada.cli.shared import load_base, pick_device
from nada.clip.loading import usual_clip
from nada.runs.results import save_results
from nada.sweep.jobs import Job, Models, resolve
from nada.sweep.local import LocalEngine
from nada.sweep.ray_engine import Cluster, on_ray
from nada.sweep.report import Report
from nada.sweep.state import Orders
from nada.sweep.work import Watch
from nada.training.lock_step import FrozenSide

TARGETS = ("sketch", "watercolor painting", "pixel art", "neon sign", "3d render", "chalk drawing")


def lock_step(args: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds of a step of each of K runs, sharing the frozen side and not."""
    models = Models(load_base, pick_device(args.device))
    generator, clip = models.generator(args.generator), models.clip(args.clip or usual_clip(args.generator))
    first = AdaptConfig.for_generator(generator, "photo", TARGETS[0], batch=args.batch, iterations=10_000)
    runs, memory = [], [used(models.device)]
    for target in TARGETS[: args.targets]:
        runs.append(adapt(generator, clip, replace(first, target=target)))
        next(runs[-1])  # Adam's averages come with the first step
        memory.append(used(models.device))
    alone, together, side = [], [], FrozenSide()
    for _ in range(args.rounds):
        alone.append(seconds_of(runs, None, models.device))
        together.append(seconds_of(runs, side, models.device))
    one, other = median(alone), median(together)
    added = [round((after - before) / 1e6) for before, after in pairwise(memory)]
    return {
        "seconds, one after the other": round(one, 4),
        "seconds, in lock-step": round(other, 4),
        "saved": f"{1 - other / one:.1%}",
        "MB that each target adds": added if models.device.type == "cuda" else "not told on this device",
    }


def seconds_of(runs: list[Adaptation], side: FrozenSide | None, device: torch.device) -> float:
    """Seconds of a step of each run."""
    began = time.perf_counter()
    for run in runs:
        run.frozen_side = side
        next(run)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def used(device: torch.device) -> int:
    """Bytes of tensors on a CUDA device; 0 elsewhere."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def overhead(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds for each job: bare, and by the engine beside that."""
    models = Models(load_base, pick_device(args.device))
    shared = {"generator": args.generator, "source": "photo", "iterations": args.iterations, "batch": args.batch}
    shared |= {"clip": args.clip} if args.clip else {}
    jobs = resolve([{**shared, "target": target, "seed": s} for s in range(args.seeds) for target in TARGETS], models)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _trained(jobs[0], models, root / "warm-up")
        bare = timed(lambda: [_trained(job, models, root / f"bare-{i}") for i, job in enumerate(jobs)])
        orders = Orders(root / "sweep")
        report = Report(orders.root, jobs, "benchmark")
        began = time.perf_counter()
        if args.ray:
            with on_ray(jobs, load_base, orders, Watch(), 1, Cluster(workers=args.workers)) as engine:
                started = time.perf_counter() - began
                engine.train(jobs)
        else:
            started = 0.0
            watch = Watch(settled=lambda job: (report.update(job), report.refresh()))
            LocalEngine(models, orders, watch).train(jobs)
        report.save()
        swept = time.perf_counter() - began - started
        again = timed(lambda: LocalEngine(models, orders, Watch()).train(jobs))
    workers = args.workers if args.ray else 1
    return {
        "jobs": len(jobs),
        "seconds for a job, bare": round(bare / len(jobs), 3),
        "seconds for a job, by the engine": round(workers * swept / len(jobs), 3),
        "seconds to start the engine": round(started, 1),
        "seconds for a job that is done": round(again / len(jobs), 4),
    }


def _trained(job: Job, models: Models, path: Path) -> None:
    """A job without an engine: trained and saved."""
    kept = KeptRun(RunFolder(path), models.generator(job.generator), models.clip(job.clip), job.config)
    for _ in kept:
        pass
    save_results(kept, with_generator=False, with_page=False)


def timed(work: Any) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("lock-step", "overhead"))
    parser.add_argument("--generator", default="demo")
    parser.add_argument("--clip", help="default: as for `nada adapt`")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--targets", type=int, default=4, choices=range(2, len(TARGETS) + 1))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--iterations", type=int, default=3, help="of each job, for its overhead")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    result = {"generator": args.generator, "device": str(pick_device(args.device)), "threads": torch.get_num_threads()}
    result |= lock_step(args) if args.part == "lock-step" else overhead(args)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
