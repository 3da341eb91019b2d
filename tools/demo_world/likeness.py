"""Measure how like the drawn world a generator's pictures are.

    python tools/demo_world/likeness.py --judge judge.safetensors --species dog dog_photo.safetensors

Precision is the share of generated pictures that lie within the drawn ones, recall the share of drawn ones within the
generated (Kynkaanniemi et al., arXiv 1904.06991: balls that reach to the third nearest neighbor), both in the features
of the judge. The Frechet distance (Heusel et al., arXiv 1706.08500) is of the same features, each divided by its
deviation over the drawn pictures; beside it stands that of other drawn pictures, which is the best that can be reached.
The change by noise is how far two images of the same latents differ, as a share of a pixel's range.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from train_encoder import TEST_SEED, drawn_photos
from train_generator import CONFIG

from benchmarks.rivals.measures import frechet, precision_recall
from nada import Generator, load_generator
from nada.demo.world import SPECIES
from nada.measure.demo_judge import Judge, load_judge
from nada.seeding import seeded

FIRST_SEED = TEST_SEED + 3000  # no training uses it: neither of generators, nor of encoders, nor of the judge


@torch.no_grad()
def features_of(judge: Judge, pictures: Tensor) -> Tensor:
    """Features [N, D], float64, of pictures [N, 3, H, W] in about [-1, 1]."""
    return torch.cat([judge.features(part.clamp(-1, 1)) for part in pictures.split(64)]).double()


@torch.no_grad()
def generated(generator: Generator, count: int, seed: int) -> Tensor:
    """Pictures [count, 3, H, W] in about [-1, 1] of random latents, with random noise."""
    rng, made = seeded(seed), []
    for start in range(0, count, 16):
        z = torch.randn(min(16, count - start), generator.config.z_dim, generator=rng)
        made.append(generator.synthesis(generator.mapping(z), "random", rng))
    return torch.cat(made)


@torch.no_grad()
def change_by_noise(generator: Generator, count: int = 32) -> float:
    """Mean absolute difference of pixels between images with the same latents and other noise, as a share of 1."""
    ws = generator.mapping(torch.randn(count, generator.config.z_dim, generator=seeded(FIRST_SEED)))
    first, second = (generator.synthesis(ws, "random", seeded(FIRST_SEED + i)) for i in (1, 2))
    return float((first - second).abs().mean() / 2)


def drawn(species: str, count: int, seed: int) -> Tensor:
    """Photos [count, 3, 128, 128] in [-1, 1] of random latents: without glasses and hats, which no generator makes."""
    return drawn_photos(torch.randn(count, CONFIG.z_dim, generator=seeded(seed)), species, seed)


def likeness(judge: Judge, made: Tensor, true: Tensor, other: Tensor) -> dict[str, float]:
    """Precision, recall and Frechet distances of generated pictures, given two sets of drawn ones."""
    first, second, third = (features_of(judge, pictures) for pictures in (made, true, other))
    scale = second.std(0).clamp_min(1e-3)
    first, second, third = first / scale, second / scale, third / scale
    precision, recall = precision_recall(second, first)
    return {
        "precision": precision,
        "recall": recall,
        "frechet": frechet(first, second),
        "frechet of drawings": frechet(third, second),
    }


def main() -> None:
    """Print a line for each generator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path, nargs="+", help="generators of photos of the species")
    parser.add_argument("--judge", type=Path, required=True, help="the judge whose features count")
    parser.add_argument("--species", choices=SPECIES, default="dog", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=1000, help="pictures of each kind (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    judge = load_judge(args.judge)
    true, other = (drawn(args.species, args.count, seed) for seed in (FIRST_SEED, FIRST_SEED + 1))
    for path in args.generator:
        generator = load_generator(path)
        scores = likeness(judge, generated(generator, args.count, FIRST_SEED + 2), true, other)
        scores["change by noise"] = change_by_noise(generator)
        print(path, ", ".join(f"{name} {value:.4g}" for name, value in scores.items()))


if __name__ == "__main__":
    main()
