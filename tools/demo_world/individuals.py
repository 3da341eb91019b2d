"""Teach the demo CLIPs words and individuals, before train_clip.py trains them against adversaries.

    python tools/demo_world/individuals.py --out known

What makes an individual (an ear, a blaze, how the head is held) is small beside a style, and learned only from many
individuals: each step shows 16, all drawn in advance, in two pictures that differ in style or species, and asks which
caption fits, which way the change between the two leads, and who it is.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from augment import augment
from captions import sample_captions
from clip_losses import AGREEMENT, Cells, caption_loss, direction_cosines, identity_loss
from identity import identity_code
from open_clip import SimpleTokenizer
from open_clip.model import CLIP
from torch import Tensor
from train_clip import (
    OF_IDENTITY,
    TEXT,
    TOWERS,
    Student,
    answers,
    encode_pictures,
    evaluate,
    export,
    learning_rate,
    restore,
    store,
)
from world import SPECIES, STYLES, draw, random_parameters

SHOWN = 16  # animals of a step
RATES = {"conv": 2e-3, "vit": 6e-4}  # peak step sizes; from nothing, a transformer is lost at that of the ResNet


class Album:
    """Animals, each as every species in every style."""

    def __init__(self, animals: int, noise: torch.Generator):
        self.parameters = random_parameters(animals, noise)
        drawn = [[draw(self.parameters, a, s, noise).mul(255).byte() for a in SPECIES] for s in STYLES]
        self.pictures = torch.stack([torch.stack(row, 1) for row in drawn], 1)  # [animals, styles, species, 3, 64, 64]

    def page(self, noise: torch.Generator, device) -> Page:
        """Draw some of the animals, each once as it comes and once changed in style or in species."""
        animals = torch.randperm(len(self.pictures), generator=noise)[:SHOWN]
        style, species = (torch.randint(n, (SHOWN,), generator=noise) for n in (len(STYLES), len(SPECIES)))
        new_style, new_species = style.clone(), species.clone()
        half = SHOWN // 2
        new_style[:half] += torch.randint(1, len(STYLES), (half,), generator=noise)
        new_species[half:] += torch.randint(1, len(SPECIES), (SHOWN - half,), generator=noise)
        style, species = torch.cat([style, new_style % len(STYLES)]), torch.cat([species, new_species % len(SPECIES)])
        pictures = self.pictures[animals.repeat(2), style, species].to(device).float() / 255
        cells = list(zip([*range(SHOWN)] * 2, style.tolist(), species.tolist(), strict=True))
        return Page(pictures, cells, {name: value[animals].to(device) for name, value in self.parameters.items()})


@dataclass(frozen=True)
class Page:
    """Pictures [2 * SHOWN, 3, 64, 64] in 0..1, what each shows, and the animals' parameters."""

    pictures: Tensor
    cells: Cells
    parameters: dict[str, Tensor]

    def moved(self, noise: torch.Generator, reach: float = 1.0) -> tuple[Tensor, Tensor]:
        """The pictures as shown, and the code of the individual in each."""
        animal = [cell[0] for cell in self.cells]
        shown, moves = augment(self.pictures, animal, noise, reach)
        return shown, identity_code({name: value[animal] for name, value in self.parameters.items()}, moves)


def page_losses(model: CLIP, page: Page, shown: Tensor, code: Tensor, text: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of one step; text {question: [answers, D]}."""
    image = encode_pictures(model, shown)
    cosines = direction_cosines(image, page.cells, text)
    return {
        "captions": caption_loss(image, text, answers(page.cells, page.parameters), model.logit_scale.exp()),
        "directions": 4.0 * (AGREEMENT - cosines).clamp_min(0).square().mean(),
        "identity": 6.0 * identity_loss(image, code),
    }


@torch.no_grad()
def knowledge(model: CLIP, album: Album, noise: torch.Generator, device) -> Tensor:
    """Explained share of the variance of each dimension of the code [OF_IDENTITY], moved pictures of new animals."""
    model.eval()
    errors, spread = [], []
    for _ in range(12):
        shown, code = album.page(noise, device).moved(noise)
        errors.append((encode_pictures(model, shown)[:, -OF_IDENTITY:] - code).square().mean(0))
        spread.append(code.var(0))
    return 1 - torch.stack(errors).mean(0) / torch.stack(spread).mean(0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for clip_ARCHITECTURE")
    parser.add_argument("--start", type=Path, help="folder with clip_ARCHITECTURE to begin with")
    parser.add_argument("--architecture", choices=TOWERS, nargs="+", default=list(TOWERS), help="default: both")
    parser.add_argument("--steps", type=int, default=3000, help="(default %(default)s)")
    parser.add_argument("--animals", type=int, default=600, help="animals in the album (default %(default)s)")
    parser.add_argument("--lr", type=float, help=f"peak learning rate (default: {RATES})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", type=Path, help="training state to resume from if it exists; written every --every")
    parser.add_argument("--every", type=int, default=250, help="steps between reports, exports and states")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    noise = torch.Generator().manual_seed(args.seed)
    tokenizer = SimpleTokenizer(context_length=TEXT["context_length"])
    students = [Student(architecture, args, tokenizer) for architecture in args.architecture]
    album, strangers = Album(args.animals, noise), Album(2 * SHOWN, noise)
    first = restore(students, args.resume, args.device)
    began = time.time()
    for step in range(first, args.steps):
        pick, noise = random.Random(step), torch.Generator().manual_seed(args.seed * 10**7 + step)
        page, captions = album.page(noise, args.device), sample_captions(pick)
        shown, code = page.moved(noise, reach=min(1.0, 2 * step / args.steps))  # what is moved far is harder to place
        for student in students:
            peak = args.lr or RATES[student.architecture]
            student.optimizer.param_groups[0]["lr"] = learning_rate(step, args.steps, peak)
            losses = student.step(page_losses(student.model, page, shown, code, student.read(captions)), step)
            if step % 50 == 0:
                report = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
                print(f"step {step} {student.architecture} {report} {time.time() - began:.0f} s", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            for student in students:
                export(student.average, student.architecture, args.out / f"clip_{student.architecture}")
                known = " ".join(f"{share:.2f}" for share in knowledge(student.average, strangers, noise, args.device))
                scores = evaluate(student.average, tokenizer, args.device)
                report = ", ".join(f"{k} {v:.3f}" for k, v in scores.items())
                print(f"step {step + 1} {student.architecture} known {known}, {report}", flush=True)
            if args.resume:
                store(students, args.resume, step + 1)


if __name__ == "__main__":
    main()
