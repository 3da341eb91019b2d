"""Train the latent mapper: the second stage of StyleGAN-NADA, or StyleCLIP's mapper on an unadapted generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.models import ClipEnsemble
from ..errors import UsageError
from ..generators import Generator
from ..latents.sampling import draw_latents
from ..settings import MAX_BATCH, Setting
from ..training.loop import TrainingLoop
from .mapper import SCALE, LatentMapper
from .objective import EditConfig, TextObjective

# Learning rate for codes of 512 features; it is so large because weights are stored with a standard deviation of 100.
LEARNING_RATE, WIDTH = 1.0, 512


@dataclass(frozen=True)
class MapperConfig(EditConfig):
    """Settings for training a mapper; `settings_of` lists and explains them. The loss weights are the paper's.

    Raises:
        UsageError: a value is out of range.
    """

    batch: Annotated[int, Setting("Number of images per iteration.", low=1, high=MAX_BATCH)] = 4
    learning_rate: Annotated[
        float | None,
        Setting(
            "Initial step size of Adam; it falls to zero along a cosine. Default: 1.0, scaled to the codes' size.",
            low=0,
            high=1000,
        ),
    ] = None
    clip_weight: Annotated[float, Setting("Weight of the CLIP loss: similarity to the target text.", low=0)] = 1.0
    l2_weight: Annotated[
        float, Setting("Weight of the mean squared change of the codes. A lower weight changes more.", low=0)
    ] = 0.8
    norm_weight: Annotated[
        float, Setting("Weight of the embedding-norm loss, which counteracts overdrawn images.", low=0)
    ] = 0.5
    psi: Annotated[float, Setting("Truncation psi of the training codes.", low=0, high=1)] = 0.7
    bands: Annotated[
        str,
        Setting("Bands of codes to move: coarse is the first four codes, middle the next four, fine the rest."),
    ] = "coarse,middle,fine"
    scale: Annotated[float, Setting("Factor of the change that the network makes.", low=0)] = SCALE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate == 0:
            raise UsageError("learning_rate is 0; nothing would be learned. Leave it out for the default")
        if self.clip_weight == 0:
            raise UsageError("clip_weight is 0; nothing would lead to the target. Give it a weight")
        if self.scale == 0:
            raise UsageError("scale is 0; the mapper would change nothing. Give it a value, usually 0.1")

    def build(self, generator: Generator) -> LatentMapper:
        """Create a mapper for a generator.

        Raises:
            UsageError: a band does not exist, or the generator has no codes in any named band.
        """
        bands = tuple(name.strip() for name in self.bands.split(",") if name.strip())
        return LatentMapper(generator.num_ws, generator.config.w_dim, bands, self.scale)

    def effective_learning_rate(self, generator: Generator) -> float:
        """Initial learning rate of Adam: `learning_rate`, else 1.0 scaled by sqrt(512 / w_dim).

        Each output sums the changes of w_dim weights, so narrower codes need larger steps to change as much.
        """
        return self.learning_rate or LEARNING_RATE * (WIDTH / generator.config.w_dim) ** 0.5

    rate = effective_learning_rate  # former name, kept for one release


@dataclass(frozen=True)
class MapperStep:
    """The record of one iteration."""

    iteration: int
    """Number of iterations done, from 1."""
    loss: Tensor
    """The minimized sum; [] on the device."""
    losses: dict[str, Tensor]
    """Each loss in use, unweighted; "clip" and "norm" are summed over the CLIP models; [] on the device."""
    seconds: float
    """Time since the end of the previous iteration."""
    mapper: LatentMapper
    """The mapper itself, not a copy: it changes with the next iteration."""


def train_mapper(generator: Generator, clip: ClipEnsemble, config: MapperConfig) -> MapperTraining:
    """Train a network that changes codes so that the generator's images show the target text.

    If an adapted generator shows the target only in some images (pigs among dogs), the mapper leads to the codes of
    those. On an unadapted generator, it stays within the images that this generator can make: StyleCLIP's mapper.

        for step in train_mapper(adapted, clip, MapperConfig(target="pig")):
            print(step.iteration, float(step.loss))
        images = generate(adapted, step.mapper(sample_latents(adapted, 4)))

    Args:
        generator: generator, adapted or not; it is not changed.
        clip: the CLIP models, on the same device.
        config: see `MapperConfig`.

    Returns:
        An iterator of `config.iterations` records, with a length.

    Raises:
        UsageError: a text, number or band does not fit this generator or these CLIP models.
    """
    return MapperTraining(generator, clip, config)


class MapperTraining(TrainingLoop[MapperStep]):
    """Training of a mapper; made by `train_mapper`, with the same arguments.

    StyleGAN-NADA section 4.3, with the losses of its first version. The authors train for 50,001 iterations with Ranger
    at a learning rate of 0.5 on 5,000 codes drawn beforehand. Here every iteration draws new codes, and some hundred
    steps of Adam suffice, with a learning rate that falls along a cosine. Their identity loss, which needs a face
    recognition network, is left out.

    Attributes:
        generator: the generator whose codes are changed.
        mapper: the mapper as trained so far.
    """

    @torch.inference_mode(False)
    def __init__(self, generator: Generator, clip: ClipEnsemble, config: MapperConfig):
        super().__init__(config.iterations, (generator, *clip))
        self.generator, self.config = generator, config
        self.objective = TextObjective(generator, clip, config)
        self.mapper = config.build(generator).draw(self.objective.random).to(generator.device)
        self.learning_rate = config.effective_learning_rate(generator)
        self.optimizer = torch.optim.Adam(self.mapper.parameters(), lr=self.learning_rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, config.iterations)
        self.weights = {"clip": config.clip_weight, "l2": config.l2_weight, "norm": config.norm_weight}

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step of Adam on new codes; return the losses and their minimized sum."""
        ws = self.sample_codes(self.config.batch)
        losses = self.losses(ws)
        total = sum((self.weights[name] * loss for name, loss in losses.items()), ws.new_zeros(()))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        self.schedule.step()
        return {name: loss.detach() for name, loss in losses.items()}, total.detach()

    def losses(self, ws: Tensor) -> dict[str, Tensor]:
        """Return the losses with a weight above 0, {name: []}, of codes [N, num_ws, w_dim] and of the mapped codes."""
        moved = self.mapper(ws)
        losses = self.objective.losses(ws, moved, norm=self.config.norm_weight > 0)
        return losses | ({"l2": F.mse_loss(moved, ws)} if self.config.l2_weight else {})

    @torch.no_grad()
    def sample_codes(self, batch: int) -> Tensor:
        """Draw truncated codes [batch, num_ws, w_dim] from random z, of all classes."""
        z, label = draw_latents(self.generator, batch, self.objective.random)
        return self.generator.mapping(z, self.config.psi, label=label)

    def record(self, losses: dict[str, Tensor], loss: Tensor, seconds: float) -> MapperStep:
        self.mapper.metadata = self.recipe()
        return MapperStep(self.iteration, loss, losses, seconds, self.mapper)

    def recipe(self) -> dict[str, Any]:
        """Everything needed to repeat the training, JSON-serializable."""
        return self.objective.recipe(self.iteration) | {"learning_rate": self.learning_rate}
