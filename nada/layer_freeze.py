"""Adaptive layer freezing: measure which layers the target text moves, choose them, train only those.

StyleGAN-NADA section 4.2. Every convolution of the synthesis network is a candidate; what is trained with it is its
weight, bias, noise strength and the affine map of its style. The mapping network, the constant input and the to-RGB
layers are trained only where the configuration says so.

A layer's score is that of the latent code that drives it. (The authors' code reads the score of the next code, so from
the third on it trains the layer before the one that moved.)
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from .errors import UsageError
from .stylegan2.synthesis import Synthesis

# Sets of layers to train from the first step to the last, after the phases of the authors' code, which has them for
# 1024 px. Smaller generators have the part of them that exists.
PHASES = {
    "texture": "b4.const, b4, b16-b128",
    "shape": "b4.const, b4, b8",
    "shape_expanded": "b4.const, b4, b8, b16.conv0",
    "no_fine": "b4.const, b4-b128",
}
NAME = re.compile(r"mapping|b(\d+)(?:-b(\d+))?(?:\.(conv0|conv1|torgb|const))?")


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


def named(synthesis: Synthesis, text: str) -> tuple[str, ...]:
    """The layers that a text names, in the order of the network.

    Args:
        synthesis: the network.
        text: a name of `PHASES`, or entries separated by commas: a layer ("b8.conv0", "b8.torgb", "b4.const",
            "mapping"), the convolutions of a resolution ("b8") or of several ("b8-b64"), one layer of each
            ("b8-b64.torgb").

    Raises:
        UsageError: an entry is not of this form, or matches no layer of this network.
    """
    known = ("mapping", "b4.const", *synthesis.latent_of)
    found = set()
    for entry in entries(text):
        if not (matches := {name for name in known if _matches(name, entry)}):
            raise UsageError(f"there is no layer {entry!r}; the layers are {', '.join(known)}")
        found |= matches
    return tuple(name for name in known if name in found)


def entries(text: str) -> list[str]:
    """The entries of a text for `named`.

    Raises:
        UsageError: one of them is not of its form.
    """
    parts = [part.strip() for part in PHASES.get(text, text).split(",")]
    for part in parts:
        if not NAME.fullmatch(part):
            raise UsageError(
                f"layers is {text!r}; it must be 'auto', 'all' or a number from 1, one of {', '.join(PHASES)}, or "
                "names such as 'b8.conv0, b16-b64'"
            )
    return parts


def _matches(name: str, entry: str) -> bool:
    first, last, wanted = NAME.fullmatch(entry).groups()
    if first is None or name == "mapping":
        return name == entry
    block, part = name.removeprefix("b").split(".")
    inside = int(first) <= int(block) <= int(last or first)
    return inside and (part == wanted if wanted else part.startswith("conv"))
