"""Train a demo generator: a small StyleGAN2 that makes photos of one species.

    python tools/demo_world/train_generator.py --species dog --out nada/demo/dog_photo.safetensors

The world says which photo belongs to which latent, so training starts as regression: the generator copies
z -> photo, compared over a Laplacian pyramid. Regression alone leaves fur and eyes soft. From step --regression on,
a discriminator joins: its judgment (non-saturating, with R1) brings texture, and its features, compared between the
generated and the true photo of the same latent, keep every face the face it was. What is saved is the moving average.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from world import SPECIES, draw, parameters_from_latents

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada import Generator, GeneratorConfig, save_generator

CONFIG = GeneratorConfig(
    resolution=64,
    channels=(96, 96, 80, 64, 32),
    z_dim=32,
    w_dim=128,
    mapping_layers=4,
    mapping_lr_multiplier=1.0,
)


class Discriminator(nn.Module):
    """Four stages of convolution and average pooling; returns logits [N] and the features of each stage."""

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96, 96)):
        super().__init__()
        widths = (3, *channels)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, channels, strict=False))
        self.last = nn.Conv2d(channels[-1] + 1, channels[-1], 3, padding=1)
        self.head = nn.Linear(channels[-1] * 16, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, features = images, []
        for stage in self.stages:
            x = F.leaky_relu(stage(x), 0.2)
            features.append(x)
            x = F.avg_pool2d(x, 2)
        spread = x.std(0, unbiased=False).mean().expand(len(x), 1, *x.shape[2:])
        x = F.leaky_relu(self.last(torch.cat([x, spread], 1)), 0.2)
        return self.head(x.flatten(1))[:, 0], features


def photos(z: Tensor, species: str, noise: torch.Generator, grain: float = 1.0) -> Tensor:
    """The photo of each latent, [N, 3, 64, 64] in -1..1; `grain` as in `world.draw`."""
    return draw(parameters_from_latents(z), species, "photo", noise, grain) * 2 - 1


def pyramid_loss(made: Tensor, true: Tensor) -> Tensor:
    """L1 over a Laplacian pyramid (each band counts by itself), more where the true picture has detail."""
    total = made.new_zeros(())
    for level in range(4):
        if level == 3:
            return total + 2.0 * (made - true).abs().mean()
        low_made, low_true = F.avg_pool2d(made, 2), F.avg_pool2d(true, 2)
        band = true - F.interpolate(low_true, scale_factor=2, mode="bilinear")
        detail = 1 + 4 * F.avg_pool2d(band.abs().mean(1, keepdim=True), 5, 1, 2) / 0.1
        error = (made - F.interpolate(low_made, scale_factor=2, mode="bilinear") - band).abs()
        total = total + 1.0 * (detail * error).mean() + 0.5 * (made - true).abs().mean()
        made, true = low_made, low_true
    return total


def feature_loss(made: list[Tensor], true: list[Tensor]) -> Tensor:
    """Relative L1 between discriminator features of two batches."""
    return sum((a - b).abs().mean() / b.abs().mean().clamp_min(1e-3) for a, b in zip(made, true, strict=False)) / len(
        made
    )


def discriminator_step(judge: Discriminator, made: Tensor, true: Tensor, penalty: float) -> Tensor:
    """Non-saturating logistic loss, and R1 on the true pictures when `penalty` is not 0."""
    if penalty:
        true = true.detach().requires_grad_()
    real, _ = judge(true)
    fake, _ = judge(made.detach())
    loss = F.softplus(-real).mean() + F.softplus(fake).mean()
    if penalty:
        (slope,) = torch.autograd.grad(real.sum(), true, create_graph=True)
        loss = loss + 0.5 * penalty * slope.square().sum((1, 2, 3)).mean()
    return loss


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for a, b in zip(average.parameters(), model.parameters(), strict=False):
            a.lerp_(b, 1 - decay)


def learning_rate(step: int, regression: int, steps: int, peak: float) -> float:
    """Regression anneals from `peak` to an eighth of it; the adversarial part stays there and fades out at its end."""
    warm = min(1.0, (step + 1) / 100)
    if step < regression:
        return peak * warm * (1 / 8 + 7 / 8 * 0.5 * (1 + math.cos(math.pi * step / regression)))
    return peak / 8 * min(1.0, 0.1 + 3 * (steps - step) / max(1, steps - regression))


def save(average: Generator, path: Path, args: argparse.Namespace, step: int) -> None:
    """Write the averaged generator with its mean w and a note of how it was made."""
    average.mapping.w_avg.copy_(average.estimate_w_avg())
    recipe = {
        "species": args.species,
        "steps": step,
        "regression": args.regression,
        "batch": args.batch,
        "lr": args.lr,
        "seed": args.seed,
    }
    average.metadata = {"source": {"format": "demo world", "made by": "tools/demo_world/train_generator.py", **recipe}}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_generator(average, path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--species", choices=SPECIES, default="dog", help="default %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--steps", type=int, default=7000, help="training steps (default %(default)s)")
    parser.add_argument(
        "--regression", type=int, default=4000, help="steps without the discriminator (default %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=16, help="pictures a step (default %(default)s)")
    parser.add_argument("--lr", type=float, default=1.2e-2, help="peak learning rate of Adam (default %(default)s)")
    parser.add_argument("--adversarial", type=float, default=0.1, help="weight of the judgment (default %(default)s)")
    parser.add_argument("--features", type=float, default=0.5, help="weight of the features (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: a GPU if any"
    )
    parser.add_argument(
        "--resume", type=Path, help="training state: continued from if there, written every --every steps"
    )
    parser.add_argument("--start", type=Path, help="training state of another species to begin with")
    parser.add_argument("--every", type=int, default=250, help="steps between saves")
    return parser.parse_args()


class Training:
    """Networks, averages and optimizers; `step` does one step, `state` and `restore` are for resuming."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.generator, self.judge = Generator(CONFIG).to(args.device), Discriminator().to(args.device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=args.lr, betas=(0.5, 0.99))
        self.judge_optimizer = torch.optim.Adam(self.judge.parameters(), lr=1e-3, betas=(0.0, 0.99))
        self.done = 0

    def parts(self) -> dict:
        names = ("generator", "judge", "average", "optimizer", "judge_optimizer")
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict:
        return {"done": self.done, **{name: part.state_dict() for name, part in self.parts().items()}}

    def restore(self, state: dict) -> None:
        self.done = state["done"]
        for name, part in self.parts().items():
            part.load_state_dict(state[name])

    def step(self) -> dict[str, float]:
        args, step = self.args, self.done
        rng = torch.Generator().manual_seed(args.seed * 10**7 + step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, args.regression, args.steps, args.lr)
        z = torch.randn(args.batch, CONFIG.z_dim, generator=rng).to(args.device)
        plain = photos(z, args.species, rng, grain=0.0)  # L1 cannot learn fur: it would only be a noise in the gradient
        adversarial = step >= args.regression
        ws = self.generator.mapping(z)
        made = self.generator.synthesis(ws, "random", rng) if adversarial else self.generator.synthesis(ws, "none")
        losses = {"pyramid": pyramid_loss(made, plain)}
        if adversarial:
            losses |= self._adversarial(made, photos(z, args.species, rng), step)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        self.optimizer.step()
        decay = 0.998 if adversarial else 0.995
        update_average(self.average, self.generator, min(decay, (step + 1) / (step + 10)))
        self.done += 1
        return {name: value.item() for name, value in losses.items()}

    def _adversarial(self, made: Tensor, true: Tensor, step: int) -> dict[str, Tensor]:
        self.judge_optimizer.zero_grad(set_to_none=True)
        penalty = 8 * 0.5 if step % 8 == 0 else 0.0
        self.judge.requires_grad_(True)
        discriminator_step(self.judge, made, true, penalty).backward()
        self.judge_optimizer.step()
        self.judge.requires_grad_(False)
        logits, features = self.judge(made)
        with torch.no_grad():
            _, wanted = self.judge(true)
        ramp = min(1.0, (step - self.args.regression) / 200)
        return {
            "judgment": ramp * self.args.adversarial * F.softplus(-logits).mean(),
            "features": ramp * self.args.features * feature_loss(features, wanted),
        }


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    training = Training(args)
    if args.resume and args.resume.exists():
        training.restore(torch.load(args.resume, map_location=args.device, weights_only=True))
    elif args.start:
        training.restore(torch.load(args.start, map_location=args.device, weights_only=True))
        training.done = 0
    print(f"{sum(v.numel() for v in training.generator.parameters()):,} parameters", flush=True)
    start = time.time()
    while training.done < args.steps:
        losses = training.step()
        if training.done % 20 == 1:
            text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"step {training.done} {text} {time.time() - start:.0f} s", flush=True)
        if training.done % args.every == 0 or training.done == args.steps:
            if args.resume:
                torch.save(training.state(), args.resume)
            save(training.average, args.out, args, training.done)


if __name__ == "__main__":
    main()
