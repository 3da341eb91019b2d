"""Train a demo generator: a small StyleGAN2 that makes photos of one species at 128 px.

    python tools/demo_world/train_generator.py --species dog --out dog_photo.safetensors --state dog.pt

The world says which photo belongs to which latent, so training starts as regression: the generator copies z -> photo,
compared over a Laplacian pyramid, without fur and grain, at 16 and 32 px, where steps are cheap and poses are learned
(`PHASES`). What is small and moves, such as eyes, regression leaves out. So from 32 px on, a discriminator takes part:
StyleGAN2's non-saturating loss with R1, features of the discriminator compared with those of the true photo of the
same latent, and the coarse bands of the pyramid. What two noise inputs change in a picture is matched to what differs
between two drawings of the same parameters: fur and grain. The moving average of the weights is saved.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from checkpoints import Every, read_state, write_state

from nada import Generator, GeneratorConfig, save_generator
from nada.demo.world import SIZE, SPECIES, draw, parameters_from_latents

CONFIG = GeneratorConfig(
    resolution=SIZE,
    channels=(112, 112, 96, 56, 32, 16),
    z_dim=40,
    w_dim=160,
    mapping_layers=4,
    mapping_lr_multiplier=1.0,
)
NOISE = {4: 0.01, 8: 0.01, 16: 0.02, 32: 0.04, 64: 0.08, 128: 0.12}  # strengths of noise to begin with
PHASES = (
    # resolution, pictures per step, steps, whether there is a discriminator
    (16, 32, 4000, False),
    (32, 16, 3000, False),
    (32, 16, 1500, True),
    (64, 10, 4000, True),
    (128, 8, 6000, True),
)
NOISE_SHARE = 0.3  # changes by noise as a share of those by grain: noise is per pixel and looks rougher than strands
NOISE_EVERY = 4  # steps between comparisons of what noise changes
R1_EVERY, R1 = 8, 0.4


class Discriminator(nn.Module):
    """Five stages of convolution and average pooling; returns logits [N] and the features of each stage.

    Images of half the resolution enter at the second stage, those of a quarter at the third.
    """

    def __init__(self, channels: tuple[int, ...] = (20, 40, 72, 96, 112)):
        super().__init__()
        widths = (3, *channels)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, channels, strict=False))
        self.entries = nn.ModuleList(nn.Conv2d(3, width, 1) for width in channels[:2])
        self.last = nn.Conv2d(channels[-1] + 1, channels[-1], 3, padding=1)
        self.head = nn.Linear(channels[-1] * 16, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        images = images.contiguous(memory_format=torch.channels_last)
        first, features = int(math.log2(SIZE // images.shape[-1])), []
        x = F.leaky_relu(self.entries[first - 1](images), 0.2) if first else images
        for stage in self.stages[first:]:
            x = F.leaky_relu(stage(x), 0.2)
            features.append(x)
            x = F.avg_pool2d(x, 2)
        spread = x.std(0, unbiased=False).mean().expand(len(x), 1, *x.shape[2:])
        x = F.leaky_relu(self.last(torch.cat([x, spread], 1)), 0.2)
        return self.head(x.flatten(1))[:, 0].float(), features


def photos(z: Tensor, species: str, noise: torch.Generator, grain: float = 1.0, size: int = SIZE) -> Tensor:
    """The photo of each latent, [N, 3, size, size] in -1..1; `grain` as in `drawing.draw`."""
    drawn = min(SIZE, max(32, size))  # smaller drawings lose their shapes
    pictures = draw(parameters_from_latents(z), species, "photo", noise, grain=grain, size=drawn)
    return F.avg_pool2d(pictures, drawn // size) * 2 - 1


def rendered(generator: Generator, ws: Tensor, resolution: int, rng: torch.Generator | None = None) -> Tensor:
    """Images [N, 3, resolution, resolution] of the blocks up to that resolution; `rng` draws noise, None for none."""
    styles, x, image = generator.synthesis.styles(ws), None, None
    noise = {} if rng is None else generator.synthesis.sample_noise(len(ws), rng)
    for block in generator.synthesis.children():
        x, image = block(x, image, styles, noise, False)
        if image.shape[-1] == resolution:
            return image
    raise ValueError(f"the generator has no block of {resolution} px")


def pyramid_loss(made: Tensor, true: Tensor, skip: int = 0) -> Tensor:
    """L1 over a Laplacian pyramid without its `skip` finest bands, more where the true picture has detail."""
    total = made.new_zeros(())
    last = max(1, int(math.log2(made.shape[-1])) - 3)  # the coarsest band is of 8 px
    for level in range(last + 1):
        if level == last:
            return total + 2.0 * (made - true).abs().mean()
        low_made, low_true = F.avg_pool2d(made, 2), F.avg_pool2d(true, 2)
        if level >= skip:
            band = true - F.interpolate(low_true, scale_factor=2, mode="bilinear")
            detail = 1 + 4 * F.avg_pool2d(band.abs().mean(1, keepdim=True), 5, 1, 2) / 0.1
            error = (made - F.interpolate(low_made, scale_factor=2, mode="bilinear") - band).abs()
            total = total + (detail * error).mean() + 0.5 * (made - true).abs().mean()
        made, true = low_made, low_true
    return total


def feature_loss(made: list[Tensor], true: list[Tensor]) -> Tensor:
    """Relative L1 between discriminator features of two batches."""
    pairs = [(a.float(), b.float()) for a, b in zip(made, true, strict=True)]
    terms = [(a - b).abs().mean() / b.abs().mean().clamp_min(1e-3) for a, b in pairs]
    return sum(terms) / len(terms)


def noise_loss(made: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> Tensor:
    """Error of local mean changes by noise, relative to a share of those between two drawings; 1 for no change."""
    width = true[0].shape[-1] // 8
    wanted = NOISE_SHARE * F.avg_pool2d((true[0] - true[1]).abs().mean(1, keepdim=True), width)
    found = F.avg_pool2d((made[0] - made[1]).abs().mean(1, keepdim=True), width)
    return (found - wanted).abs().mean() / wanted.mean()


def in_bfloat16(images: Tensor, enabled: bool = True) -> torch.autocast:
    """Context in which convolutions run in bfloat16, which makes a discriminator's pass twice as fast."""
    return torch.autocast(images.device.type, torch.bfloat16, enabled=enabled)


def discriminator_loss(judge: Discriminator, made: Tensor, true: Tensor, penalty: float) -> Tensor:
    """Non-saturating logistic loss, and R1 on the true pictures when `penalty` is not 0."""
    if penalty:
        true = true.detach().requires_grad_()
    with in_bfloat16(true, not penalty):  # R1's second derivatives need float32
        real, _ = judge(true)
        fake, _ = judge(made.detach())
    loss = F.softplus(-real).mean() + F.softplus(fake).mean()
    if penalty:
        (slope,) = torch.autograd.grad(real.sum(), true, create_graph=True)
        loss = loss + 0.5 * penalty * slope.square().sum((1, 2, 3)).mean()
    return loss


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the parameters."""
    for a, b in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(b, 1 - decay)


@dataclass(frozen=True)
class Moment:
    """A step's place in `PHASES`, and the settings there."""

    resolution: int
    batch: int
    adversarial: bool
    step: int  # counted from the beginning of the phase
    rate: float  # learning rate as a share of its peak


def moment(step: int, share: float) -> Moment | None:
    """The moment of a step in 0.., None after the last; `share` scales the steps of all phases.

    The learning rate falls as a cosine to a quarter in each phase of regression; it is a quarter with a discriminator,
    and fades out at the end.
    """
    lengths = [max(2, round(share * steps)) for _, _, steps, _ in PHASES]
    begun, last = 0, sum(lengths)
    for length, (resolution, batch, _, adversarial) in zip(lengths, PHASES, strict=True):
        if step < begun + length:
            rate = 1 / 4 + 3 / 4 * 0.5 * (1 + math.cos(math.pi * (step - begun) / length))
            if adversarial:
                rate = 1 / 4 * min(1.0, 0.1 + 3 * (last - step) / lengths[-1])
            warm = min(1.0, (step - begun + 1) / 100)
            return Moment(resolution, batch, adversarial, step - begun, warm * rate)
        begun += length
    return None


def set_noise(generator: Generator) -> None:
    """Set the initial strengths of noise.

    The last layer has none: nothing smooths its noise, which would be learned first, as speckles on every outline.
    """
    for block in CONFIG.resolutions:
        for name in generator.synthesis.conv_layers:
            if name.startswith(f"b{block}."):
                generator.synthesis.layer(name).noise_strength.data.fill_(NOISE[block])
    last = generator.synthesis.layer(f"b{SIZE}.conv1").noise_strength
    last.data.zero_()
    last.requires_grad_(False)


class Training:
    """Networks, averages and optimizers of one training, which can be stopped and resumed after any step."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.generator = Generator(CONFIG).to(args.device)
        self.judge = Discriminator().to(args.device, memory_format=torch.channels_last)
        set_noise(self.generator)
        for block in CONFIG.resolutions:
            if block > PHASES[0][0]:  # blocks of later phases start without an effect on the image
                self.generator.synthesis.layer(f"b{block}.torgb").weight.data.zero_()
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=args.lr, betas=(0.5, 0.99))
        self.judge_optimizer = torch.optim.Adam(self.judge.parameters(), lr=1e-3, betas=(0.0, 0.99))
        self.done = 0

    def parts(self) -> dict:
        """The modules and optimizers that a training state holds, by name."""
        names = ("generator", "judge", "average", "optimizer", "judge_optimizer")
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict:
        """Everything that is needed to resume."""
        return {"done": self.done, **{name: part.state_dict() for name, part in self.parts().items()}}

    def restore(self, state: dict) -> None:
        """Resume from what `state` returned."""
        self.done = state["done"]
        for name, part in self.parts().items():
            part.load_state_dict(state[name])

    def step(self) -> dict[str, float]:
        """One training step; returns its losses."""
        args, step = self.args, self.done
        now = moment(step, args.share)
        rng = torch.Generator().manual_seed(args.seed * 10**7 + step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = args.lr * now.rate
        z = torch.randn(now.batch, CONFIG.z_dim, generator=rng).to(args.device)
        # L1 cannot learn fur, which would only disturb the gradient: it is left out, or the finest band is.
        true = photos(z, args.species, rng, float(now.adversarial), now.resolution).to(args.device)
        ws = self.generator.mapping(z)
        if now.adversarial:
            made = rendered(self.generator, ws, now.resolution, rng)
            losses = {"pyramid": pyramid_loss(made, true, skip=1)}
            losses |= self._adversarial(made, true, z, ws, rng, now)
        else:
            losses = {"pyramid": pyramid_loss(rendered(self.generator, ws, now.resolution), true)}
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), 5.0)
        self.optimizer.step()
        update_average(self.average, self.generator, min(0.998, (step + 1) / (step + 10)))
        self.done += 1
        return {name: value.item() for name, value in losses.items()}

    def _adversarial(
        self, made: Tensor, true: Tensor, z: Tensor, ws: Tensor, rng: torch.Generator, now: Moment
    ) -> dict[str, Tensor]:
        args, step = self.args, now.step
        self.judge_optimizer.zero_grad(set_to_none=True)
        self.judge.requires_grad_(True)
        loss = discriminator_loss(self.judge, made, true, R1_EVERY * R1 if step % R1_EVERY == 0 else 0.0)
        loss.backward()
        self.judge_optimizer.step()
        self.judge.requires_grad_(False)
        with in_bfloat16(made):
            logits, features = self.judge(made)
            with torch.no_grad():
                _, wanted = self.judge(true)
        ramp = min(1.0, step / 200)
        losses = {
            "judgment": ramp * args.adversarial * F.softplus(-logits).mean(),
            "features": ramp * args.features * feature_loss(features, wanted),
        }
        if step % NOISE_EVERY == 0:
            half = max(1, now.batch // 2)
            again = rendered(self.generator, ws[:half], now.resolution, rng)
            drawn = photos(z[:half], args.species, rng, size=now.resolution).to(args.device)
            losses["noise"] = 0.2 * noise_loss((made[:half], again), (true[:half], drawn))
        return losses

    def save(self) -> None:
        """Write the averaged generator, 16-bit, with its mean w and a note of how it was made."""
        args = self.args
        self.average.mapping.w_avg.copy_(self.average.estimate_w_avg())
        recipe = {name: getattr(args, name) for name in ("species", "share", "lr", "seed")}
        half = copy.deepcopy(self.average).half()
        source = {"format": "demo world", "made by": "tools/demo_world/train_generator.py"}
        half.metadata = {"source": {**source, **recipe, "steps": self.done}}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        save_generator(half, args.out)


@torch.no_grad()
def noise_effect(generator: Generator, count: int = 32) -> float:
    """Mean change of a pixel (of 2 in all) by noise alone."""
    z = torch.randn(count, CONFIG.z_dim, generator=torch.Generator().manual_seed(5))
    ws = generator.mapping(z.to(next(generator.parameters()).device))
    first, second = (generator.synthesis(ws, "random", torch.Generator().manual_seed(seed)) for seed in (1, 2))
    return (first - second).abs().mean().item()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--species", choices=SPECIES, default="dog", help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--state", type=Path, help="training state to resume from if it exists, and to write")
    parser.add_argument("--start", type=Path, help="training state of another species to begin with")
    parser.add_argument("--share", type=float, default=1.0, help="share of the usual steps (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=8e-3, help="peak learning rate of Adam (default: %(default)s)")
    parser.add_argument("--adversarial", type=float, default=0.3, help="weight of the adversarial loss (%(default)s)")
    parser.add_argument("--features", type=float, default=0.6, help="weight of the feature loss (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--minutes", type=float, default=3.0, help="minutes between checkpoints (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Train through all phases, with a checkpoint every few minutes."""
    args = parse()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    training = Training(args)
    state = read_state(args.state)
    if state is not None:
        training.restore(state)
    elif args.start is not None:
        other = read_state(args.start)
        if other is None:
            raise SystemExit(f"--start: there is no training state at {args.start}")
        training.restore(other)
        training.done = 0
    print(f"{sum(v.numel() for v in training.generator.parameters()):,} parameters, step {training.done}", flush=True)
    begun, checkpoint = time.time(), Every(args.minutes)
    while moment(training.done, args.share) is not None:
        losses = training.step()
        if training.done % 50 == 1:
            text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"step {training.done} {text} {time.time() - begun:.0f} s", flush=True)
        if checkpoint.due() or moment(training.done, args.share) is None:
            if args.state is not None:
                write_state(training.state(), args.state)
            training.save()
            print(f"step {training.done} saved, noise effect {noise_effect(training.average):.4f}", flush=True)


if __name__ == "__main__":
    main()
