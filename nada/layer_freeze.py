"""Adaptive layer freezing: measure which layers the target text moves, choose them, train only those.

StyleGAN-NADA section 4.2. Every convolution of the synthesis network is a candidate; what is trained with it is its
weight, bias, noise strength and the affine map of its style. The mapping network, the constant input and the to-RGB
layers are never trained.

A layer's score is that of the latent code that drives it. (The authors' code reads the score of the next code, so from
the third on it trains the layer before the one that moved.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .stylegan2.synthesis import Synthesis


def measure(
    synthesis: Synthesis, ws: Tensor, loss: Callable[[Tensor], Tensor], steps: int = 1, step_size: float = 0.01
) -> Tensor:
    """How far each latent code moves when the codes, not the weights, are optimized towards the target.

    With one step this is the gradient's magnitude, so the step size only matters from the second on. No weight takes
    part: freeze all of them first, or their gradients are computed in vain.

    Args:
        synthesis: the trained twin's network.
        ws: [N, num_ws, w_dim] codes to start from.
        loss: maps ws to a scalar (the global CLIP loss of the images that `synthesis` makes of them).
        steps: steps of plain gradient descent.
        step_size: their size.

    Returns:
        [num_ws], the mean over batch and dimensions of |displacement| / step_size.
    """
    moved = torch.zeros_like(ws)
    for _ in range(steps):
        codes = (ws - step_size * moved).requires_grad_(True)
        moved = moved + torch.autograd.grad(loss(codes), codes)[0]
    return moved.abs().mean(dim=(0, 2))


def choose(synthesis: Synthesis, scores: Tensor, k: int) -> tuple[str, ...]:
    """The k convolutions with the highest scores, in the order of the network; of equals, the lower one.

    Args:
        synthesis: the network that the scores were measured on.
        scores: [num_ws] from `measure`.
        k: number of layers, 1..len(synthesis.conv_layers).
    """
    per_code = scores.tolist()
    ranked = sorted(synthesis.conv_layers, key=lambda name: -per_code[synthesis.latent_of[name]])
    chosen = set(ranked[:k])
    return tuple(name for name in synthesis.conv_layers if name in chosen)


def apply(network: nn.Module, synthesis: Synthesis, layers: tuple[str, ...]) -> None:
    """Freeze every parameter of `network` but those of the named layers of its synthesis network."""
    network.requires_grad_(False)
    for name in layers:
        synthesis.layer(name).requires_grad_(True)
