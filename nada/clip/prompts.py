"""Prompt templates, the sentences that a phrase is put into before CLIP reads it, as one setting."""

from __future__ import annotations

from typing import Annotated

from ..errors import UsageError
from ..settings import Setting
from .directions import imagenet_templates

METHODS = ""  # stands for the 79 prompts of `imagenet_templates`
PHRASE_ALONE = "{}"
Templates = Annotated[
    str,
    Setting(
        "Prompts that each phrase is put into, with {} at its place, separated by |, such as 'a face, {} | {}'. "
        "'{}' is the phrase alone; an empty text stands for the 79 prompts of the method."
    ),
]


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
