"""Projection: find latent codes whose images are like given photos by optimization, for any generator.

The first stage is in W, after Karras et al. (arXiv 1912.04958, appendix D): it starts from the mean code, and adds
fading noise to the code. The second stage gives each layer a code of its own (W+, Abdal et al., arXiv 1904.03189),
pulled towards the code in W: far from it, the photo fits better, but adaptations and edits of the code look worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoint.saving import tensor_hash
from ..clip.models import ClipEnsemble
from ..errors import NadaError, UsageError
from ..generators import Generator
from ..generators.copies import working_copy
from ..latents.sampling import draw_latents
from ..seeding import SEEDS, seeded
from ..settings import MAX_STEPS, Setting
from ..training.state import take_step
from .loop import DistanceConfig, PhotoLoop, PhotoState

SAMPLES = 1000  # random codes to estimate the standard deviation of W from
RAMP_DOWN, RAMP_UP = 0.25, 0.05  # fractions of a stage during which the step size falls and rises
BLUR, BLURRED = 0.05, 0.75  # noise in W: first deviation, in that of a code; fraction of the stage that has noise
SMALLEST = 8  # coarsest scale, in pixels, at which the penalty keeps noise maps from containing a picture


@dataclass(frozen=True, kw_only=True)
class ProjectConfig(DistanceConfig):
    """Settings of a projection; `settings_of` lists and explains them.

    Raises:
        UsageError: a value is out of range, or there are no iterations at all.
    """

    w_iterations: Annotated[
        int,
        Setting(
            "Number of iterations with one code for all layers (W); none are made from an encoder's codes.",
            low=0,
            high=MAX_STEPS,
        ),
    ] = 150
    plus_iterations: Annotated[
        int, Setting("Number of iterations after that with a code for each layer (W+).", low=0, high=MAX_STEPS)
    ] = 150
    learning_rate: Annotated[
        float,
        Setting("Largest step size of Adam, in standard deviations of a code's numbers.", low=0, high=100),
    ] = 0.1
    pull: Annotated[
        float,
        Setting(
            "Weight of the squared distance in W+ from the code in W, or from the encoder's codes. Higher values keep "
            "the codes easier to edit; lower ones fit the photo better.",
            low=0,
        ),
    ] = 0.02
    fit_noise: Annotated[bool, Setting("Fit the noise maps too: finer detail, which no style changes.")] = False
    noise_weight: Annotated[float, Setting("Weight that keeps the noise maps noise; only with fit_noise.", low=0)] = 1e5
    seed: Annotated[
        int, Setting("Random seed. Runs with the same seed are identical.", low=1 - SEEDS, high=SEEDS - 1)
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate == 0:
            raise UsageError("learning_rate is 0; nothing would be found. Leave it out for the default")
        if not self.w_iterations + self.plus_iterations:
            raise UsageError("w_iterations and plus_iterations are both 0; give one of them a number of iterations")


@dataclass(frozen=True)
class ProjectStep:
    """The record of one iteration."""

    iteration: int
    """Number of iterations done, from 1."""
    loss: Tensor
    """The weighted sum of `losses`, which is minimized, mean over the photos; [] on the device."""
    losses: dict[str, Tensor]
    """Each loss before its weight, mean over the photos; [] on the device."""
    seconds: float
    """Time since the end of the previous iteration."""
    ws: Tensor
    """The codes [N, num_ws, w_dim] after this iteration."""


def project(
    generator: Generator,
    photos: Tensor,
    config: ProjectConfig | None = None,
    clip: ClipEnsemble | None = None,
    start: Tensor | None = None,
) -> Projection:
    """Find the codes of photos, each by itself, one iteration at a time.

        for step in project(generator, photos):
            print(step.iteration, float(step.loss))
        images = generate(generator, step.ws)

    Args:
        generator: the base, never an adapted generator, whose images cannot be like photos.
        photos: [N, 3, H, W] in [-1, 1], aligned squares of the generator's size, on its device.
        config: numbers of iterations, weights and learning rate; None for the defaults.
        clip: CLIP models whose features are compared too, on the same device.
        start: [N, num_ws, w_dim] codes to start from, such as an encoder's; there is then no stage in W.

    Returns:
        An iterator of records, with a length.

    Raises:
        UsageError: photos or codes are for another generator, or the number of iterations is 0.
    """
    return Projection(generator, photos, config or ProjectConfig(), clip, start)


class Projection(PhotoLoop[ProjectStep]):
    """A projection in progress; made by `project`, with the same arguments.

    Attributes:
        generator: the base.
        noise: {layer name: [N, 1, H, W]}, the fitted noise maps; empty if none are fitted.
    """

    config: ProjectConfig

    @torch.inference_mode(False)
    def __init__(
        self,
        generator: Generator,
        photos: Tensor,
        config: ProjectConfig,
        clip: ClipEnsemble | None = None,
        start: Tensor | None = None,
    ):
        self.w_steps = config.w_iterations if start is None else 0
        super().__init__(generator, photos, config, self.w_steps + config.plus_iterations, clip)
        if not self.iterations:
            raise UsageError("plus_iterations is 0, so the codes to start from would not change; give a larger number")
        self.generator = generator
        self.synthesis = working_copy(generator.synthesis)
        expected = (len(photos), generator.num_ws, generator.config.w_dim)
        if start is not None and tuple(start.shape) != expected:
            raise UsageError(f"the codes to start from are {list(start.shape)}; these photos need {list(expected)}")
        self._known["start"] = None if start is None else tensor_hash(start)
        self.spread = w_spread(generator)
        mean = generator.mapping.w_avg.detach().clone().expand(len(photos), 1, -1)
        pivot = mean if start is None else start.detach().to(mean)
        self._begin_stage(pivot, self._start_noise() if config.fit_noise else {})

    def _start_noise(self) -> dict[str, Tensor]:
        """Draw the noise maps to start from; image i draws its own from seed + i."""
        draws = [self.synthesis.sample_noise(1, seeded(self.config.seed + i)) for i in range(len(self.photos))]
        return {name: torch.cat([draw[name] for draw in draws]) for name in draws[0]}

    def _begin_stage(self, pivot: Tensor, noise: Mapping[str, Tensor]) -> None:
        """Create leaves and optimizer: one row of codes in W, or a row for each layer in W+, pulled towards `pivot`."""
        rows = 1 if self.iteration < self.w_steps else self.generator.num_ws
        self.pivot = pivot.expand(-1, max(rows, pivot.shape[1]), -1).clone()
        self.codes = self.pivot.clone().requires_grad_(True)
        self.noise = {name: maps.clone().requires_grad_(True) for name, maps in noise.items()}
        self.leaves = {"codes": self.codes, **{f"noise.{name}": maps for name, maps in self.noise.items()}}
        self.optimizer = torch.optim.Adam(self.leaves.values(), lr=self.config.learning_rate)

    def next_learning_rate(self) -> float:
        """Return the next step size, as in NVIDIA's code: it rises linearly and falls along a cosine in each stage."""
        done = self._progress()
        fall = 0.5 - 0.5 * cos(pi * min(1.0, (1 - done) / RAMP_DOWN))
        return self.config.learning_rate * self.spread * fall * min(1.0, (done + 1e-3) / RAMP_UP)

    rate = next_learning_rate  # former name, kept for one release

    def _progress(self) -> float:
        """Return the fraction of the current stage that is done, 0..1."""
        if self.iteration < self.w_steps:
            return self.iteration / self.w_steps
        return (self.iteration - self.w_steps) / max(self.config.plus_iterations, 1)

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step of Adam on the codes; return the losses and their weighted sum, means over the photos."""
        if self.iteration and self.iteration == self.w_steps and self.codes.shape[1] == 1:
            self._begin_stage(self.codes.detach(), {name: maps.detach() for name, maps in self.noise.items()})
        shaken = self._shake()
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        total = self.codes.new_zeros([])
        for part in self.parts():
            found, weighted = self._losses(part, shaken)
            weighted.sum().backward()
            total = total + weighted.detach().sum()
            losses = {name: losses.get(name, 0) + loss.detach().sum() for name, loss in found.items()}
        for group in self.optimizer.param_groups:
            group["lr"] = self.next_learning_rate()
        take_step(self.optimizer)
        self._renormalize()
        count = len(self.photos)
        return {name: loss / count for name, loss in losses.items()}, total / count

    def _losses(self, part: slice, shaken: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of a chunk of the photos, and their weighted sum, each [N]."""
        codes = self.codes[part]
        ws = (codes + shaken[part]).expand(-1, self.generator.num_ws, -1)
        noise = {name: maps[part] for name, maps in self.noise.items()}
        losses = self.distance(self.synthesis(ws, noise or "const"), part)
        total = self.distance.weighted(losses)
        if self.iteration >= self.w_steps:
            losses["pull"] = ((codes - self.pivot[part]) / self.spread).square().mean((1, 2))
            total = total + self.config.pull * losses["pull"]
        if noise:
            losses["noise"] = noise_penalty(noise)
            total = total + self.config.noise_weight * losses["noise"]
        return losses, total

    def _shake(self) -> Tensor:
        """Draw the fading noise on the codes in W, [N, 1, w_dim], from seed, index of the photo and iteration."""
        strength = BLUR * max(0.0, 1 - self._progress() / BLURRED) ** 2 if self.iteration < self.w_steps else 0.0
        if not strength:
            return torch.zeros_like(self.codes)
        w_dim = self.codes.shape[-1]
        draws = [
            torch.randn(1, w_dim, generator=seeded(self.config.seed + (i << 32) + self.iteration))
            for i in range(len(self.photos))
        ]
        # NVIDIA's code uses the deviation of a whole code, sqrt(w_dim) times the deviation of one of its numbers.
        return strength * self.spread * w_dim**0.5 * torch.stack(draws).to(self.codes)

    @torch.no_grad()
    def _renormalize(self) -> None:
        """Normalize each noise map to mean 0 and deviation 1."""
        for maps in self.noise.values():
            maps.sub_(maps.mean((1, 2, 3), keepdim=True))
            maps.mul_(maps.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12).rsqrt())

    @property
    def ws(self) -> Tensor:
        """The codes found so far, [N, num_ws, w_dim]."""
        return self.codes.detach().expand(-1, self.generator.num_ws, -1).clone()

    def fitted_noise(self) -> dict[str, Tensor]:
        """Return the noise maps found so far, as `Synthesis` takes them; {} if none are fitted."""
        return {name: maps.detach().clone() for name, maps in self.noise.items()}

    def record(self, losses: dict[str, Tensor], loss: Tensor, seconds: float) -> ProjectStep:
        """Return the record of the iteration just done."""
        return ProjectStep(self.iteration, loss, losses, seconds, self.ws)

    def state(self) -> PhotoState:
        """Return a copy of all that is needed to resume, the pivot included."""
        state = super().state()
        state.tensors["pivot"] = self.pivot.detach().cpu().clone()
        return state

    def prepare(self, tensors: Mapping[str, Tensor]) -> None:
        """Set up codes, pivot and optimizer for the stage that a state belongs to.

        Raises:
            NadaError: the state is damaged.
        """
        pivot, codes = tensors.get("pivot"), tensors.get("trained.codes")
        rows = (1, self.generator.num_ws)
        shape = (len(self.photos), self.generator.config.w_dim)
        for found in (pivot, codes):
            if found is None or found.ndim != 3 or (len(found), found.shape[2]) != shape or found.shape[1] not in rows:
                raise NadaError("the state of the projection is damaged; start without it")
            if not found.float().isfinite().all():
                raise NadaError("the state of the projection holds impossible numbers; start without it")
        pivot, codes = tensors["pivot"].to(self.codes), tensors["trained.codes"]
        # A state from the last iteration in W still has one row: the next iteration starts the stage in W+.
        self.pivot = pivot.clone()
        self.codes = torch.zeros_like(self.pivot[:, : codes.shape[1]]).requires_grad_(True)
        self.leaves = {"codes": self.codes, **{f"noise.{name}": maps for name, maps in self.noise.items()}}
        self.optimizer = torch.optim.Adam(self.leaves.values(), lr=self.config.learning_rate)


def w_spread(generator: Generator) -> float:
    """Return the standard deviation of the numbers of w around the mean code, over all classes."""
    z, label = draw_latents(generator, SAMPLES, seeded(SAMPLES))
    with torch.no_grad():
        codes = generator.mapping.w(z, label)
        return max(float((codes - generator.mapping.w_avg).square().mean().sqrt()), 1e-6)


def noise_penalty(noise: Mapping[str, Tensor]) -> Tensor:
    """Penalize structure in noise maps: squared correlations of neighbours at all scales down to 8 px (appendix D).

    Args:
        noise: {layer name: [N, 1, H, W]}.

    Returns:
        [N].
    """
    terms = []
    for maps in noise.values():
        while True:
            for axis in (2, 3):
                terms.append((maps * maps.roll(1, axis)).mean((1, 2, 3)).square())
            if min(maps.shape[2:]) <= SMALLEST:
                break
            maps = F.avg_pool2d(maps, 2)
    return torch.stack(terms).sum(0)
