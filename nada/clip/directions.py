"""Embeddings of texts in CLIP space, and directions from one phrase to another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UsageError
from ..losses import unit
from .models import ClipModel
from .prompts import imagenet_templates, text_shares

SAME = 1e-4  # length below which two texts say the same; CLIP embeddings have about 1e-6 of round-off


def text_embedding(clip: ClipModel, text: str, templates: Sequence[str]) -> Tensor:
    """Embed a text: the mean of unit(E_T(template(phrase))) over the templates, [D], of length 1 or less.

    Args:
        clip: the CLIP model.
        text: a phrase, or several with weights as in `text_shares`, whose embeddings are added up by their shares.
        templates: strings with a "{}" for the phrase.

    Raises:
        UsageError: a phrase is empty or too long, or a weight not a positive number.
    """
    shares = text_shares(text).items()
    return torch.stack([share * unit(clip.encode_text([phrase], templates)).mean(0) for phrase, share in shares]).sum(0)


def text_direction(clip: ClipModel, source: str, target: str, templates: Sequence[str] | None = None) -> Tensor:
    """Return the direction from one phrase to another, averaged over prompts (StyleGAN-NADA section 4.1, Delta T).

    unit(mean_k [unit(E_T(template_k(target))) - unit(E_T(template_k(source)))])

    Args:
        clip: the model that embeds the texts.
        source: a phrase for what the generator makes now, such as "photo".
        target: a phrase for what it should make, such as "sketch".
        templates: strings with a "{}" for the phrase; None for `imagenet_templates()`.

    Returns:
        [D], length 1.

    Raises:
        UsageError: a text is empty or too long, or both mean the same to CLIP.
    """
    templates = imagenet_templates() if templates is None else templates
    ends = [unit(clip.encode_text([text], templates)) for text in (target, source)]
    direction = (ends[0] - ends[1]).mean(dim=0)
    if direction.norm() < SAME:
        raise UsageError(f"{source!r} and {target!r} mean the same to {clip.name}; choose texts that differ")
    return unit(direction)
