"""Our projection beside NVIDIA's, towards the same photos with the same loss: `python benchmarks/projector.py`.

NVIDIA's projector (Karras et al., arXiv 1912.04958, appendix D) is stated here again, with the settings of their code
for StyleGAN2-ADA. It starts from the mean of 10,000 codes, and optimizes one code for all layers and all noise maps,
with fading noise on the code. Here it minimizes our distance to the photos in place of VGG's LPIPS, as ours does, and
each photo counts by itself. The table shows the distance at the end, without penalties and without noise on the code,
and after how many steps it was at most that of NVIDIA's projector at its end.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "demo_world"))

from pages import Options, digits, key_of
from train_encoder import TEST_SEED, drawn_photos

from nada import ClipEnsemble, Generator, ProjectConfig, load_clip, load_generator, project
from nada.photo.invert import inversion_errors
from nada.photo.project import Projection
from nada.pictures.convert import to_rgb
from nada.seeding import seeded

VERSION = 1  # raise it when the algorithms or measures change, so that rows are not mixed with earlier ones
FIRST_SEED = TEST_SEED + 2000  # the drawings of photos.py are others
EVERY = 5  # steps from one measurement of the distance to the next
THEIRS = "NVIDIA's"
SAMPLES, SAMPLES_SEED = 10_000, 123
RATE, RISE, FALL = 0.1, 0.05, 0.25  # largest step size; parts of the steps in which it rises and falls
SHAKE, SHAKEN = 0.05, 0.75  # noise on the code, in deviations of a code; part of the steps that have it
PENALTY, COARSEST = 1e5, 8  # weight of the penalty on noise maps, and side of the smallest map in it, px


class Found(NamedTuple):
    """State after a step."""

    iteration: int
    ws: Tensor
    """[N, num_ws, w_dim]."""
    noise: dict[str, Tensor]
    """{layer: [N, 1, H, W]}; empty if the generator's own maps are used."""


def theirs(generator: Generator, run: Projection, steps: int, seed: int = 0) -> Iterator[Found]:
    """NVIDIA's algorithm, for the photos and with the distance of `run`."""
    synthesis, count = run.synthesis, len(run.photos)
    z = np.random.RandomState(SAMPLES_SEED).randn(SAMPLES, generator.config.z_dim)
    with torch.no_grad():
        samples = generator.mapping.w(torch.from_numpy(z).float())
    mean = samples.mean(dim=0)
    deviation = float((samples - mean).square().sum(dim=1).mean().sqrt())
    code = mean.expand(count, 1, -1).clone().requires_grad_(True)
    random = seeded(seed)
    noise = {
        name: torch.randn(count, 1, *size, generator=random).requires_grad_(True)
        for name, size in synthesis.noise_shapes.items()
    }
    optimizer = torch.optim.Adam([code, *noise.values()], lr=RATE, betas=(0.9, 0.999))
    for step in range(steps):
        done = step / steps
        shake = deviation * SHAKE * max(0.0, 1 - done / SHAKEN) ** 2
        fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / FALL))
        for group in optimizer.param_groups:
            group["lr"] = RATE * fall * min(1.0, done / RISE)
        shaken = code + shake * torch.randn(code.shape, generator=random)
        images = synthesis(shaken.expand(-1, generator.num_ws, -1), noise)
        distance = run.distance.weighted(run.distance(images)).sum()
        optimizer.zero_grad(set_to_none=True)
        (distance + PENALTY * structure(noise)).backward()
        optimizer.step()
        with torch.no_grad():
            for maps in noise.values():
                maps -= maps.mean(dim=(1, 2, 3), keepdim=True)
                maps *= maps.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
        yield Found(
            step + 1,
            code.detach().expand(-1, generator.num_ws, -1),
            {name: maps.detach().clone() for name, maps in noise.items()},
        )


def structure(noise: dict[str, Tensor]) -> Tensor:
    """Correlation of the noise maps with themselves, moved by a pixel, at all scales."""
    total = torch.zeros([])
    for maps in noise.values():
        while True:
            for axis in (2, 3):
                total = total + (maps * maps.roll(1, axis)).mean(dim=(1, 2, 3)).square().sum()
            if maps.shape[2] <= COARSEST:
                break
            maps = F.avg_pool2d(maps, 2)
    return total


def ours(run: Projection) -> Iterator[Found]:
    """Our projection, as `run` is configured."""
    for step in run:
        yield Found(step.iteration, step.ws, run.fitted_noise())


@torch.no_grad()
def distances(run: Projection, found: Found) -> tuple[float, float]:
    """Mean distance to the photos, without penalties, and mean error of the pixels, as a share of the range."""
    images = to_rgb(run.synthesis(found.ws, found.noise or "const"))
    distance = run.distance.weighted(run.distance(images))
    return float(distance.mean()), float(inversion_errors(run.photos, images).mean())


class Way(NamedTuple):
    """A row of the table."""

    title: str
    config: ProjectConfig
    steps: int = 0
    """Steps of NVIDIA's algorithm; 0 for ours."""


def ways(divide: int) -> list[Way]:
    """The rows, with all numbers of steps divided by `divide`."""
    long, short, stage = (number // divide for number in (1000, 300, 150))
    return [
        Way(f"{THEIRS}, as published", ProjectConfig(), long),
        Way(f"{THEIRS}, fewer steps", ProjectConfig(), short),
        Way("ours, W", ProjectConfig(w_iterations=short, plus_iterations=0)),
        Way("ours, W then W+ (default)", ProjectConfig(w_iterations=stage, plus_iterations=stage)),
        Way(
            "ours, W then W+, noise fitted",
            ProjectConfig(w_iterations=stage, plus_iterations=stage, fit_noise=True),
        ),
    ]


def measure(way: Way, generator: Generator, photos: Tensor, clip: ClipEnsemble) -> dict[str, object]:
    """Distances after every few steps, the last error, and seconds for each photo."""
    run = project(generator, photos, way.config, clip)
    curve, error, seconds, began = [], 0.0, 0.0, time.perf_counter()
    for found in theirs(generator, run, way.steps) if way.steps else ours(run):
        seconds += time.perf_counter() - began
        if found.iteration % EVERY == 0 or found.iteration == (way.steps or len(run)):
            distance, error = distances(run, found)
            curve.append((found.iteration, distance))
        began = time.perf_counter()
    return {"curve": curve, "error": error, "seconds": seconds / len(photos)}


def table(rows: dict[str, dict]) -> str:
    """Format the rows as a table in Markdown."""
    goal = next(iter(rows.values()))["curve"][-1][1]
    lines = [f"| way | steps | distance | error | steps to {THEIRS} distance | s each |", "| --- |" + " --- |" * 5]
    for title, row in rows.items():
        steps, distance = row["curve"][-1]
        reached = next((str(step) for step, reached in row["curve"] if reached <= goal), "never")
        lines.append(
            f"| {title} | {steps} | {distance:.4f} | {row['error']:.4f} | {reached} | {digits(row['seconds'], 2)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("projector"), help="folder of cached rows (%(default)s)")
    parser.add_argument("--generator", default="demo", help="generator of the demo world (default: %(default)s)")
    parser.add_argument("--species", default="dog", help="species of its images (default: %(default)s)")
    parser.add_argument("--clip", default="demo", help="CLIP models of the distance (default: %(default)s)")
    parser.add_argument("--count", type=int, default=4, help="number of drawings (default: %(default)s)")
    parser.add_argument("--divide", type=int, default=1, help="divisor of all numbers of steps, for a trial")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    generator, clip = load_generator(args.generator), load_clip(args.clip)
    z = torch.randn(args.count, generator.config.z_dim, generator=seeded(FIRST_SEED))
    photos = drawn_photos(z, args.species, FIRST_SEED)
    cache, rows = Options(args.out), {}
    setting = VERSION, generator.fingerprint(), clip.describe(), args.species, args.count, args.threads
    for way in ways(args.divide):
        name = key_of(*setting, asdict(way.config), way.steps)
        for row in cache.kept(name, partial(measure, way, generator, photos, clip)):
            print(f"{way.title}: {row['curve'][-1][1]:.4f}", file=sys.stderr, flush=True)
        rows[way.title] = cache.found(name)
    print(table(rows))


if __name__ == "__main__":
    main()
