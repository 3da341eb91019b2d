"""Teach the demo CLIPs to tell individuals apart, before they go on with train_clip.py.

    python tools/demo_world/individuals.py --start nada/demo --out known

What makes an individual (an ear, a blaze, how the head is held) is small beside a style, and learned only from many
individuals: each step shows 16, all drawn in advance, in two pictures that differ in style or species. The words, and
what the pictures say to them, stay as they are.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from augment import augment
from captions import SPECIES_WORDS, STYLE_WORDS
from clip_losses import AGREEMENT, identity_loss
from identity import DIMENSIONS, identity_code
from open_clip import SimpleTokenizer
from open_clip.model import CLIP
from torch import Tensor, nn
from train_clip import TEXT, TOWERS, build_model, encode_pictures, evaluate, export, template_embedding, update_average
from world import SPECIES, STYLES, draw, random_parameters

SHOWN = 16  # animals of a step


class Album:
    """Animals, each as every species in every style."""

    def __init__(self, animals: int, noise: torch.Generator):
        self.parameters = random_parameters(animals, noise)
        drawn = [[draw(self.parameters, a, s, noise).mul(255).byte() for a in SPECIES] for s in STYLES]
        self.pictures = torch.stack([torch.stack(row, 1) for row in drawn], 1)  # [animals, styles, species, 3, 64, 64]

    def pairs(self, noise: torch.Generator, device) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Pictures [2 * SHOWN, 3, 64, 64] in 0..1, the second half of the same animals changed in style or in species.

        Also the style and the species [2 * SHOWN] of each, and the parameters of the animals. All of it on `device`.
        """
        animals = torch.randperm(len(self.pictures), generator=noise)[:SHOWN]
        style, species = (torch.randint(n, (SHOWN,), generator=noise) for n in (len(STYLES), len(SPECIES)))
        new_style, new_species = style.clone(), species.clone()
        half = SHOWN // 2
        new_style[:half] += torch.randint(1, len(STYLES), (half,), generator=noise)
        new_species[half:] += torch.randint(1, len(SPECIES), (SHOWN - half,), generator=noise)
        style, species = torch.cat([style, new_style % len(STYLES)]), torch.cat([species, new_species % len(SPECIES)])
        parameters = {name: value[animals].repeat(2, 1, 1).to(device) for name, value in self.parameters.items()}
        pictures = self.pictures[animals.repeat(2), style, species].to(device).float() / 255
        return pictures, style.to(device), species.to(device), parameters


class Pupil:
    """The image tower of a CLIP in training, with its optimizer and its moving average."""

    def __init__(self, architecture: str, args: argparse.Namespace, tokenizer: SimpleTokenizer):
        self.architecture = architecture
        model = build_model(architecture, tokenizer, args.start / f"clip_{architecture}")
        model.text_projection.data[:, -DIMENSIONS:] = 0  # words are of kinds, not of individuals
        self.model = model.to(args.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        self.style, self.species = (
            template_embedding(self.model, tokenizer, [words[name][0] for name in names], args.device)
            for words, names in ((STYLE_WORDS, STYLES), (SPECIES_WORDS, SPECIES))
        )
        self.optimizer = torch.optim.AdamW(self.model.visual.parameters(), betas=(0.9, 0.98), weight_decay=0.02)

    def parts(self) -> dict:
        return {f"{self.architecture} {name}": getattr(self, name) for name in ("model", "average", "optimizer")}

    def step(self, pictures: Tensor, style: Tensor, species: Tensor, code: Tensor, rate: float) -> dict[str, float]:
        self.optimizer.param_groups[0]["lr"] = rate
        image = encode_pictures(self.model, pictures)
        losses = {"identity": 6 * identity_loss(image, code)} | self.kept(image, style, species)
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.model.visual.parameters(), 2.0)
        self.optimizer.step()
        update_average(self.average, self.model, 0.98)
        return {name: value.item() for name, value in losses.items()}

    def kept(self, image: Tensor, style: Tensor, species: Tensor) -> dict[str, Tensor]:
        """What pictures say to words: the kinds [N] of embeddings [N, D], and where a change leads."""
        scale = self.model.logit_scale.exp().detach()
        first, second = image.chunk(2)
        wanted = sum(x.chunk(2)[1] - x.chunk(2)[0] for x in (self.style[style], self.species[species]))
        cosine = F.cosine_similarity(second - first, wanted, dim=-1)
        return {
            "style": F.cross_entropy(scale * image @ F.normalize(self.style, dim=-1).T, style, label_smoothing=0.03),
            "species": F.cross_entropy(
                scale * image @ F.normalize(self.species, dim=-1).T, species, label_smoothing=0.03
            ),
            "directions": 4.0 * (AGREEMENT - cosine).clamp_min(0).square().mean(),
        }


@torch.no_grad()
def knowledge(model: CLIP, album: Album, noise: torch.Generator, device) -> Tensor:
    """Explained share of the variance of each dimension of the code [DIMENSIONS], moved pictures of new animals."""
    model.eval()
    errors, spread = [], []
    for _ in range(12):
        pictures, _, _, parameters = album.pairs(noise, device)
        shown, moves = augment(pictures, list(range(SHOWN)) * 2, noise)
        code = identity_code(parameters, moves)
        errors.append((encode_pictures(model, shown)[:, -DIMENSIONS:] - code).square().mean(0))
        spread.append(code.var(0))
    return 1 - torch.stack(errors).mean(0) / torch.stack(spread).mean(0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="folder with clip_ARCHITECTURE to begin with")
    parser.add_argument("--out", type=Path, required=True, help="folder for clip_ARCHITECTURE")
    parser.add_argument("--architecture", choices=TOWERS, nargs="+", default=list(TOWERS), help="default: both")
    parser.add_argument("--steps", type=int, default=3000, help="(default %(default)s)")
    parser.add_argument("--animals", type=int, default=600, help="in the album (default %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", type=Path, help="training state: gone on from if there, written every --every")
    parser.add_argument("--every", type=int, default=500, help="steps between reports, exports and states")
    return parser.parse_args()


def main() -> None:
    args = parse()
    noise = torch.Generator().manual_seed(args.seed)
    tokenizer = SimpleTokenizer(context_length=TEXT["context_length"])
    pupils = [Pupil(architecture, args, tokenizer) for architecture in args.architecture]
    parts = {name: part for pupil in pupils for name, part in pupil.parts().items()}
    album, strangers = Album(args.animals, noise), Album(2 * SHOWN, noise)
    first = 0
    if args.resume and args.resume.exists():
        state = torch.load(args.resume, map_location=args.device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["step"]
    began = time.time()
    for step in range(first, args.steps):
        noise = torch.Generator().manual_seed(args.seed * 10**7 + step)
        done = step / args.steps
        rate = args.lr * min(1.0, (step + 1) / 100) * (1 - 0.95 * done)
        pictures, style, species, parameters = album.pairs(noise, args.device)
        animals = list(range(SHOWN)) * 2
        shown, moves = augment(pictures, animals, noise, unmoved=max(0.2, 1 - 2.5 * done))  # what is moved is harder
        code = identity_code(parameters, moves)
        for pupil in pupils:
            losses = pupil.step(shown, style, species, code, rate)
            if step % 50 == 0:
                report = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
                print(f"step {step} {pupil.architecture} {report} {time.time() - began:.0f} s", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            for pupil in pupils:
                export(pupil.average, pupil.architecture, args.out / f"clip_{pupil.architecture}")
                known = " ".join(f"{share:.2f}" for share in knowledge(pupil.average, strangers, noise, args.device))
                scores = ", ".join(f"{k} {v:.3f}" for k, v in evaluate(pupil.average, tokenizer, args.device).items())
                print(f"step {step + 1} {pupil.architecture} known {known}, {scores}", flush=True)
            if args.resume:
                torch.save({"step": step + 1} | {name: part.state_dict() for name, part in parts.items()}, args.resume)


if __name__ == "__main__":
    main()
