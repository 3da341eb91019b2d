"""What an adaptation is asked to do. The command line, the nodes and the saved recipes are derived from it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from .errors import UsageError
from .stylegan2 import Generator

PAPER_RATE, PAPER_WIDTH = 0.0016, 512  # Adam's 0.002 with StyleGAN2's factor 4/5 for lazy regularization, 512 features


def option(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """A configuration field that knows its explanation and its range, both ends included."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})


@dataclass(frozen=True)
class AdaptConfig:
    """What to adapt to, and how. The defaults are the paper's but for `layers`; `fields()` tells what each one means.

    Raises:
        UsageError: a value is out of range.
    """

    source: str = option(MISSING, "A phrase for what the generator makes now, such as 'photo' or 'dog'.")
    target: str = option(MISSING, "A phrase for what it shall make, such as 'sketch' or 'pig'.")
    iterations: int = option(
        300, "Training steps. A style takes 200-400, another identity 150-200, a change within the domain 50.", 1
    )
    batch: int = option(2, "Images per step.", 1)
    learning_rate: float | None = option(
        None, "Step size of Adam. None takes the paper's 0.0016 scaled to the generator's width.", 0
    )
    layers: str | int = option(
        "auto",
        "Layers trained per step: a number chooses that many adaptively, 'auto' two thirds of them, 'all' trains all "
        "without choosing (faster; for styles).",
    )
    select_every: int = option(1, "Choose the layers anew every so many steps.", 1)
    select_batch: int = option(8, "Images on which the layers are chosen.", 1)
    select_steps: int = option(1, "Optimization steps of the latent codes per choice.", 1)
    directional_weight: float = option(1.0, "Weight of the directional loss.", 0)
    global_weight: float = option(
        0.0, "Weight of the global loss in training. It lets the images collapse; for comparison.", 0
    )
    mixing: float = option(0.0, "Probability of style mixing; both generators see the same mixture.", 0, 1)
    views: int = option(
        0,
        "Show CLIP so many randomly moved copies of each image, the same of both generators, instead of the image. "
        "0 is the paper; 2 keeps small CLIP models from being fooled.",
        0,
    )
    templates: str = option(
        "", "Prompts with {} for the phrase, separated by |, such as 'a face, {}|{}'. Empty for the method's 79."
    )
    seed: int = option(0, "Of all random draws; equal seeds give equal runs.")

    def __post_init__(self) -> None:
        for f in fields(self):
            value, low, high = getattr(self, f.name), f.metadata["low"], f.metadata["high"]
            if isinstance(value, (int, float)) and low is not None and not low <= value <= (high or float("inf")):
                limit = f"at least {low}" if high is None else f"in {low}..{high}"
                raise UsageError(f"{f.name} is {value}; it must be {limit}")
        for name in ("source", "target"):
            if not getattr(self, name).strip():
                raise UsageError(f"the {name} text is empty; write a word or a phrase")
        if missing := [t for t in self.prompts or () if "{}" not in t]:
            raise UsageError(f"the template {missing[0]!r} has no {{}}, where the phrase goes")
        if self.learning_rate == 0:
            raise UsageError("learning_rate is 0; nothing would be learned. Leave it out for the default")
        if self.directional_weight == self.global_weight == 0:
            raise UsageError("directional_weight and global_weight are both 0; one of them must count")
        if self.layers not in ("auto", "all") and not (isinstance(self.layers, int) and self.layers >= 1):
            raise UsageError(f"layers is {self.layers!r}; it must be 'auto', 'all' or a number from 1")

    @property
    def prompts(self) -> tuple[str, ...] | None:
        """The templates one by one; None for the method's own."""
        return tuple(part.strip() for part in self.templates.split("|")) if self.templates else None

    def layer_count(self, generator: Generator) -> int | None:
        """How many convolutions each step trains; None for all of them, without choosing.

        Raises:
            UsageError: more layers are asked for than the generator has codes (the paper counts those: 18 at 1024 px).
        """
        convs = len(generator.synthesis.conv_layers)
        if self.layers == "all":
            return None
        count = 2 * generator.num_ws // 3 if self.layers == "auto" else self.layers
        if count > generator.num_ws:
            resolution = generator.config.resolution
            raise UsageError(f"layers is {count}; a {resolution} px generator has {convs} to choose from. Use 'all'")
        return count if count < convs else None

    def rate(self, generator: Generator) -> float:
        """Adam's step size: `learning_rate`, or the paper's for 512 features times sqrt(512 / features).

        Adam moves every weight by about its step size. Over the n inputs of a layer, scaled by 1 / sqrt(n), those moves
        add up to step * sqrt(n), so a narrower generator needs larger steps to change as much.
        """
        width = max(generator.config.channels)
        return self.learning_rate or PAPER_RATE * (PAPER_WIDTH / width) ** 0.5
