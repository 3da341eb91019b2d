"""Directions in CLIP space from one phrase to another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from torch import Tensor

from ..errors import UsageError
from ..losses import unit
from .models import ClipModel

PLURAL = "a photo of many {}."  # the one ImageNet prompt that StyleGAN-NADA leaves out: a generator shows one object
SAME = 1e-4  # length below which two texts say the same; CLIP embeddings have about 1e-6 of round-off


@cache
def imagenet_templates() -> tuple[str, ...]:
    """Return the 79 prompt templates of the method: OpenAI's 80 for ImageNet without the plural one."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(t for template in OPENAI_IMAGENET_TEMPLATES if (t := template("{}")) != PLURAL)


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
