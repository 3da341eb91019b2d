"""The trainable tensors of an adaptation: parts of chosen layers, in full or through low-rank factors.

Besides the layers of the synthesis network ("b8.conv0", "b8.torgb"), "b4.const", its constant input, and "mapping" can
be trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..generators import Generator
from .state import take_step

PARTS: dict[str, tuple[str, ...] | None] = {  # trained parameters of a layer; constant and mapping train entirely
    "weights": None,  # all parameters
    "affine": ("affine.weight", "affine.bias"),
    "stylespace": ("affine.bias",),  # styles = affine(w), so its bias offsets each channel's style for all w
    "lora": ("weight", "bias"),  # the weight through its factors; without the biases it learned less (measured)
}
KINDS = tuple(PARTS)


class LoraWeight:
    """A weight base + up @ down whose factors are trained in its place (LoRA, Hu et al., arXiv 2106.09685).

    The network uses the weight itself, which receives the gradient; `pull` passes the gradient on to the factors, and
    `push` writes the new product back. `up` starts at zero and `down` with variance 1 / rank, so that Adam's first step
    moves the entries of the weight about as far as it would without factors.

    Args:
        weight: convolution weight [O, I, kernel, kernel].
        rank: columns of `up` [O, rank] and rows of `down` [rank, I * kernel * kernel]; at most the weight's full rank.
        random: CPU generator of random numbers.
    """

    def __init__(self, weight: nn.Parameter, rank: int, random: torch.Generator):
        self.weight, self.base = weight, weight.detach().clone()
        outputs, inputs = weight.flatten(1).shape
        rank = min(rank, outputs, inputs)
        self.up = torch.zeros(outputs, rank).to(weight)
        self.down = (torch.randn(rank, inputs, generator=random) / rank**0.5).to(weight)

    @torch.no_grad()
    def pull(self) -> None:
        """Turn the weight's gradient into those of the factors (chain rule); without a gradient, do nothing."""
        if self.weight.grad is None:
            return
        gradient = self.weight.grad.flatten(1)
        self.up.grad, self.down.grad = gradient @ self.down.T, self.up.T @ gradient
        self.weight.grad = None

    @torch.no_grad()
    def push(self) -> None:
        """Update the weight from the current factors."""
        self.weight.copy_(self.base + (self.up @ self.down).view_as(self.base))


class Trainable:
    """The tensors of a generator that its adaptation may change.

    Args:
        generator: the trained generator. It holds the effective weights after every `step`.
        layers: names of all layers that are ever trained.
        kind: one of `KINDS`.
        rank: rank of the factors, for "lora".
        random: CPU generator of random numbers, for "lora".

    Attributes:
        leaves: {name: tensor}, the tensors that the optimizer updates.
    """

    def __init__(self, generator: Generator, layers: tuple[str, ...], kind: str, rank: int, random: torch.Generator):
        self.generator = generator
        self.parameters = {name: _parameters(generator, name, PARTS[kind]) for name in layers}
        self.factors: dict[str, LoraWeight] = {}
        self.leaves: dict[str, Tensor] = {}
        for layer, parameters in self.parameters.items():
            parts: dict[str, Tensor] = dict(parameters)
            if kind == "lora" and generator.layers[layer].code is not None:
                self.factors[layer] = pair = LoraWeight(parameters["weight"], rank, random)
                del parts["weight"]
                parts |= {"up": pair.up, "down": pair.down}
            self.leaves |= {f"{layer}.{part}": tensor for part, tensor in parts.items()}

    def free(self, layers: tuple[str, ...]) -> None:
        """Let the named layers receive gradients, and no other part of the generator."""
        self.generator.requires_grad_(False)
        for name in layers:
            for parameter in self.parameters[name].values():
                parameter.requires_grad_(True)

    def gradients(self, output: Tensor, slope: Tensor) -> dict[str, Tensor]:
        """Backpropagate `slope`, the gradient at `output`: {"layer.part": gradient} of the free parameters."""
        names = ((f"{layer}.{part}", p) for layer, parts in self.parameters.items() for part, p in parts.items())
        free = {name: parameter for name, parameter in names if parameter.requires_grad}
        for parameter in free.values():
            parameter.grad = None
        output.backward(slope)  # gives gradients the memory layout of their parameters, which the optimizer relies on
        return {name: parameter.grad for name, parameter in free.items() if parameter.grad is not None}

    def step(self, optimizer: torch.optim.Adam, gradients: Mapping[str, Tensor], layers: tuple[str, ...]) -> None:
        """Update the named layers by one step of an Adam over `leaves`, with the result of `gradients`.

        Afterwards no tensor has a gradient: those of a finished training would take as much memory as the generator.
        """
        for layer, parts in self.parameters.items():
            for part, parameter in parts.items():
                parameter.grad = gradients.get(f"{layer}.{part}") if layer in layers else None
        for pair in self.factors.values():
            pair.pull()
        take_step(optimizer)
        self.clear()
        self.push()

    def clear(self) -> None:
        """Delete all gradients."""
        self.generator.zero_grad(set_to_none=True)
        for leaf in self.leaves.values():
            leaf.grad = None

    def push(self) -> None:
        """Update the generator's weights from all factors."""
        for pair in self.factors.values():
            pair.push()


def _parameters(generator: Generator, layer: str, parts: tuple[str, ...] | None) -> dict[str, nn.Parameter]:
    found = generator.parameters_of(layer)
    if parts is None or generator.layers[layer].code is None:
        return found
    return {part: parameter for part, parameter in found.items() if part in parts}
