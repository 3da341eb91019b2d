"""The trained generator with its trainable layers, and its optimizer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import NadaError
from ..generators import Generator, LayerKind
from ..generators.contract import Label
from ..generators.copies import working_copy
from ..latents.sampling import draw_latents
from ..seeding import seeded
from .config import LEARNING_RATE_FACTORS, AdaptConfig
from .state import optimizer_tensors, restore_optimizer
from .trainable import Trainable

BETAS = (0.0, 0.99**0.8)  # StyleGAN2's (0, 0.99) with its factor 4/5 for lazy regularization, as the authors use them
CENTERED = 256  # number of latents by which the average w of a trained mapping network is moved


class Trainer:
    """A copy of a generator, with an optimizer for selected layers.

    Args:
        generator: the base; it is copied.
        config: configuration with layers, kind of training and learning rate.
        random: CPU generator of random numbers, for the initial low-rank factors.

    Attributes:
        generator: the trained generator.
        layers: names of the layers that the next iteration trains.
        always: names of the layers that train in every iteration, whichever are selected.
        count: number of layers in each selection; None without selection.
        learning_rate: learning rate of Adam.
    """

    def __init__(self, generator: Generator, config: AdaptConfig, random: torch.Generator):
        self.generator = working_copy(generator)
        self.count = config.layer_count(generator)
        self.layers = config.trained_layers(generator)
        self.always = config.extra_layers(generator)
        self.learning_rate = config.effective_learning_rate(generator)
        self.trainable = Trainable(self.generator, self.layers, config.train, config.rank, random)
        # Latents, their classes, and how far the average w was from the mean of their codes: drawn once, since each
        # transfer to a device makes an iteration wait.
        self.fixed: tuple[Tensor, Label, Tensor] | None = None
        if any(generator.layers[name].kind is LayerKind.MAPPING for name in self.trainable.parameters):
            with torch.no_grad():
                z, label = draw_latents(generator, CENTERED, seeded(0))
                self.fixed = z, label, generator.mapping.w_avg - generator.mapping.w(z, label).mean(0)
        # Adam skips layers without a gradient and keeps their state, so a layer that was frozen for a while continues
        # where it stopped. (Before PyTorch 2.0 its averages decayed meanwhile, so that it resumed with larger steps.)
        fused = {"fused": True} if generator.device.type == "cpu" else {}  # takes a fifth of the time (measured)
        self.optimizer = torch.optim.Adam(self._groups(config), lr=self.learning_rate, betas=BETAS, **fused)

    def _groups(self, config: AdaptConfig) -> list[dict[str, Any]]:
        """Return Adam's groups: layers of which a part trains, and those that train entirely, as by `weights`."""
        whole = [name for name in self.trainable.parameters if self.generator.layers[name].code is None]
        parts: dict[bool, list[Tensor]] = {False: [], True: []}
        for name, leaf in self.trainable.leaves.items():
            parts[any(name.startswith(f"{layer}.") for layer in whole)].append(leaf)
        groups: list[dict[str, Any]] = [{"params": parts[False]}, {"params": parts[True]}]
        usual = replace(config, learning_rate=None).effective_learning_rate(self.generator)
        if self.learning_rate == usual:  # the defaults of `stylespace` and others are for the parts that they train
            groups[1]["lr"] = self.learning_rate / LEARNING_RATE_FACTORS[config.train]
        return [group for group in groups if group["params"]]

    @torch.no_grad()
    def center(self) -> None:
        """Move the average w of a trained mapping network as far as its codes of fixed latents have moved on average.

        Truncation pulls codes towards this average, which training itself does not use.
        """
        if self.fixed is not None:
            z, label, difference = self.fixed
            self.generator.mapping.w_avg.copy_(self.generator.mapping.w(z, label).mean(0) + difference)

    @property
    def maps(self) -> bool:
        """Whether the next iteration trains the mapping network, so that the two generators have different codes."""
        return any(self.generator.layers[name].kind is LayerKind.MAPPING for name in self.layers)

    def choose(self, layers: tuple[str, ...]) -> None:
        """Train these layers, and those in `always`, from the next iteration on."""
        self.layers = (*layers, *self.always)

    def free(self, everything: bool = False) -> None:
        """Let the layers of the next iteration receive gradients; with `everything`, all layers that may be trained."""
        self.trainable.free(tuple(self.trainable.parameters) if everything else self.layers)

    def freeze(self) -> None:
        """Let no part of the generator receive gradients."""
        self.generator.requires_grad_(False)

    def reset(self) -> None:
        """Clear the gradients of a failed iteration."""
        self.trainable.clear()

    def step(self, gradients: dict[str, Tensor]) -> None:
        """Update the weights by one step of Adam, with gradients from `Trainable.gradients`."""
        self.trainable.step(self.optimizer, gradients, self.layers)

    def tensors(self) -> dict[str, Tensor]:
        """Copy the trained tensors and Adam's averages to the CPU, by name."""
        return optimizer_tensors(self.optimizer, self.trainable.leaves)

    def restore(self, tensors: dict[str, Tensor], layers: tuple[str, ...]) -> None:
        """Restore the `tensors` of an earlier run whose last iteration trained `layers`.

        Raises:
            NadaError: a layer is unknown, or a tensor is missing or has another shape.
        """
        if not set(layers) <= set(self.layers):
            raise NadaError("the state of the run is damaged: it trained layers that this run does not")
        restore_optimizer(self.optimizer, self.trainable.leaves, tensors)
        self.trainable.push()
        self.layers = layers
