"""Seconds and memory of projection and tuning: `python benchmarks/photo_speed.py --resolution 256 --batch 1 2 4`.

The generator has random weights and the sizes of config-f, since its images do not matter here. Give one resolution at
a time: the measured memory is the peak of the process so far.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nada import ClipEnsemble, Generator, GeneratorConfig, ProjectConfig, TuneConfig, load_clip, project, tune
from nada.cli.shared import pick_device
from nada.measure.evaluate import peak_memory

CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64, 32)  # channels of config-f, from 4 px up


def seconds(steps: Iterator[Any], device: torch.device, count: int) -> float:
    """Mean seconds of some steps, without the first, which includes one-time setup."""
    next(steps)
    _wait(device)
    began = time.perf_counter()
    for _ in islice(steps, count):
        pass
    _wait(device)
    return (time.perf_counter() - began) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(generator: Generator, clip: ClipEnsemble | None, batch: int, steps: int) -> dict[str, float | None]:
    """Measure seconds of a step per photo, and the peak memory so far."""
    size, device = generator.config.resolution, generator.device
    photos = torch.zeros(batch, 3, size, size, device=device)
    ws = generator.mapping.w_avg.expand(batch, generator.num_ws, -1)
    projection = project(generator, photos, ProjectConfig(w_iterations=0, plus_iterations=steps + 1), clip)
    row = {"projection": seconds(projection, device, steps) / batch, "its memory": peak_memory(device)}
    tuning = tune(generator, ws, photos, TuneConfig(iterations=steps + 1), clip)
    return row | {"tuning": seconds(tuning, device, steps) / batch, "both": peak_memory(device)}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256, help="size of the generator (default: %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="photos at once (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps to time (default: %(default)s)")
    parser.add_argument("--clip", help="CLIP models, as for `nada invert` (default: none)")
    parser.add_argument("--device", default="auto", help="device (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch on a CPU (default: its own choice)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    config = GeneratorConfig(args.resolution, CHANNELS[: args.resolution.bit_length() - 2])
    generator = Generator(config).requires_grad_(False).to(device)
    clip = load_clip(args.clip, device) if args.clip else None
    print(f"{args.resolution} px, {device}\n")
    print("| photos | projection: s per step and photo | MB | tuning: s per step and photo | MB |")
    print("| --- | --- | --- | --- | --- |")
    for batch in args.batch:
        row = measure(generator, clip, batch, args.steps)
        print(
            f"| {batch} | {row['projection']:.3f} | {row['its memory']} | {row['tuning']:.3f} | {row['both']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
