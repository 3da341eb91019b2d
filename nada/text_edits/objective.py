"""The objective of text edits of latent codes, shared by the latent mapper and latent optimization."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from ..clip.alphabet import unreadable_remark
from ..clip.directions import text_embedding
from ..clip.models import ClipEnsemble
from ..clip.prompts import PHRASE_ALONE, Templates, check_templates, prompt_templates, text_shares
from ..clip.views import random_views, view_count
from ..errors import UsageError
from ..generators import Generator
from ..generators.copies import working_copy
from ..losses import global_loss, relative_norm_loss
from ..seeding import SEEDS, seeded
from ..settings import MAX_STEPS, MAX_VIEWS, Setting, check_settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EditConfig:
    """Settings that the latent mapper and latent optimization share.

    Raises:
        UsageError: a value is out of range.
    """

    target: Annotated[str, Setting("Phrase for what the images should show, such as 'pig'.")]
    iterations: Annotated[int, Setting("Number of iterations.", low=1, high=MAX_STEPS)] = 300
    views: Annotated[
        int | None,
        Setting(
            "Number of randomly moved copies of each image that CLIP sees instead of the image; 0 shows the image "
            "itself (the paper). Default: 2 for small CLIP models, which are easily fooled, and 0 for others.",
            low=0,
            high=MAX_VIEWS,
        ),
    ] = None
    templates: Templates = PHRASE_ALONE
    seed: Annotated[
        int, Setting("Random seed. Runs with the same seed are identical.", low=1 - SEEDS, high=SEEDS - 1)
    ] = 0

    def __post_init__(self) -> None:
        check_settings(self)
        check_templates(self.templates)
        if not self.target.strip():
            raise UsageError("the target text is empty; write a word or a phrase")
        text_shares(self.target)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt templates as a tuple of strings."""
        return prompt_templates(self.templates)


class TextObjective:
    """Losses between images of latent codes before and after an edit, with the same noise maps.

    Args:
        generator: generator of the images; it is copied, since gradients cannot pass through tensors that were made in
            inference mode.
        clip: the CLIP models, on the same device.
        config: configuration with text, views and seed.

    Attributes:
        random: CPU generator of the run's random numbers.

    Raises:
        UsageError: a text is too long.
    """

    @torch.inference_mode(False)
    def __init__(self, generator: Generator, clip: ClipEnsemble, config: EditConfig):
        self.clip, self.config, self.random = clip, config, seeded(config.seed)
        if remark := unreadable_remark(clip, text_shares(config.target)):
            log.warning("%s", remark)
        self.views = view_count(config.views, clip)
        self.targets = [text_embedding(model, config.target, config.prompts) for model in clip]
        self.synthesis = working_copy(generator.synthesis)
        self._base = generator.fingerprint()

    def losses(self, ws: Tensor, edited: Tensor, norm: bool) -> dict[str, Tensor]:
        """Compute the CLIP losses of codes: {name: []}, each summed over the models with their weights.

        Args:
            ws, edited: codes [N, num_ws, w_dim] before and after; gradients flow to the latter.
            norm: whether to compute "norm", the embedding-norm loss, besides "clip"; it requires the images before.
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
        """Everything needed to repeat the run, JSON-serializable: configuration, CLIP models, generator, iterations."""
        return {
            **asdict(self.config),
            "views": self.views,
            "clip": self.clip.describe(),
            "base": self._base,
            "iterations_done": iterations_done,
        }
