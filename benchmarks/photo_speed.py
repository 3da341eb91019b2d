"""Seconds and memory for each photo: `python benchmarks/photo_speed.py --resolution 1024 --batch 1 2 4`.

Measures an encoder (e4e), an iteration of the projection and one of the tuning. All networks have random weights and
the sizes of e4e and of StyleGAN2's config-f, since their images do not matter here. Each measurement has a process of
its own, so that its peak memory is that of nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from clock import clock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nada import Generator, GeneratorConfig, ProjectConfig, TuneConfig, load_clip, project, tune
from nada.cli.shared import pick_device
from nada.measure.evaluate import peak_memory
from nada.photo.encoders.published import CodeNetwork, EncoderConfig, PublishedEncoder

CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64, 32)  # channels of config-f, from 4 px up
TRUNK = (64, 64, 128, 256, 512)  # widths of IR-SE-50


@dataclass(frozen=True)
class Case:
    """One measurement: the part, and its sizes and settings.

    Attributes:
        part: one of `PARTS`.
        steps: number of timed iterations, after one that includes one-time setup.
        clip: CLIP models, "" for none.
        threads: threads of PyTorch on a CPU, 0 for its own choice.
    """

    part: str
    resolution: int
    batch: int
    steps: int
    clip: str
    device: str
    threads: int


def encoder(case: Case, generator: Generator, photos: torch.Tensor) -> Callable[[], object]:
    config = EncoderConfig(True, "ir_se", TRUNK, generator.num_ws, generator.config.w_dim, pyramid=True)
    average = torch.zeros(1, config.w_dim)
    network = PublishedEncoder(config, CodeNetwork(config), average).eval().requires_grad_(False).to(photos.device)
    return lambda: network.encode(photos, generator)


def projection(case: Case, generator: Generator, photos: torch.Tensor) -> Callable[[], object]:
    clip = load_clip(case.clip, photos.device) if case.clip else None
    run = project(generator, photos, ProjectConfig(w_iterations=0, plus_iterations=case.steps + 1), clip)
    return lambda: next(run)


def tuning(case: Case, generator: Generator, photos: torch.Tensor) -> Callable[[], object]:
    clip = load_clip(case.clip, photos.device) if case.clip else None
    ws = generator.mapping.w_avg.expand(len(photos), generator.num_ws, -1)
    run = tune(generator, ws, photos, TuneConfig(iterations=case.steps + 1), clip)
    return lambda: next(run)


PARTS = {"encoder": encoder, "projection": projection, "tuning": tuning}


def measure(case: Case) -> tuple[float, int | None]:
    """Seconds of an iteration for each photo, and the process's peak memory in MB."""
    if case.threads:
        torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    config = GeneratorConfig(case.resolution, CHANNELS[: case.resolution.bit_length() - 2])
    generator = Generator(config).requires_grad_(False).to(device)
    photos = torch.zeros(case.batch, 3, case.resolution, case.resolution, device=device)
    step = PARTS[case.part](case, generator, photos)
    step()
    began = clock(device)
    for _ in range(case.steps):
        step()
    return (clock(device) - began) / case.steps / case.batch, peak_memory(device)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256, help="size of the generator (default: %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="photos at once (default: %(default)s)")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=[*PARTS], help="parts to measure (default: all of them)"
    )
    parser.add_argument("--steps", type=int, default=3, help="iterations to time (default: %(default)s)")
    parser.add_argument("--clip", default="", help="CLIP models, as for `nada invert` (default: none)")
    parser.add_argument("--device", default="auto", help="device (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch on a CPU (default: its own choice)")
    args = parser.parse_args()
    device = pick_device(args.device)
    print(f"| photos at once, {args.resolution} px | {' | '.join(f'{part}: s | MB' for part in args.parts)} |")
    print("| --- |" + " --- | --- |" * len(args.parts))
    for batch in args.batch:
        cells = [str(batch)]
        for part in args.parts:
            case = Case(part, args.resolution, batch, args.steps, args.clip, str(device), args.threads)
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                seconds, memory = pool.submit(measure, case).result()
            cells += [f"{seconds:.3g}", str(memory)]
            print(f"{batch} at once, {part}: {seconds:.3g} s, {memory} MB", file=sys.stderr, flush=True)
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
