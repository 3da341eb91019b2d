"""Edits of latent codes that a text asks for: what they are judged by, for the latent mapper and for optimization."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..clip.models import ClipEnsemble, ClipModel
from ..clip.views import random_views, view_count
from ..errors import UsageError
from ..generators import Generator
from ..losses import global_loss, relative_norm_loss, unit
from ..seeding import seeded
from ..settings import check_ranges, option


@dataclass(frozen=True)
class EditConfig:
    """What a text asks of latent codes, and how long to look for it.

    Raises:
        UsageError: a value is out of range.
    """

    target: str = option(MISSING, "A phrase for what the images shall show, such as 'pig'.")
    iterations: int = option(300, "Training steps.", 1)
    views: int | None = option(
        None,
        "Show CLIP so many randomly moved copies of each image instead of the image. 0 is the paper; None takes 2 for "
        "small CLIP models, which are easily fooled, and 0 for others.",
        0,
    )
    templates: str = option("", "Prompts with {} for the phrase, separated by |. Empty for the phrase alone.")
    seed: int = option(0, "Of all random draws; equal seeds give equal runs.")

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.target.strip():
            raise UsageError("the target text is empty; write a word or a phrase")
        if missing := [t for t in self.prompts if "{}" not in t]:
            raise UsageError(f"the template {missing[0]!r} has no {{}}, where the phrase goes")

    @property
    def prompts(self) -> tuple[str, ...]:
        """The templates one by one."""
        return tuple(part.strip() for part in self.templates.split("|")) if self.templates else ("{}",)


def text_embedding(clip: ClipModel, text: str, templates: Sequence[str]) -> Tensor:
    """The embedding of a phrase, [D], of length 1 or less: the mean of unit(E_T(template(text))) over the templates.

    Args:
        clip: the model whose space it lives in.
        text: the phrase.
        templates: strings with a "{}" for the phrase.
    """
    return unit(clip.encode_text([t.replace("{}", text) for t in templates])).mean(dim=0)


class TextObjective:
    """Compares the images of latent codes before and after an edit. The generator's noise stays the same.

    Args:
        generator: makes the images; it is copied, since gradients cannot pass through tensors that were made in
            inference mode.
        clip: the models that judge, on the same device.
        config: the text, the views and the seed.

    Attributes:
        random: the CPU generator of the run.

    Raises:
        UsageError: the generator does not make RGB images, or a text is too long.
    """

    @torch.inference_mode(False)
    def __init__(self, generator: Generator, clip: ClipEnsemble, config: EditConfig):
        if generator.config.img_channels != 3:
            raise UsageError(f"this generator makes {generator.config.img_channels} channels; CLIP needs RGB images")
        self.clip, self.config, self.random = clip, config, seeded(config.seed)
        self.views = view_count(config.views, clip)
        self.targets = [text_embedding(model, config.target, config.prompts) for model in clip]
        self.synthesis = copy.deepcopy(generator.synthesis).eval().requires_grad_(False)
        self._base = generator.fingerprint()

    def losses(self, ws: Tensor, edited: Tensor, norm: bool) -> dict[str, Tensor]:
        """The CLIP losses of codes [N, num_ws, w_dim], each summed over the models with their weights, [].

        Args:
            ws, edited: the codes before and after; gradients flow to the latter.
            norm: whether "norm", the embedding-norm loss, is wanted beside "clip"; it costs the images before.
        """
        show = random_views(self.views, len(ws), self.random)
        after = show(self.synthesis(edited))
        with torch.no_grad():
            before = show(self.synthesis(ws)) if norm else None
        losses: dict[str, Tensor] = {}
        for model, target in zip(self.clip, self.targets, strict=True):
            embedded = model.encode_image(after)
            terms = {"clip": global_loss(embedded, target)}
            if before is not None:
                with torch.no_grad():
                    source = model.encode_image(before)
                terms["norm"] = relative_norm_loss(source, embedded)
            for name, term in terms.items():
                losses[name] = losses.get(name, 0) + model.weight * term
        return losses

    def recipe(self, iterations_done: int) -> dict[str, Any]:
        """All that is needed to do this again, JSON-able: configuration, CLIP models, generator, and steps done."""
        return {
            **asdict(self.config),
            "views": self.views,
            "clip": self.clip.describe(),
            "base": self._base,
            "iterations_done": iterations_done,
        }
