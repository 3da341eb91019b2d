"""Train the judge of the demo world: style, species and parameters of a picture.

    python tools/demo_world/train_judge.py --out nada/demo/judge.safetensors

It must not share the weaknesses of the CLIPs that adaptations are trained with. So it has another architecture, no
texts, another seed, other disturbances of the pictures (the CLIPs' `augment` moves and recolors; here it is noise,
gratings, blur, gamma and holes), double exposures that it must call half of each, and steps against its own gradient.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from captions import SPECIES_WORDS, STYLE_WORDS
from safetensors.torch import save_file
from torch import Tensor
from world import PARAMETERS, SPECIES, STYLES, draw, random_parameters

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada.files import atomic_path
from nada.measure.demo_judge import KEY, Judge
from nada.measure.metrics import correlations

SEED = 77_000_000
PER_DRAW = 2  # pictures of one kind drawn at once
HALVES = 0.25  # part of the pictures that are double exposures


def description() -> dict:
    """The names that a judge knows: styles, species, parameters and words."""
    words = {w.lower(): ("style", s) for s, many in STYLE_WORDS.items() for w in many}
    words |= {w.lower(): ("species", a) for a, many in SPECIES_WORDS.items() for w in many}
    return {"styles": STYLES, "species": SPECIES, "parameters": PARAMETERS, "words": words}


def draw_batch(kinds: int, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures in 0..1, soft answers [N, 7] for style and species, and parameters [N, 18]."""
    images, styles, species, known = [], [], [], []
    for _ in range(kinds):
        s, other = torch.randint(len(STYLES), (2,), generator=noise).tolist()
        a = int(torch.randint(len(SPECIES), (), generator=noise))
        p = random_parameters(PER_DRAW, noise)
        picture, answer = draw(p, SPECIES[a], STYLES[s], noise), F.one_hot(torch.tensor(s), len(STYLES)).float()
        if torch.rand((), generator=noise) < HALVES:
            amount = torch.rand((), generator=noise).item()
            picture = torch.lerp(picture, draw(p, SPECIES[a], STYLES[other], noise), amount)
            answer = torch.lerp(answer, F.one_hot(torch.tensor(other), len(STYLES)).float(), amount)
        images.append(picture)
        styles.append(answer.expand(PER_DRAW, -1))
        species.append(F.one_hot(torch.tensor([a] * PER_DRAW), len(SPECIES)).float())
        known.append(torch.cat([value.flatten(1) for value in p.values()], 1))
    return torch.cat(images), torch.cat(styles), torch.cat(species), torch.cat(known)


def disturb(images: Tensor, noise: torch.Generator) -> Tensor:
    """Pictures [N, 3, H, W] in 0..1 with gamma, blur, gratings, noise and a hole; each in some of them only."""
    n, _, height, width = images.shape

    def number(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(n, channels, 1, 1, generator=noise)

    def some(part: float) -> Tensor:
        return (torch.rand(n, 1, 1, 1, generator=noise) < part).float()

    images = torch.lerp(images, images.clamp(1e-3, 1) ** number(0.75, 1.33, 3), some(0.5))
    small = F.interpolate(images, scale_factor=0.5, mode="area")
    images = torch.lerp(images, F.interpolate(small, (height, width), mode="bilinear"), number(0.3, 1) * some(0.35))
    axis = torch.arange(width) / width * 2 * math.pi
    wave = torch.sin(number(2, 30) * axis + number(2, 30) * axis[:, None] + number(0, 6.3))
    images = images + wave * number(-0.08, 0.08, 3) * some(0.3)
    images = images + torch.randn(images.shape, generator=noise) * number(0, 0.12) * some(0.5)
    x, y = number(0, width), number(0, height)
    hole = ((axis * 0 + torch.arange(width) - x).abs() < 5) & ((torch.arange(height)[:, None] - y).abs() < 5)
    return torch.lerp(images, number(0, 1, 3).expand_as(images), hole.float() * some(0.25)).clamp(0, 1)


def judge_loss(judge: Judge, images: Tensor, styles: Tensor, species: Tensor, known: Tensor) -> Tensor:
    """Cross-entropies and squared error; images in 0..1."""
    said = judge(images * 2 - 1)
    return (
        F.cross_entropy(said[0], styles, label_smoothing=0.02)
        + F.cross_entropy(said[1], species, label_smoothing=0.02)
        + 12 * F.mse_loss(said[2], known)
    )


def against(judge: Judge, images: Tensor, *truth: Tensor, size: float = 0.03) -> Tensor:
    """The same images one small step into the direction that misleads the judge most."""
    images = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge_loss(judge, images, *truth), images)
    return (images + size * slope.sign()).detach().clamp(0, 1)


@torch.no_grad()
def examine(judge: Judge, faces: int, seed: int = 2 * SEED) -> dict:
    """Measure on new drawings: accuracy, plain and disturbed; by kind, what can be read, and how varied it seems.

    See the attributes of `Judge` for the latter.
    """
    noise = torch.Generator().manual_seed(seed)
    right, readable, spreads = {"style": [], "species": [], "disturbed style": [], "disturbed species": []}, {}, {}
    for s, style in enumerate(STYLES):
        for a, species in enumerate(SPECIES):
            p = random_parameters(faces, noise)
            images = draw(p, species, style, noise)
            for name, shown in (("disturbed ", disturb(images, noise)), ("", images)):
                reading = judge.read(shown * 2 - 1)
                right[f"{name}style"].append((reading.styles.argmax(1) == s).float().mean().item())
                right[f"{name}species"].append((reading.species.argmax(1) == a).float().mean().item())
            known = torch.cat([value.flatten(1) for value in p.values()], 1)
            readable[f"{style} {species}"] = [round(r, 2) for r in correlations(reading.parameters, known).tolist()]
            spreads[f"{style} {species}"] = [round(x, 4) for x in reading.parameters.std(0).tolist()]
    accuracy = {name: round(sum(x) / len(x), 4) for name, x in right.items()}
    return {"accuracy": accuracy, "readable": readable, "spreads": spreads}


def save(judge: Judge, path: Path, results: dict) -> None:
    """Write the judge, 16-bit, with what it knows and how well."""
    metadata = {KEY: json.dumps({**description(), **results})}
    with atomic_path(path) as temporary:
        save_file({name: t.half().contiguous().cpu() for name, t in judge.state_dict().items()}, temporary, metadata)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--steps", type=int, default=6000, help="training steps (default %(default)s)")
    parser.add_argument("--kinds", type=int, default=16, help=f"kinds a step, {PER_DRAW} pictures each (%(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate (default %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", type=Path, help="training state to resume from if it exists, and to write")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.manual_seed(SEED)
    judge = Judge(description()).to(args.device)
    print(f"{sum(v.numel() for v in judge.parameters()):,} parameters", flush=True)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=args.lr, weight_decay=0.01)
    first = 0
    if args.resume and args.resume.exists():
        state = torch.load(args.resume, map_location=args.device, weights_only=True)
        judge.load_state_dict(state["judge"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    start = time.time()
    for step in range(first, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        noise = torch.Generator().manual_seed(SEED + step)
        images, *truth = draw_batch(args.kinds, noise)
        images, truth = disturb(images, noise).to(args.device), [t.to(args.device) for t in truth]
        half = len(images) // 4
        misled = against(judge, images[:half], *(t[:half] for t in truth))
        loss = judge_loss(judge, torch.cat([misled, images[half:]]), *truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.3f} {time.time() - start:.0f} s", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == args.steps:
            results = examine(judge, 150 if step + 1 == args.steps else 12)
            print(results["accuracy"], flush=True)
            save(judge, args.out, results)
            if args.resume:
                torch.save(
                    {"judge": judge.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, args.resume
                )


if __name__ == "__main__":
    main()
