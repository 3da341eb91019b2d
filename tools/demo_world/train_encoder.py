"""Train a small encoder for a demo generator: a picture -> its latent codes.

    python tools/demo_world/train_encoder.py --generator nada/demo/dog_photo.safetensors --species dog \
        --out dog_encoder.safetensors --state encoder.pt

Half of each batch are pictures that the generator makes from random codes, half are drawings. The drawings of this
world have a code too: the generator was taught which photo belongs to which latent, so a drawing's code is the one that
the mapping network gives for the latent behind its parameters. The first part of the steps compares codes only; the
last part also compares the image that the generator makes from them, which lets the codes of the layers differ.

Drawings with seeds from TEST_SEED on are never trained on; the report at each checkpoint is about such drawings.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from checkpoints import Every, read_state, write_state

from nada import load_generator
from nada.demo.world import draw, parameters_from_latents
from nada.photo.distance import pyramid_distance
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig, save_small_encoder
from nada.photo.project import w_spread
from nada.seeding import seeded

TEST_SEED = 1 << 40  # drawings from here on are kept for tests


def drawn_photos(z: Tensor, species: str, seed: int, grain: float = 1.0) -> Tensor:
    """Photos [N, 3, SIZE, SIZE] in -1..1 of latents [N, z_dim], with grain from a seed."""
    return draw(parameters_from_latents(z), species, "photo", seeded(seed), grain=grain) * 2 - 1


class Training:
    """The encoder with its optimizer; a state of it resumes on the same machine bit for bit."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.generator = load_generator(args.generator)
        config, widths = self.generator.config, tuple(args.widths)
        sizes = SmallEncoderConfig(4 << len(widths), widths, args.hidden, self.generator.num_ws, config.w_dim)
        torch.manual_seed(args.seed)
        self.encoder = SmallEncoder(sizes, self.generator.fingerprint())
        self.encoder.mean.copy_(self.generator.mapping.w_avg)
        self.encoder.spread.fill_(w_spread(self.generator))
        self.average = SmallEncoder(sizes, self.generator.fingerprint()).requires_grad_(False)
        self.average.load_state_dict(self.encoder.state_dict())
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=args.lr, betas=(0.9, 0.99))
        self.done = 0

    def state(self) -> dict:
        """The training state that `restore` continues from."""
        parts = {name: getattr(self, name).state_dict() for name in ("encoder", "average", "optimizer")}
        return {"done": self.done, **parts}

    def restore(self, state: dict) -> None:
        """Continue from a state."""
        self.done = state["done"]
        for name in ("encoder", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Pictures, half generated and half drawn, and the codes [N, w_dim] that are true of them."""
        rng = seeded(self.args.seed * 10**7 + step + 1)
        half = self.args.batch // 2
        z = torch.randn(2 * half, self.generator.config.z_dim, generator=rng)
        with torch.no_grad():
            w = self.generator.mapping.w(z)
            psi = 0.4 + 0.8 * torch.rand(half, 1, generator=rng)  # generated ones more and less typical than drawings
            w[:half] = self.generator.mapping.w_avg.lerp(w[:half], psi)
            ws = w[:half, None].expand(-1, self.generator.num_ws, -1)
            made = self.generator.synthesis(ws, "random", rng).clamp(-1, 1)
        drawn = drawn_photos(z[half:], self.args.species, int(torch.randint(TEST_SEED, (1,), generator=rng)))
        return torch.cat([made, drawn]), w

    def step(self) -> dict[str, float]:
        """One step of Adam; returns the losses."""
        args, progress = self.args, self.done / self.args.steps
        for group in self.optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, (self.done + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        pictures, w = self.batch(self.done)
        ws = self.encoder(pictures)
        spread = self.encoder.spread
        losses = {"code": ((ws - w[:, None]) / spread).square().mean()}
        if progress >= args.codes_alone:
            chosen = slice(len(ws) // 4, len(ws) // 4 * 3)  # a half of each kind: the generator takes most of the time
            images = self.generator.synthesis(ws[chosen], "const")
            losses["image"] = args.image * pyramid_distance(images, pictures[chosen]).mean()
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        decay = min(0.998, self.done / (self.done + 10))
        with torch.no_grad():
            for a, b in zip(self.average.parameters(), self.encoder.parameters(), strict=True):
                a.lerp_(b, 1 - decay)
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def report(self) -> str:
        """Errors on drawings that were never trained on."""
        z = torch.randn(64, self.generator.config.z_dim, generator=seeded(TEST_SEED))
        pictures = drawn_photos(z, self.args.species, TEST_SEED)
        ws = self.average(pictures)
        code = ((ws - self.generator.mapping.w(z)[:, None]) / self.average.spread).square().mean()
        rmse = (self.generator.synthesis(ws) - pictures).square().mean().sqrt()
        return f"test drawings: code {code:.3f}, rmse {rmse / 2:.4f} of a pixel's range"

    def save(self) -> None:
        """Write the averaged encoder."""
        args = self.args
        self.average.recipe = {
            "made by": "tools/demo_world/train_encoder.py",
            **{name: getattr(args, name) for name in ("species", "batch", "lr", "codes_alone", "image", "seed")},
            "steps": self.done,
        }
        save_small_encoder(self.average, args.out)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, help="the generator whose codes to find: FILE, or 'demo'")
    parser.add_argument("--species", default="dog", help="what it makes photos of (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--state", type=Path, help="training state to resume from if it exists, and to write")
    parser.add_argument("--steps", type=int, default=4000, help="training steps (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="pictures per step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate of Adam (default: %(default)s)")
    parser.add_argument("--widths", type=int, nargs="+", default=[24, 48, 80, 112, 128], help="channels (%(default)s)")
    parser.add_argument("--hidden", type=int, default=192, help="numbers before the codes (default: %(default)s)")
    parser.add_argument(
        "--codes-alone", type=float, default=0.6, help="part of the steps without images (default: %(default)s)"
    )
    parser.add_argument("--image", type=float, default=4.0, help="weight of the image loss (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=3.0, help="minutes between checkpoints (default: %(default)s)")
    parser.add_argument("--stop-after", type=float, help="minutes after which to stop at a checkpoint, to resume later")
    return parser.parse_args()


def main() -> None:
    """Train, with a checkpoint every few minutes."""
    args = parse()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    training = Training(args)
    if state := read_state(args.state):
        training.restore(state)
    print(f"{sum(v.numel() for v in training.encoder.parameters()):,} parameters, step {training.done}", flush=True)
    begun, checkpoint = time.monotonic(), Every(args.minutes)
    while training.done < args.steps:
        losses = training.step()
        stop = args.stop_after is not None and time.monotonic() - begun > 60 * args.stop_after
        if training.done % 50 == 1:
            text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"step {training.done} {text} {time.monotonic() - begun:.0f} s", flush=True)
        if checkpoint.due() or stop or training.done == args.steps:
            if args.state is not None:
                write_state(training.state(), args.state)
            training.save()
            print(f"step {training.done} saved, {training.report()}", flush=True)
        if stop:
            break


if __name__ == "__main__":
    main()
