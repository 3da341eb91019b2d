"""Pivotal tuning (Roich et al., arXiv 2106.05744) as a style: train the generator to show a photo at its code.

The code from projection or an encoder is fixed; the weights are trained until the code's image is the photo. The change
of the weights is a style. Added to any adaptation of the same base, it gives the photo's likeness in the adapted look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from ..checkpoint.saving import tensor_hash
from ..clip.models import ClipEnsemble
from ..errors import UsageError
from ..generators import Generator, LayerKind
from ..generators.contract import Noise
from ..generators.copies import working_copy
from ..latents.rendering import noise_part
from ..seeding import SEEDS, seeded
from ..settings import MAX_STEPS, Setting
from ..styles.style import Style
from ..training.config import LEARNING_RATE_FACTORS
from ..training.trainable import KINDS, Trainable
from .loop import DistanceConfig, PhotoLoop, PhotoState

LEARNING_RATE, WIDTH = 3e-4, 512  # Adam's step size in the paper, for generators of 512 features
NAME = "likeness"


@dataclass(frozen=True, kw_only=True)
class TuneConfig(DistanceConfig):
    """Settings of a tuning; `settings_of` lists and explains them.

    Raises:
        UsageError: a value is out of range.
    """

    iterations: Annotated[int, Setting("Number of training iterations.", low=1, high=MAX_STEPS)] = 150
    learning_rate: Annotated[
        float | None,
        Setting(
            "Step size of Adam. Default: the paper's 3e-4, scaled to the generator's width and to what trains.",
            low=0,
            high=1,
        ),
    ] = None
    train: Annotated[
        str,
        Setting(
            "Which tensors to train: all weights, affine layers, style channels, or low-rank factors.", choices=KINDS
        ),
    ] = "weights"
    rank: Annotated[int, Setting("Rank of the LoRA update (only with train lora).", low=1, high=512)] = 16
    seed: Annotated[
        int, Setting("Random seed. Runs with the same seed are identical.", low=1 - SEEDS, high=SEEDS - 1)
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate == 0:
            raise UsageError("learning_rate is 0; nothing would be learned. Leave it out for the default")

    def effective_learning_rate(self, generator: Generator) -> float:
        """Return Adam's step size, by default 3e-4 * sqrt(512 / features) * the factor of `train` in an adaptation.

        Narrower layers need larger steps.
        """
        scaled = LEARNING_RATE * (WIDTH / generator.config.width) ** 0.5
        return self.learning_rate or scaled * LEARNING_RATE_FACTORS[self.train]

    rate = effective_learning_rate  # former name, kept for one release


@dataclass(frozen=True)
class TuneStep:
    """The record of one iteration."""

    iteration: int
    """Number of iterations done, from 1."""
    loss: Tensor
    """The minimized loss: the weighted sum of `losses`, mean over the photos; [] on the device."""
    losses: dict[str, Tensor]
    """Each loss before its weight, mean over the photos; [] on the device."""
    seconds: float
    """Time since the end of the previous iteration."""
    generator: Generator
    """The tuned twin itself: the next iteration changes it."""


def tune(
    generator: Generator,
    ws: Tensor,
    photos: Tensor,
    config: TuneConfig | None = None,
    clip: ClipEnsemble | None = None,
    noise: Noise = "const",
) -> Tuning:
    """Tune a generator to photos at their codes, one iteration at a time; several photos share one tuning.

        run = tune(generator, ws, photos)
        for step in run:
            print(step.iteration, float(step.loss))
        sketch_of_me = apply_style(apply_style(generator, run.style()), sketch)

    Args:
        generator: the base, for which the codes were found; it is not changed.
        ws: [N, num_ws, w_dim], the codes of the photos, on the generator's device.
        photos: [N, 3, H, W] in [-1, 1], aligned squares of the generator's size, on the generator's device.
        config: settings; None for the defaults.
        clip: CLIP models whose features are compared too, on the same device.
        noise: "const" for the generator's own noise maps, or the maps {layer name: [N, 1, H, W]} that were fitted with
            the codes, on the same device.

    Returns:
        An iterator of `config.iterations` records, with a length.

    Raises:
        UsageError: photos or codes are for another generator.
    """
    return Tuning(generator, ws, photos, config or TuneConfig(), clip, noise)


class Tuning(PhotoLoop[TuneStep]):
    """A tuning in progress; made by `tune`, with the same arguments.

    Attributes:
        trained: the tuned twin.
    """

    config: TuneConfig

    @torch.inference_mode(False)
    def __init__(
        self,
        generator: Generator,
        ws: Tensor,
        photos: Tensor,
        config: TuneConfig,
        clip: ClipEnsemble | None = None,
        noise: Noise = "const",
    ):
        super().__init__(generator, photos, config, config.iterations, clip)
        expected = (len(photos), generator.num_ws, generator.config.w_dim)
        if tuple(ws.shape) != expected:
            raise UsageError(f"the codes are {list(ws.shape)}; these photos and this generator need {list(expected)}")
        self.ws = ws.detach().clone()
        self._known["codes"], self.noise = tensor_hash(ws), noise
        if isinstance(noise, Mapping):
            self._known["noise"] = {name: tensor_hash(maps) for name, maps in noise.items()}
        self.trained = working_copy(generator)
        kinds = {LayerKind.MAPPING} if config.train == "weights" else {LayerKind.MAPPING, LayerKind.CONSTANT}
        self.layers = tuple(name for name, layer in generator.layers.items() if layer.kind not in kinds)
        self.trainable = Trainable(self.trained, self.layers, config.train, config.rank, seeded(config.seed))
        self.leaves = self.trainable.leaves
        fused = generator.device.type == "cpu" or None  # on a CPU, a fused step takes a fifth of the time (measured)
        self.optimizer = torch.optim.Adam(
            self.leaves.values(), lr=config.effective_learning_rate(generator), fused=fused
        )

    def spare_memory(self) -> bool:
        """Halve the chunk size, or else switch on gradient checkpointing; return False if both are exhausted."""
        if super().spare_memory():
            return True
        recomputed, self.trained.synthesis.recompute = self.trained.synthesis.recompute, True
        return not recomputed

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step of Adam on the weights; return the losses and their weighted sum, means over the photos."""
        self.trainable.free(self.layers)
        count = len(self.photos)
        gradients: dict[str, Tensor] = {}
        losses: dict[str, Tensor] = {}
        total = self.photos.new_zeros([])
        for part in self.parts():
            ws = self.ws[part]
            noise = noise_part(self.noise, part.start, len(ws))
            found = self.distance(self.trained.synthesis(ws, noise), part)
            loss = self.distance.weighted(found).sum() / count
            for name, gradient in self.trainable.gradients(loss, torch.ones_like(loss)).items():
                gradients[name] = gradients[name] + gradient if name in gradients else gradient
            total = total + loss.detach()
            losses = {name: losses.get(name, 0) + distance.detach().sum() / count for name, distance in found.items()}
        self.trainable.step(self.optimizer, gradients, self.layers)
        return losses, total

    def record(self, losses: dict[str, Tensor], loss: Tensor, seconds: float) -> TuneStep:
        """Return the record of the iteration just done."""
        self.trained.requires_grad_(False)
        return TuneStep(self.iteration, loss, losses, seconds, self.trained)

    def restore(self, state: PhotoState) -> None:
        """Resume from the state of a tuning of the same photos, settings and models; see `PhotoLoop.restore`."""
        super().restore(state)
        self.trainable.push()

    def style(self, name: str = NAME, rank: int | None = None) -> Style:
        """Return the changes of the weights so far as a style, which can be added to any adaptation of the base.

        Args:
            name: name of the style, for people.
            rank: rank to reduce each large matrix to, for a smaller file; None keeps everything.
        """
        return replace(Style.between(self.base, self.trained, rank, name=name), recipe=self.recipe())
