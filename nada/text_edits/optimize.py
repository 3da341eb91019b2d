"""StyleCLIP's latent optimization (Patashnik et al., arXiv 2103.17249, section 4): optimize codes, not the generator.

A baseline in the paper of StyleGAN-NADA. It finds only images that the generator can already make, none outside the
generator's domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Annotated, Any

import torch
from torch import Tensor

from ..clip.models import ClipEnsemble
from ..errors import UsageError
from ..generators import Generator
from ..settings import Setting
from ..training.loop import TrainingLoop
from .objective import EditConfig, TextObjective

RAMP_DOWN, RAMP_UP = 0.25, 0.05  # shares of the run during which the learning rate falls and rises


@dataclass(frozen=True)
class OptimizeConfig(EditConfig):
    """Settings of latent optimization. The defaults are StyleCLIP's; `settings_of` lists and explains them.

    Raises:
        UsageError: a value is out of range.
    """

    learning_rate: Annotated[
        float,
        Setting("Largest step size of Adam; it rises at the start and falls to zero at the end.", low=0, high=100),
    ] = 0.1
    l2_weight: Annotated[
        float, Setting("Weight of the L2 loss: the sum of the squared changes of an image's codes.", low=0)
    ] = 0.008

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate == 0:
            raise UsageError("learning_rate is 0; nothing would be found. Use a positive value; StyleCLIP's is 0.1")

    def scheduled_learning_rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration from 0: it rises linearly, and falls along a cosine at the end."""
        done = iteration / self.iterations
        fall = 0.5 - 0.5 * cos(pi * min(1.0, (1 - done) / RAMP_DOWN))
        return self.learning_rate * fall * min(1.0, done / RAMP_UP)

    rate = scheduled_learning_rate  # former name, kept for one release


@dataclass(frozen=True)
class OptimizeStep:
    """The record of one iteration."""

    iteration: int
    """Number of iterations done, from 1."""
    loss: Tensor
    """The minimized loss: "clip" plus the weighted "l2", mean over the images; [] on the device."""
    losses: dict[str, Tensor]
    """Each loss: "clip", summed over the CLIP models, and "l2" before its weight; [] on the device."""
    seconds: float
    """Time since the end of the previous iteration."""
    ws: Tensor
    """The codes [N, num_ws, w_dim] after this iteration."""


def optimize_latents(generator: Generator, clip: ClipEnsemble, ws: Tensor, config: OptimizeConfig) -> Optimization:
    """Optimize latent codes so that the generator's images show the target text, each image by itself.

    Args:
        generator: generator, adapted or not; it is not changed.
        clip: the CLIP models, on the same device.
        ws: codes [N, num_ws, w_dim] to start from, on the same device; all are optimized at once.
        config: see `OptimizeConfig`.

    Returns:
        An iterator of `config.iterations` records, with a length.

    Raises:
        UsageError: the codes are for another generator, or the text is too long for the CLIP models.
    """
    return Optimization(generator, clip, ws, config)


class Optimization(TrainingLoop[OptimizeStep]):
    """Optimization of latent codes; made by `optimize_latents`, with the same arguments.

    Attributes:
        generator: the generator whose codes are optimized.
        start: the codes before the optimization, [N, num_ws, w_dim].
        codes: the codes as optimized so far, [N, num_ws, w_dim].
    """

    @torch.inference_mode(False)
    def __init__(self, generator: Generator, clip: ClipEnsemble, ws: Tensor, config: OptimizeConfig):
        super().__init__(config.iterations, (generator, *clip))
        expected = (generator.num_ws, generator.config.w_dim)
        if ws.ndim != 3 or not len(ws) or tuple(ws.shape[1:]) != expected:
            raise UsageError(f"ws has shape {list(ws.shape)}; this generator takes [N, {expected[0]}, {expected[1]}]")
        self.generator, self.config = generator, config
        self.objective = TextObjective(generator, clip, config)
        self.start = ws.detach().clone()
        self.codes = self.start.clone().requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.codes], lr=config.learning_rate)

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step of Adam on the codes; return the losses and their weighted sum."""
        losses = self.objective.losses(self.start, self.codes, norm=False)
        losses["l2"] = (self.codes - self.start).square().sum(dim=(1, 2)).mean()
        total = losses["clip"] + self.config.l2_weight * losses["l2"]
        self.optimizer.param_groups[0]["lr"] = self.config.scheduled_learning_rate(self.iteration)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}, total.detach()

    def record(self, losses: dict[str, Tensor], loss: Tensor, seconds: float) -> OptimizeStep:
        return OptimizeStep(self.iteration, loss, losses, seconds, self.codes.detach().clone())

    def recipe(self) -> dict[str, Any]:
        """Return all that is needed to repeat the optimization except the initial codes, JSON-serializable."""
        return self.objective.recipe(self.iteration)
