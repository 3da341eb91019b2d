"""Configuration of an adaptation; the command line, the nodes and the saved recipes are derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from .. import layer_freeze
from ..checkpoint.metadata import OPTIONAL, RECOMMENDED
from ..clip.prompts import METHODS, Templates, check_templates, prompt_templates, text_shares
from ..errors import UsageError
from ..generators import PRECISIONS, Generator, LayerKind
from ..seeding import SEEDS
from ..settings import MAX_BATCH, MAX_STEPS, MAX_VIEWS, Setting, check_settings, settings_of
from ..styles.style import Style
from .state import FREE
from .trainable import KINDS

# The paper's learning rate, and the number of features it is for: 0.002 times StyleGAN2's 4/5 for lazy regularization.
PAPER_LEARNING_RATE, PAPER_WIDTH = 0.0016, 512
WEIGHT = "_weight"  # suffix: the field for the weight of a loss is the loss's name in `objective.LOSSES` with this
STYLE_IMAGES = "style images"  # stands for the target text where there is none
IMAGE_DEFAULTS = {"iterations": 400, "batch": 4}  # with style images, whose direction is less clear than a text's
RECOMMENDABLE = tuple(
    name.removesuffix(OPTIONAL) for name in RECOMMENDED
)  # settings that a generator's file may advise

# Learning rates relative to that for weights: the smallest that get about as far on the demo generator (photo ->
# sketch, 150 iterations, batch 4; stylespace and affine with the to-RGB layers). StyleDomain (arXiv 2212.10229) has 31
# for style offsets of a 1024 px generator.
LEARNING_RATE_FACTORS = {"weights": 1, "affine": 5, "stylespace": 40, "lora": 3}

NEW = ("style_weight",)  # settings newer than version 0.1
OF_PICTURES = ("image_share", "style_weight")  # settings that need style images


@dataclass(frozen=True)
class AdaptConfig:
    """Settings of an adaptation, explained by `settings_of`. The defaults are the authors'.

    `for_generator` also uses what a generator's file recommends.

    Raises:
        UsageError: a value is out of range.
    """

    source: Annotated[
        str,
        Setting(
            "Phrase for what the generator makes now, such as 'photo' or 'dog'. If it is empty, CLIP chooses one that "
            "fits the generator's images."
        ),
    ]
    target: Annotated[
        str,
        Setting(
            "Phrase for what the adapted generator should make, such as 'sketch' or 'pig'. Several phrases are blended "
            "with weights: 'sketch:2 | watercolor:1'."
        ),
    ]
    iterations: Annotated[
        int,
        Setting(
            "Number of training iterations. A style takes 200-400, another identity 150-200, a change within the "
            "domain about 50.",
            low=1,
            high=MAX_STEPS,
        ),
    ] = 300
    batch: Annotated[int, Setting("Number of images per iteration.", low=1, high=MAX_BATCH)] = 2
    learning_rate: Annotated[
        float | None,
        Setting(
            "Step size of Adam. Default: recommended by the generator's file (only for train = weights), else the "
            "paper's 0.0016, scaled to the generator's width, and times 3 for lora, 5 for affine, 40 for stylespace.",
            low=0,
            high=100,
        ),
    ] = None
    layers: Annotated[
        str | int,
        Setting(
            "Layers to train in each iteration: 'all' without selection (fast; for styles), 'auto' for a selection of "
            "two thirds, a number for a selection of that many, or a fixed set: texture, shape, shape_expanded, "
            "no_fine, or names such as 'b8.conv0, b16-b64'."
        ),
    ] = "all"
    train: Annotated[
        str,
        Setting(
            "Part of a layer to train: 'weights' for all weights (the paper), 'affine' for the map from latent codes "
            "to styles, 'stylespace' for an offset per style channel (the smallest files), 'lora' for a low-rank "
            "update of the convolutions.",
            choices=KINDS,
        ),
    ] = "weights"
    rank: Annotated[int, Setting("Rank of the low-rank update (only for train = lora).", low=1, high=4096)] = 8
    train_torgb: Annotated[bool, Setting("Also train the to-RGB layers, which set the colors.")] = False
    train_const: Annotated[bool, Setting("Also train the constant input of the synthesis network.")] = False
    train_mapping: Annotated[
        bool,
        Setting(
            "Also train the mapping network. The original and the adapted generator then no longer share latent codes."
        ),
    ] = False
    select_every: Annotated[
        int, Setting("Number of iterations between two selections of layers.", low=1, high=MAX_STEPS)
    ] = 1
    select_batch: Annotated[int, Setting("Number of images for a selection of layers.", low=1, high=MAX_BATCH)] = 8
    select_steps: Annotated[
        int, Setting("Number of gradient steps of the latent codes for a selection of layers.", low=1, high=1000)
    ] = 1
    directional_weight: Annotated[float, Setting("Weight of the directional loss.", low=0)] = 1.0
    global_weight: Annotated[
        float,
        Setting("Weight of the global loss. It can make all images alike; meant for comparison.", low=0),
    ] = 0.0
    norm_weight: Annotated[
        float,
        Setting(
            "Weight of the embedding-norm loss, which counteracts overdrawn images. The paper's latent mapper has 0.5.",
            low=0,
        ),
    ] = 0.0
    angle_weight: Annotated[
        float,
        Setting(
            "Weight of the within-domain loss, which preserves the differences between the images of a batch. "
            "StyleDomain has 0.25.",
            low=0,
        ),
    ] = 0.0
    patch_weight: Annotated[
        float,
        Setting("Weight of the directional loss on random crops, which also changes texture. Try 0.5-1.", low=0),
    ] = 0.0
    style_weight: Annotated[
        float,
        Setting(
            "Weight of the style loss, which gives the images colors and textures of the style images, at some cost in "
            "variety. Try 3 if their look is not reached; not for other subjects.",
            low=0,
        ),
    ] = 0.0
    image_share: Annotated[
        float | None,
        Setting(
            "Share of the style images in the target; the target text has the rest. Default: 0.5, or 1 without a "
            "target text.",
            low=0,
            high=1,
        ),
    ] = None
    mixing: Annotated[
        float, Setting("Probability of style mixing. Both generators see the same mixture.", low=0, high=1)
    ] = 0.0
    precision: Annotated[
        str,
        Setting(
            "Number format: 'half' computes CLIP and the generator's large layers in bfloat16, and keeps weights and "
            "losses in float32. Twice as fast on CPUs with AMX; not measured on GPUs yet. Refused without bfloat16.",
            choices=PRECISIONS,
        ),
    ] = "full"
    cuda_graphs: Annotated[
        bool,
        Setting(
            "Capture an iteration as a CUDA graph and replay it, which saves the time to launch kernels. Used only "
            "where a check finds equal results and less time. Not tried on a card yet."
        ),
    ] = False
    views: Annotated[
        int | None,
        Setting(
            "Number of randomly moved copies of each image that CLIP sees instead of the image, the same for both "
            "generators; 0 shows the image itself (the paper). Default: recommended by the generator's file, else 2 "
            "for small CLIP models, which are easily fooled, and 0 for others.",
            low=0,
            high=MAX_VIEWS,
        ),
    ] = None
    templates: Templates = METHODS
    seed: Annotated[
        int, Setting("Random seed. Runs with the same seed are identical.", low=1 - SEEDS, high=SEEDS - 1)
    ] = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_templates(self.templates)
        if self.learning_rate == 0:
            raise UsageError("learning_rate is 0; nothing would be learned. Leave it out for the default")
        if not self.loss_weights.keys() & {"directional", "global", "patch", "style"}:  # the others only hold back
            raise UsageError(
                "directional_weight, global_weight and patch_weight are all 0; one of them, or style_weight, must count"
            )
        if self.angle_weight and self.batch * (self.views or 1) < 2:
            raise UsageError(
                "angle_weight compares the images of a batch with each other; set batch or views to at least 2"
            )
        if isinstance(self.layers, int) and self.layers < 1:
            raise UsageError(f"layers is {self.layers}; it must be 'auto', 'all' or a number from 1")
        if self.fixed_layers is not None:
            layer_freeze.entries(self.fixed_layers)
        if self.target.strip():
            self.targets()

    @classmethod
    def for_generator(
        cls, generator: Generator, source: str, target: str, style_images: bool = False, **given: Any
    ) -> AdaptConfig:
        """The configuration for a generator: given values, else those its file recommends, else the defaults.

        Args:
            generator: the base of the adaptation.
            source, target: the texts.
            style_images: whether the target includes style images; the defaults are then `IMAGE_DEFAULTS`.
            given: other settings; None counts as given.

        Raises:
            UsageError: a value is out of range.
        """
        defaults = IMAGE_DEFAULTS if style_images else {}
        return cls(source, target, **{**defaults, **recommended(generator, given), **given})

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> AdaptConfig:
        """Read the configuration from the recipe of a generator, style or run, ignoring other entries.

        Args:
            recipe: fields of a configuration by name, among others, as in `Adaptation.recipe`.

        Raises:
            UsageError: a text is missing, or a value is out of range.
        """
        known = {name: recipe[name] for name in settings_of(cls) if name in recipe}
        if lacking := {"source", "target"} - known.keys():
            raise UsageError(f"this is not the recipe of an adaptation: it has no {' and no '.join(sorted(lacking))}")
        return cls(**known)

    @classmethod
    def from_style(cls, style: Style) -> AdaptConfig:
        """The configuration that trains a style again on its base, for the same number of iterations.

        Args:
            style: a style with a recipe; its base is not needed.

        Raises:
            UsageError: the style has no recipe, or one that this version does not understand.
        """
        if style.recipe is None:
            raise UsageError(
                f"the style {style.name!r} has no recipe, as it was made from generators without one; choose another"
            )
        try:
            return cls.from_recipe({**style.recipe, "iterations": style.recipe["iterations_done"]})
        except (TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"the recipe of the style {style.name!r} is not understood by this version: {error}"
            ) from error

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that determine each iteration's result, for cache keys.

        Settings that version 0.1 did not have are included only if they differ from their defaults, so that its runs
        are found again.
        """
        known = settings_of(type(self))
        values = {name: getattr(self, name) for name in known if name not in FREE}
        return {name: value for name, value in values.items() if name not in NEW or value != known[name].default}

    @property
    def loss_weights(self) -> dict[str, float]:
        """{loss: weight} for all weights above 0."""
        names = [name for name in settings_of(type(self)) if name.endswith(WEIGHT)]
        return {name.removesuffix(WEIGHT): weight for name in names if (weight := getattr(self, name))}

    def targets(self) -> dict[str, float]:
        """The target texts with their shares, as `text_shares` returns them."""
        return text_shares(self.target)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt templates as a tuple of strings."""
        return prompt_templates(self.templates)

    @property
    def fixed_layers(self) -> str | None:
        """The value of `layers` if it names a fixed set of layers, else None."""
        return self.layers if isinstance(self.layers, str) and self.layers not in ("auto", "all") else None

    def layer_count(self, generator: Generator) -> int | None:
        """Number of convolutions that a selection picks for training; None if the set is fixed.

        Raises:
            UsageError: more layers are requested than the generator has codes (the paper counts codes: 18 at 1024 px).
        """
        convs = len(layer_freeze.candidates(generator.layers))
        if self.layers == "all" or self.fixed_layers is not None:
            return None
        count = self.layers if isinstance(self.layers, int) else 2 * generator.num_ws // 3
        if count > generator.num_ws:
            raise UsageError(
                f"layers is {count}; the most for a {generator.config.resolution} px generator is {generator.num_ws}, "
                "one for each of its codes. Use 'all'"
            )
        return count if count < convs else None

    def trained_layers(self, generator: Generator) -> tuple[str, ...]:
        """Names of all layers that are trained, or that may be selected for it.

        Raises:
            UsageError: a named layer does not exist.
        """
        known, names = generator.layers, self.fixed_layers
        layers = tuple(layer_freeze.candidates(known)) if names is None else layer_freeze.named(known, names)
        return (*layers, *(name for name in self.extra_layers(generator) if name not in layers))

    def extra_layers(self, generator: Generator) -> tuple[str, ...]:
        """Names of the layers that train in every iteration, beside the selected ones: to-RGB, constant, mapping."""
        asked = {
            LayerKind.MAPPING: self.train_mapping,
            LayerKind.CONSTANT: self.train_const,
            LayerKind.COLOR: self.train_torgb,
        }
        return tuple(name for name, layer in generator.layers.items() if asked.get(layer.kind))

    def effective_learning_rate(self, generator: Generator) -> float:
        """Learning rate of Adam: `learning_rate`, else the paper's, scaled to the generator and to `train`.

        The paper's is for 512 features and is scaled by sqrt(512 / features). Adam moves every weight by about its step
        size. Over the n inputs of a layer, scaled by 1 / sqrt(n), these moves sum to step * sqrt(n), so a narrower
        generator needs larger steps to change as much. A constant and a mapping network train entirely, whatever
        `train` is, so the defaults for `train` do not apply to them (see `Trainer`).
        """
        scaled = PAPER_LEARNING_RATE * (PAPER_WIDTH / generator.config.width) ** 0.5
        return self.learning_rate or scaled * LEARNING_RATE_FACTORS[self.train]

    rate = effective_learning_rate  # former name, kept for one release


def recommended(generator: Generator, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a generator's file recommends, except those that are given.

    Args:
        generator: a generator whose `metadata["recommended"]` may hold {setting: value} for `RECOMMENDABLE` names.
        given: settings by name, which take precedence.
    """
    found = generator.metadata.get("recommended", {})
    taken = {name: found[name] for name in RECOMMENDABLE if name in found and name not in given}
    if given.get("train", "weights") != "weights":  # the recommended learning rate is for weights only
        taken.pop("learning_rate", None)
    return taken


def recommendation_remark(generator: Generator, given: Mapping[str, Any]) -> str:
    """Describe the settings that `AdaptConfig.for_generator` takes from a generator's file; "" for none.

    Args:
        generator, given: as for `recommended`.
    """
    taken = [f"{name} {value}" for name, value in recommended(generator, given).items()]
    return f"{', '.join(taken)}, as the generator's file recommends" if taken else ""
