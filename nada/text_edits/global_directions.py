"""StyleCLIP's global directions (Patashnik et al., arXiv 2103.17249, section 6): edits of style channels by a text.

Each channel of style space is set to a low and to a high value, and CLIP measures how the images change. Channels whose
change agrees with that of the text are moved, by the same amount in all images. So the edit is an offset per style
channel: a style (`nada.styles`) like those of adaptations with train = "stylespace", which can be scaled and combined.
The generator stays within the images that it can already make.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from ..clip.alphabet import unreadable_remark
from ..clip.directions import text_direction
from ..clip.embedding import embed_images
from ..clip.models import ClipEnsemble
from ..clip.prompts import METHODS, Templates, check_templates, prompt_templates
from ..errors import UsageError, is_out_of_memory
from ..generators import Generator, LayerKind
from ..generators.copies import working_copy
from ..latents.rendering import generate, release_memory
from ..latents.sampling import draw_latents
from ..losses import unit
from ..seeding import SEEDS, seeded
from ..settings import Setting, check_settings
from ..styles.style import Style

log = logging.getLogger(__name__)

BETA, AMOUNT = 0.1, 4.0
MAX_AMOUNT = 20.0
REACH = 5.0  # distance of the tried values from a channel's mean, in standard deviations, as in the authors' code
CODES = 2000  # number of codes from which a channel's mean and deviation are estimated
AT_ONCE = 4  # number of images per chunk for the gradient, as long as there is memory

Channel = tuple[str, int]
"""A layer's name, and a channel of its styles."""


@dataclass(frozen=True)
class DirectionConfig:
    """Settings of the measurement of style channels; `settings_of` lists and explains them.

    Raises:
        UsageError: a value is out of range.
    """

    source: Annotated[str, Setting("Phrase for what the generator makes now, such as 'dog'.")]
    target: Annotated[str, Setting("Phrase for what the images should show, such as 'black dog'.")]
    samples: Annotated[
        int, Setting("Number of images that each channel is tried on (the paper: 100).", low=1, high=1000)
    ] = 16
    candidates: Annotated[
        int,
        Setting(
            "Number of channels to try: the ones with the largest gradient. 0 tries all (the paper), which takes "
            "hours at 1024 px.",
            low=0,
            high=100_000,
        ),
    ] = 200
    templates: Templates = METHODS
    seed: Annotated[
        int, Setting("Random seed. Measurements with the same seed are identical.", low=1 - SEEDS, high=SEEDS - 1)
    ] = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_templates(self.templates)
        for name in ("source", "target"):
            if not getattr(self, name).strip():
                raise UsageError(f"the {name} text is empty; write a word or a phrase")


@dataclass(frozen=True)
class Relevance:
    """Agreement of each style channel's effect on the images with a text. Made by `measure_relevance`."""

    generator: Generator
    """The generator that was measured; it is not changed."""
    relevance: dict[str, Tensor]
    """{layer name: [C]}, in -1..1: cosine between the images' change and the text's; 0 for channels not tried."""
    deviations: dict[str, Tensor]
    """{layer name: [C]}, standard deviations of the styles over random codes."""
    recipe: dict[str, Any]
    """Everything needed to repeat the measurement, JSON-serializable."""

    @property
    def largest(self) -> float:
        """The largest magnitude of a relevance."""
        return max(float(values.abs().max()) for values in self.relevance.values())

    def channels(self, beta: float = BETA) -> list[tuple[str, int, float]]:
        """The channels to move, as (layer, channel, relevance), the most relevant first.

        Args:
            beta: smallest magnitude of the relevance, 0..1. A higher one preserves more of what the text does not name.

        Raises:
            UsageError: beta is out of range, or no channel is relevant enough.
        """
        check_edit(beta, AMOUNT)
        found = [
            (layer, int(i), float(values[i]))
            for layer, values in self.relevance.items()
            for i in (values.abs() >= max(beta, 1e-12)).nonzero()
        ]
        if not found:
            raise UsageError(
                f"no style channel is as relevant as beta = {beta:g}; the largest relevance is {self.largest:.3f}. "
                "Use a smaller beta, more candidates, or a text that names what this generator can show"
            )
        return sorted(found, key=lambda channel: -abs(channel[2]))

    @torch.inference_mode(False)
    @torch.no_grad()
    def style(self, beta: float = BETA, amount: float = AMOUNT) -> Style:
        """The edit as a style for `apply_style` and `save_style`.

        Args:
            beta: see `channels`.
            amount: change of the most relevant channel in standard deviations, in -20..20 and not 0; negative for the
                opposite edit. The others change in proportion to their relevance.

        Raises:
            UsageError: an argument is out of range, or no channel is relevant enough.
        """
        check_edit(beta, amount)
        moved = self.channels(beta)
        edited = copy.deepcopy(self.generator)
        for layer, channel, relevance in moved:
            bias = edited.parameters_of(layer)["affine.bias"]
            bias[channel] += amount * relevance / abs(moved[0][2]) * self.deviations[layer][channel].to(bias)
        recipe = {**self.recipe, "beta": beta, "amount": amount, "channels": len(moved)}
        edited.metadata["adaptations"] = [*edited.metadata.get("adaptations", []), recipe]
        return Style.between(self.generator, edited)


def check_edit(beta: float, amount: float) -> None:
    """Check the arguments of `Relevance.style`, so that a mistake is reported before minutes of measuring.

    Raises:
        UsageError: an argument is out of range.
    """
    if not 0 <= beta <= 1:
        raise UsageError(f"beta is {beta}; it must be in 0..1")
    if not 0 < abs(amount) <= MAX_AMOUNT:
        raise UsageError(f"amount is {amount}; it must be in {-MAX_AMOUNT:g}..{MAX_AMOUNT:g}, and not 0")


@torch.inference_mode(False)
def measure_relevance(
    generator: Generator,
    clip: ClipEnsemble,
    config: DirectionConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Relevance:
    """Find the style channels of a generator that change its images from one phrase to another.

        relevance = measure_relevance(generator, clip, DirectionConfig("dog", "black dog"))
        black = apply_style(generator, relevance.style(beta=0.1, amount=4))

    Args:
        generator: generator, adapted or not, of any family; it is not changed.
        clip: the CLIP models, on the same device; their relevances are averaged with their weights.
        config: see `DirectionConfig`.
        progress: called with the number of channels tried and the number of all to try; an exception that it raises
            ends the measurement.

    Returns:
        The relevance of each channel of the convolutions; to-RGB layers are left out, as in the paper.

    Raises:
        UsageError: both texts mean the same to a CLIP model, or a text is too long.
    """
    if remark := unreadable_remark(clip, [config.source, config.target]):
        log.warning("%s", remark)
    directions = [text_direction(m, config.source, config.target, prompt_templates(config.templates)) for m in clip]
    twin, random = working_copy(generator), seeded(config.seed)
    layers = [name for name, layer in generator.layers.items() if layer.kind is LayerKind.CONVOLUTION]
    with torch.no_grad():
        drawn = twin.synthesis.styles(_codes(twin, CODES, random))
        ws = _codes(twin, config.samples, random)
    means = {name: drawn[name].mean(dim=0) for name in layers}
    deviations = {name: drawn[name].std(dim=0) for name in layers}
    channels = [(name, i) for name in layers for i in range(len(means[name]))]
    if 0 < config.candidates < len(channels):
        slopes = _slopes(twin, layers, clip, directions, ws)
        effects = {name: (slope * deviations[name]).abs().tolist() for name, slope in slopes.items()}
        channels = sorted(channels, key=lambda channel: -effects[channel[0]][channel[1]])[: config.candidates]
    relevance = {name: torch.zeros(len(means[name])) for name in layers}
    for done, (layer, i) in enumerate(channels, start=1):
        reach = REACH * float(deviations[layer][i])
        if reach:  # a channel that never varies has no scale to move on
            ends = [_embedded(twin, clip, ws, (layer, i), float(means[layer][i]) + way * reach) for way in (-1, 1)]
            relevance[layer][i] = _agreement(clip, directions, *ends)
        progress(done, len(channels))
    recipe = {"method": "global direction", **asdict(config), "base": generator.fingerprint(), "clip": clip.describe()}
    return Relevance(generator, relevance, {name: tensor.cpu() for name, tensor in deviations.items()}, recipe)


def _codes(generator: Generator, count: int, random: torch.Generator) -> Tensor:
    """Draw codes [count, num_ws, w_dim] from random z, of all classes and without truncation."""
    z, label = draw_latents(generator, count, random)
    return generator.mapping(z, label=label)


def _slopes(
    twin: Generator, layers: Sequence[str], clip: ClipEnsemble, directions: Sequence[Tensor], ws: Tensor
) -> dict[str, Tensor]:
    """Gradient of the images' similarity to the texts' directions with respect to each style channel: {layer: [C]}.

    A channel's bias is added to its style, so one backward pass gives the gradients of all channels. Out of memory, the
    chunks are halved.
    """
    at_once = AT_ONCE
    while True:
        try:
            return _slopes_of(twin, layers, clip, directions, ws.split(at_once))
        except Exception as error:
            if at_once == 1 or not is_out_of_memory(error):
                raise
        finally:
            twin.requires_grad_(False)
        at_once //= 2
        release_memory()


def _slopes_of(
    twin: Generator, layers: Sequence[str], clip: ClipEnsemble, directions: Sequence[Tensor], parts: Sequence[Tensor]
) -> dict[str, Tensor]:
    biases = {name: twin.parameters_of(name)["affine.bias"].requires_grad_(True) for name in layers}
    totals = {name: torch.zeros_like(bias) for name, bias in biases.items()}
    with torch.enable_grad():
        for part in parts:
            images = twin.synthesis(part)
            terms = [
                model.weight * (unit(model.encode_image(images)) @ direction).sum()
                for model, direction in zip(clip, directions, strict=True)
            ]
            slopes = torch.autograd.grad(sum(terms, images.new_zeros(())), list(biases.values()))
            for name, slope in zip(biases, slopes, strict=True):
                totals[name] += slope
    return {name: total.detach() for name, total in totals.items()}


@torch.no_grad()
def _embedded(twin: Generator, clip: ClipEnsemble, ws: Tensor, channel: Channel, value: float) -> list[Tensor]:
    """Embed images of codes with one style channel set to a value: [N, D] for each model."""
    parameters, index = twin.parameters_of(channel[0]), channel[1]
    weight, bias = parameters["affine.weight"], parameters["affine.bias"]
    row, offset = weight[index].clone(), bias[index].clone()
    try:
        weight[index], bias[index] = 0, value  # the style no longer depends on the code
        images = generate(twin, ws)
    finally:
        weight[index], bias[index] = row, offset
    return [embed_images(model, images) for model in clip]


def _agreement(clip: ClipEnsemble, directions: Sequence[Tensor], low: list[Tensor], high: list[Tensor]) -> float:
    """Cosine between the images' mean change from low to high and the text's direction, averaged over the models."""
    total = weights = 0.0
    for model, direction, before, after in zip(clip, directions, low, high, strict=True):
        change = unit(unit(after - before).mean(dim=0))
        total += model.weight * float(change @ direction.cpu())
        weights += model.weight
    return total / weights
