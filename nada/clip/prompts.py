"""Texts as settings: several phrases with weights, and the sentences that each is put into before CLIP reads it."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated

from ..errors import UsageError
from ..settings import Setting, check_magnitude

METHODS = ""  # stands for the 79 prompts of `imagenet_templates`
PHRASE_ALONE = "{}"
PLURAL = "a photo of many {}."  # the one ImageNet prompt that StyleGAN-NADA leaves out: a generator shows one object
Templates = Annotated[
    str,
    Setting(
        "Prompts that each phrase is put into, with {} at its place, separated by |, such as 'a face, {} | {}'. "
        "'{}' is the phrase alone; an empty text stands for the 79 prompts of the method."
    ),
]


@cache
def imagenet_templates() -> tuple[str, ...]:
    """Return the 79 prompt templates of the method: OpenAI's 80 for ImageNet without the plural one."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(t for template in OPENAI_IMAGENET_TEMPLATES if (t := template("{}")) != PLURAL)


def text_shares(text: str) -> dict[str, float]:
    """Split a target text into its phrases with their shares, which sum to 1: "sketch:2 | watercolor:1".

    A single phrase is taken literally, colons included.

    Raises:
        UsageError: a phrase is empty, or a weight not a positive number.
    """
    parts = [part.strip() for part in text.split("|")]
    if len(parts) == 1:
        return {parts[0]: 1.0}
    weights: dict[str, float] = {}
    for part in parts:
        phrase, colon, weight = (piece.strip() for piece in part.rpartition(":"))
        if not colon or not re.fullmatch(r"[-+.\deE]+", weight):  # the colon belongs to the phrase
            phrase, weight = part, "1"
        try:
            value = float(weight)
        except ValueError:
            raise UsageError(f"the weight {weight!r} in the target {text!r} is not a number") from None
        if not phrase or not 0 < value < float("inf"):
            raise UsageError(f"the target {text!r} is not of the form 'sketch:2 | watercolor:1'")
        check_magnitude(f"the weight of {phrase!r}", value)
        weights[phrase] = weights.get(phrase, 0.0) + value
    total = sum(weights.values())
    return {phrase: weight / total for phrase, weight in weights.items()}


def check_templates(templates: str) -> None:
    """Check that each template of a setting has a place for the phrase.

    Raises:
        UsageError: a template has no {}.
    """
    if missing := [template for template in _split(templates) if PHRASE_ALONE not in template]:
        raise UsageError(f"the template {missing[0]!r} has no {{}}; put {{}} where the phrase goes")


def prompt_templates(templates: str) -> tuple[str, ...]:
    """Return the templates of a setting as a tuple, each with a {} for the phrase."""
    return _split(templates) or imagenet_templates()


def _split(templates: str) -> tuple[str, ...]:
    return () if templates == METHODS else tuple(part.strip() for part in templates.split("|"))
