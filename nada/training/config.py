"""What an adaptation is asked to do. The command line, the nodes and the saved recipes are derived from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from .. import layer_freeze
from ..errors import UsageError
from ..generators import PRECISIONS, Generator, LayerKind
from ..settings import check_ranges, option
from ..styles.style import Style
from .trainable import KINDS

PAPER_RATE, PAPER_WIDTH = 0.0016, 512  # Adam's 0.002 with StyleGAN2's factor 4/5 for lazy regularization, 512 features
STYLE_IMAGES = "style images"  # in place of the target text, where there is none

# Step sizes in units of that for weights: the smallest that get about as far on the demo generator (photo -> sketch,
# 150 iterations, batch 4; stylespace and affine with the to-RGB layers). StyleDomain (arXiv 2212.10229) has 31 for
# style offsets of a 1024 px generator.
RATE_OF = {"weights": 1, "affine": 5, "stylespace": 40, "lora": 3}


@dataclass(frozen=True)
class AdaptConfig:
    """What to adapt to, and how. The defaults are the paper's but for `layers`; `fields()` tells what each one means.

    Raises:
        UsageError: a value is out of range.
    """

    source: str = option(
        MISSING,
        "A phrase for what the generator makes now, such as 'photo' or 'dog'. Empty lets CLIP choose one that fits the "
        "generator's images.",
    )
    target: str = option(
        MISSING,
        "A phrase for what it shall make, such as 'sketch' or 'pig'. Several with weights are blended: "
        "'sketch:2 | watercolor:1'. May be empty with style images.",
    )
    iterations: int = option(
        300, "Training steps. A style takes 200-400, another identity 150-200, a change within the domain 50.", 1
    )
    batch: int = option(2, "Images per step.", 1)
    learning_rate: float | None = option(
        None,
        "Step size of Adam. None takes the paper's 0.0016 scaled to the generator's width, and larger where less is "
        "trained: 3 times for lora, 5 times for affine, 40 times for stylespace.",
        0,
    )
    layers: str | int = option(
        "auto",
        "Layers trained per step: a number chooses that many adaptively, 'auto' two thirds of them, 'all' trains all "
        "without choosing (faster; for styles). Or a fixed set: texture, shape, shape_expanded, no_fine, or names such "
        "as 'b8.conv0, b16-b64'.",
    )
    train: str = option(
        "weights",
        "What of a layer is trained: 'weights' all of it (the paper), 'affine' the map from codes to styles, "
        "'stylespace' an offset per style channel (the smallest files), 'lora' low-rank changes of the convolutions.",
        choices=KINDS,
    )
    rank: int = option(8, "Of the changes that train = lora makes.", 1)
    train_torgb: bool = option(False, "Train the to-RGB layers too, which set the colors.")
    train_const: bool = option(False, "Train the constant that the network starts from too.")
    train_mapping: bool = option(False, "Train the mapping network too; the twins then no longer share their codes.")
    select_every: int = option(1, "Choose the layers anew every so many steps.", 1)
    select_batch: int = option(8, "Images on which the layers are chosen.", 1)
    select_steps: int = option(1, "Optimization steps of the latent codes per choice.", 1)
    directional_weight: float = option(1.0, "Weight of the directional loss.", 0)
    global_weight: float = option(
        0.0, "Weight of the global loss in training. It lets the images collapse; for comparison.", 0
    )
    norm_weight: float = option(
        0.0,
        "Weight of the embedding-norm loss, which holds back overdrawn pictures. The paper's latent mapper has 0.5.",
        0,
    )
    angle_weight: float = option(
        0.0,
        "Weight of the within-domain loss, which keeps the images of a batch as different as they were. "
        "StyleDomain has 0.25.",
        0,
    )
    patch_weight: float = option(
        0.0, "Weight of the directional loss on random crops, which also changes texture. Try 0.5-1.", 0
    )
    image_share: float | None = option(
        None,
        "With style images: their part of the target, between 0 and 1; the target text has the rest. None is half, or "
        "all without a target text.",
        0,
        1,
    )
    mixing: float = option(0.0, "Probability of style mixing; both generators see the same mixture.", 0, 1)
    precision: str = option(
        "full",
        "'half' computes CLIP and the generator from 64 px on in bfloat16, weights and losses in float32. Meant for "
        "GPUs, and not measured on one; this project's CPUs take longer that way.",
        choices=PRECISIONS,
    )
    cuda_graphs: bool = option(
        False,
        "On a CUDA card, record a step and replay it, where launching kernels takes longer than they do. A recording "
        "is held to an ordinary step first and used only if it is faster. Not tried on a card yet.",
    )
    views: int | None = option(
        None,
        "Show CLIP so many randomly moved copies of each image, the same of both generators, instead of the image. "
        "0 is the paper; None takes 2 for small CLIP models, which are easily fooled, and 0 for others.",
        0,
    )
    templates: str = option(
        "", "Prompts with {} for the phrase, separated by |, such as 'a face, {}|{}'. Empty for the method's 79."
    )
    seed: int = option(0, "Of all random draws; equal seeds give equal runs.")

    def __post_init__(self) -> None:
        check_ranges(self)
        if missing := [t for t in self.prompts or () if "{}" not in t]:
            raise UsageError(f"the template {missing[0]!r} has no {{}}, where the phrase goes")
        if self.learning_rate == 0:
            raise UsageError("learning_rate is 0; nothing would be learned. Leave it out for the default")
        if not self.loss_weights.keys() & {"directional", "global", "patch"}:  # the others only hold back
            raise UsageError("directional_weight, global_weight and patch_weight are all 0; one of them must count")
        if self.angle_weight and self.batch * (self.views or 1) < 2:
            raise UsageError("angle_weight compares the images of a batch with each other; set batch to at least 2")
        if isinstance(self.layers, int) and self.layers < 1:
            raise UsageError(f"layers is {self.layers}; it must be 'auto', 'all' or a number from 1")
        if self.fixed_layers:
            layer_freeze.entries(self.layers)
        if self.target.strip():
            self.targets()

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> AdaptConfig:
        """The configuration in a recipe, as generators and styles carry it; what else the recipe says is left out.

        Raises:
            UsageError: a text is missing, or a value is out of range.
        """
        known = {f.name: recipe[f.name] for f in fields(cls) if f.name in recipe}
        if lacking := {"source", "target"} - known.keys():
            raise UsageError(f"this is not the recipe of an adaptation: it has no {' and no '.join(sorted(lacking))}")
        return cls(**known)

    @classmethod
    def from_style(cls, style: Style) -> AdaptConfig:
        """The configuration that trains a style again on its base, for as many iterations as it has.

        Raises:
            UsageError: it has no recipe, or one that this version does not understand.
        """
        if style.recipe is None:
            raise UsageError(f"the style {style.name!r} has no recipe: it is a difference of generators that had none")
        try:
            return cls.from_recipe({**style.recipe, "iterations": style.recipe["iterations_done"]})
        except (TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"the recipe of the style {style.name!r} is not one of this version: {error}") from error

    @property
    def loss_weights(self) -> dict[str, float]:
        """{loss: weight} of those that count."""
        names = ("directional", "global", "norm", "angle", "patch")
        return {name: weight for name in names if (weight := getattr(self, f"{name}_weight"))}

    def targets(self) -> dict[str, float]:
        """{target text: its part of the whole}, which is 1; weights are read where there are several texts.

        Raises:
            UsageError: a text is empty, or a weight not a positive number.
        """
        parts = [part.strip() for part in self.target.split("|")]
        if len(parts) == 1:
            return {parts[0]: 1.0}
        texts: dict[str, float] = {}
        for part in parts:
            text, weight = re.fullmatch(r"(.*?)(?::\s*([-+.\deE]+))?", part).groups()
            try:
                value = float(weight or 1)
            except ValueError:
                raise UsageError(f"the weight {weight!r} in the target {self.target!r} is not a number") from None
            if not text.strip() or not 0 < value < float("inf"):
                raise UsageError(f"the target {self.target!r} is not of the form 'sketch:2 | watercolor:1'")
            texts[text.strip()] = texts.get(text.strip(), 0.0) + value
        total = sum(texts.values())
        return {text: value / total for text, value in texts.items()}

    @property
    def prompts(self) -> tuple[str, ...] | None:
        """The templates one by one; None for the method's own."""
        return tuple(part.strip() for part in self.templates.split("|")) if self.templates else None

    @property
    def fixed_layers(self) -> bool:
        """Whether `layers` names the layers to train."""
        return isinstance(self.layers, str) and self.layers not in ("auto", "all")

    def layer_count(self, generator: Generator) -> int | None:
        """How many convolutions each step chooses to train; None for a fixed set of them, without choosing.

        Raises:
            UsageError: more layers are asked for than the generator has codes (the paper counts those: 18 at 1024 px).
        """
        convs = len(layer_freeze.candidates(generator.layers))
        if self.layers == "all" or self.fixed_layers:
            return None
        count = 2 * generator.num_ws // 3 if self.layers == "auto" else self.layers
        if count > generator.num_ws:
            resolution = generator.config.resolution
            raise UsageError(f"layers is {count}; a {resolution} px generator has {convs} to choose from. Use 'all'")
        return count if count < convs else None

    def trained_layers(self, generator: Generator) -> tuple[str, ...]:
        """Every layer that ever trains, or may be chosen to.

        Raises:
            UsageError: a named layer does not exist.
        """
        known = generator.layers
        layers = layer_freeze.named(known, self.layers) if self.fixed_layers else tuple(layer_freeze.candidates(known))
        return (*layers, *(name for name in self.extra_layers(generator) if name not in layers))

    def extra_layers(self, generator: Generator) -> tuple[str, ...]:
        """The layers that train in every step because the configuration says so, beside those chosen."""
        asked = {
            LayerKind.MAPPING: self.train_mapping,
            LayerKind.CONSTANT: self.train_const,
            LayerKind.COLOR: self.train_torgb,
        }
        return tuple(name for name, layer in generator.layers.items() if asked.get(layer.kind))

    def rate(self, generator: Generator) -> float:
        """Adam's step size: `learning_rate`, or the paper's for 512 features times sqrt(512 / features).

        Adam moves every weight by about its step size. Over the n inputs of a layer, scaled by 1 / sqrt(n), those moves
        add up to step * sqrt(n), so a narrower generator needs larger steps to change as much.
        """
        return self.learning_rate or PAPER_RATE * (PAPER_WIDTH / generator.config.width) ** 0.5 * RATE_OF[self.train]
