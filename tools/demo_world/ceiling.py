"""Measure what an adaptation of the demo generator could reach at best: train it on the true pictures.

    python tools/demo_world/ceiling.py neon cat fox pig

The same layers, steps and step size as in an adaptation, but the loss compares with the picture that each latent should
become; then the judge looks at the images. What is missing here, the generator cannot do in this number of steps; what
an adaptation lacks beyond that is due to the CLIP.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

import torch
from torch import Tensor
from train_generator import pyramid_loss
from world import SPECIES, STYLES, draw, parameters_from_latents

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada import Generator, generate, load_generator, sample_latents
from nada.measure.demo_judge import judge_measures, load_judge

FIRST_SEED = 5_000_000  # seed of the first image that is judged
SHOWN = ("target rate", "rest kept", "parameters correlation", "parameters spread kept", "pose correlation")


def train_on_truth(base: Generator, species: str, style: str, steps: int, batch: int = 4, rate: float = 0.006):
    """A copy of the generator after some steps toward drawings of its latents."""
    twin, random = copy.deepcopy(base).requires_grad_(False), torch.Generator().manual_seed(1)
    convs = [p.requires_grad_(True) for name, p in twin.synthesis.named_parameters() if ".conv" in name]
    optimizer = torch.optim.Adam(convs, lr=rate, betas=(0.0, 0.99))
    for _ in range(steps):
        z = torch.randn(batch, base.config.z_dim, generator=random)
        true = draw(parameters_from_latents(z), species, style, random, grain=0.0) * 2 - 1
        optimizer.zero_grad()
        pyramid_loss(twin.synthesis(twin.mapping(z), "none"), true).backward()
        optimizer.step()
    return twin.requires_grad_(False)


def phrase(judge, group: str, name: str) -> str:
    """Words that the judge takes for a style or species."""
    return next(words for words, meaning in judge.words.items() if meaning == (group, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", choices=(*STYLES[1:], *SPECIES[1:]))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--count", type=int, default=200, help="images (default %(default)s)")
    args = parser.parse_args()
    base, judge = load_generator("demo"), load_judge()
    ws = sample_latents(base, args.count, FIRST_SEED, 1.0)
    before: Tensor = generate(base, ws)
    print("| target | " + " | ".join(SHOWN) + " |\n" + "| --- " * (1 + len(SHOWN)) + "|")
    for target in args.targets:
        group = "style" if target in STYLES else "species"
        kind = ("dog", target) if group == "style" else (target, "photo")
        images = generate(train_on_truth(base, *kind, args.steps), ws)
        found = judge_measures(judge, phrase(judge, group, target), before, images, {})
        print(f"| {target} | " + " | ".join(f"{found[name]:.2f}" for name in SHOWN) + " |", flush=True)


if __name__ == "__main__":
    main()
