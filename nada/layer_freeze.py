"""Adaptive layer freezing: measure which layers the target text moves, choose them, train only those.

StyleGAN-NADA section 4.2. Every convolution of the synthesis network is a candidate; with it train its weight, bias,
noise strength and the affine map of its style. The mapping network, the constant input and the to-RGB layers train only
where the configuration says so.

A layer has the score of the latent code that drives it. (The authors' code reads the score of the next code, so that
from the third layer on it trains the one before the layer that moved.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from .errors import UsageError
from .generators import Layer, LayerKind

# Fixed sets of layers to train in every iteration, after the phases of the authors' code, which defines them for
# 1024 px. A smaller generator trains those that it has.
PHASES = {
    "texture": "b4.const, b4, b16-b128",
    "shape": "b4.const, b4, b8",
    "shape_expanded": "b4.const, b4, b8, b16.conv0",
    "no_fine": "b4.const, b4-b128",
}
# A block or a range of blocks, with or without a part ("b8", "b8-b64.torgb"), or the name of one layer. Names of other
# families begin with a capital letter, as StyleGAN3's "L0_36_512".
BLOCKS = re.compile(r"b(\d+)(?:-b(\d+))?(?:\.(conv0|conv1|torgb|const))?")
NAME = re.compile(rf"mapping|[A-Z]\w*|{BLOCKS.pattern}")


def measure(ws: Tensor, loss: Callable[[Tensor], Tensor], steps: int = 1, step_size: float = 0.01) -> Tensor:
    """Measure how far each latent code moves when the codes, not the weights, are optimized towards the target.

    With one step this is the gradient's magnitude, so that the step size only matters from the second step on. Freeze
    all weights first: their gradients would be computed and not used.

    Args:
        ws: [N, num_ws, w_dim] codes to start from.
        loss: maps ws to a scalar (the global CLIP loss of the trained twin's images for these codes).
        steps: number of steps of plain gradient descent.
        step_size: size of each step.

    Returns:
        [num_ws], the mean over batch and dimensions of |displacement| / step_size.
    """
    moved = torch.zeros_like(ws)
    for _ in range(steps):
        codes = (ws - step_size * moved).requires_grad_(True)
        moved = moved + torch.autograd.grad(loss(codes), codes)[0]
    return moved.abs().mean(dim=(0, 2))


def candidates(layers: Mapping[str, Layer]) -> dict[str, int]:
    """Return the layers that may be chosen, in the order of the network: {convolution: index of its code}."""
    return {
        name: layer.code
        for name, layer in layers.items()
        if layer.kind is LayerKind.CONVOLUTION and layer.code is not None
    }


def choose(layers: Mapping[str, Layer], scores: Tensor, count: int) -> tuple[str, ...]:
    """Return the `count` convolutions with the highest scores, in the order of the network; on ties the earlier one.

    Args:
        layers: layers of the generator that the scores were measured on, by name.
        scores: [num_ws] from `measure`.
        count: number of layers to choose (k in the paper), 1..len(candidates(layers)).
    """
    per_code, codes = scores.tolist(), candidates(layers)
    ranked = sorted(codes, key=lambda name: -per_code[codes[name]])
    chosen = set(ranked[:count])
    return tuple(name for name in codes if name in chosen)


def named(layers: Mapping[str, Layer], text: str) -> tuple[str, ...]:
    """Return the layers that a text names, in the order of the network.

    Args:
        layers: layers of the generator, by name.
        text: a name of `PHASES`, or entries separated by commas: a layer ("b8.conv0", "b8.torgb", "b4.const",
            "mapping"), the convolutions of a resolution ("b8") or of a range ("b8-b64"), or one layer of each block in
            a range ("b8-b64.torgb").

    Raises:
        UsageError: an entry has another form, or matches no layer of this generator.
    """
    matches = {entry: set(_matching(layers, entry)) for entry in entries(text)}
    found = set().union(*matches.values())
    for entry, names in matches.items():
        if not names and not (text in PHASES and found):
            raise UsageError(f"there is no layer {entry!r}; the layers are {', '.join(layers)}")
    return tuple(name for name in layers if name in found)


def entries(text: str) -> list[str]:
    """Split a text for `named` into its entries, a name of `PHASES` being replaced by its layers.

    Raises:
        UsageError: an entry has none of the forms that `named` takes.
    """
    parts = [part.strip() for part in PHASES.get(text, text).split(",")]
    for part in parts:
        if not NAME.fullmatch(part):
            raise UsageError(
                f"layers is {text!r}; it must be 'auto', 'all' or a number from 1, one of {', '.join(PHASES)}, or "
                "names such as 'b8.conv0, b16-b64'"
            )
    return parts


def _matching(layers: Mapping[str, Layer], entry: str) -> Iterator[str]:
    """Yield the layers that one entry names."""
    if entry in layers:
        yield entry
        return
    blocks = BLOCKS.fullmatch(entry)
    if blocks is None:
        return
    first, last, part = blocks.groups()
    for name, layer in layers.items():
        inside = int(first) <= layer.resolution <= int(last or first)
        if inside and (name.endswith(f".{part}") if part else layer.kind is LayerKind.CONVOLUTION):
            yield name
