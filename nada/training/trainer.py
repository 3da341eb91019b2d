"""The trained twin: what of it trains, its optimizer, and its steps."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..errors import NadaError
from ..generators import Generator, LayerKind
from .config import AdaptConfig
from .state import optimizer_tensors, restore_optimizer
from .trainable import Trainable

BETAS = (0.0, 0.99**0.8)  # StyleGAN2's (0, 0.99) with its factor 4/5 for lazy regularization, as the authors use them


class Trainer:
    """A copy of a generator, with the optimizer that moves chosen layers of it.

    Args:
        generator: the base; it is copied.
        config: what trains, and the step size.
        random: a CPU generator, which low-rank factors start from.

    Attributes:
        generator: the trained twin.
        layers: names of the layers that the next step trains.
        always: those of them that train in every step, whichever are chosen.
        count: how many layers each choice takes; None where there is nothing to choose.
        rate: step size of Adam.
    """

    def __init__(self, generator: Generator, config: AdaptConfig, random: torch.Generator):
        self.generator = copy.deepcopy(generator).train(False).requires_grad_(False)
        self.count = config.layer_count(generator)
        self.layers = config.trained_layers(generator)
        self.always = config.extra_layers(generator)
        self.rate = config.rate(generator)
        self.trainable = Trainable(self.generator, self.layers, config.train, config.rank, random)
        # Layers without a gradient are skipped and keep their state: a layer that was frozen for a while continues as
        # it left off. (PyTorch before 2.0 let Adam's averages decay meanwhile, so that it came back with larger steps.)
        fused = {"fused": True} if generator.device.type == "cpu" else {}  # a fifth of the time, measured
        self.optimizer = torch.optim.Adam(self.trainable.leaves.values(), lr=self.rate, betas=BETAS, **fused)

    @property
    def maps(self) -> bool:
        """Whether the next step trains the mapping network, so that the twins have codes of their own."""
        return any(self.generator.layers[name].kind is LayerKind.MAPPING for name in self.layers)

    def choose(self, layers: tuple[str, ...]) -> None:
        """Train these layers, and those that always train, from the next step on."""
        self.layers = (*layers, *self.always)

    def free(self, everything: bool = False) -> None:
        """Let the layers of the next step receive gradients, or all that may ever train."""
        self.trainable.free(tuple(self.trainable.parameters) if everything else self.layers)

    def freeze(self) -> None:
        """Let no part of the generator receive gradients."""
        self.generator.requires_grad_(False)

    def reset(self) -> None:
        """Forget the gradients of a step that failed."""
        self.optimizer.zero_grad(set_to_none=True)
        self.generator.zero_grad(set_to_none=True)

    def step(self, gradients: dict[str, Tensor]) -> None:
        """Move the weights by one step of Adam along `Trainable.gradients`."""
        self.trainable.step(self.optimizer, gradients, self.layers)

    def tensors(self) -> dict[str, Tensor]:
        """Named copies on the CPU of what trains and of Adam's averages."""
        return optimizer_tensors(self.optimizer, self.trainable.leaves)

    def restore(self, tensors: dict[str, Tensor], layers: tuple[str, ...]) -> None:
        """Continue from `tensors` of an earlier run whose last step trained `layers`.

        Raises:
            NadaError: a layer is unknown, or a tensor is missing or of another shape.
        """
        if not set(layers) <= set(self.layers):
            raise NadaError("the state of the run is damaged: it trained layers that this run does not")
        restore_optimizer(self.optimizer, self.trainable.leaves, tensors)
        self.trainable.push()
        self.layers = layers
