"""Make readable file names, and find unused paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..training.config import STYLE_IMAGES, AdaptConfig


def slug(text: str) -> str:
    """Turn a text into a readable file name.

    Args:
        text: any text.

    Returns:
        At most 60 lower-case letters, digits and underscores; "untitled" if nothing is left of the text.
    """
    return re.sub(r"\W+", "_", text.lower()).strip("_")[:60] or "untitled"


def result_name(recipe: Mapping[str, Any] | AdaptConfig) -> str:
    """Make a file name for the result of an adaptation from its texts.

    Args:
        recipe: recipe or configuration of the adaptation.

    Returns:
        SOURCE_to_TARGET, without an ending.
    """
    recipe = asdict(recipe) if isinstance(recipe, AdaptConfig) else recipe
    source, target = (recipe.get(key, "").strip() for key in ("source", "target"))
    texts = (source or recipe.get("source_found", ""), target or STYLE_IMAGES)
    return "_to_".join(slug(text) for text in texts if text)


def free_path(path: Path) -> Path:
    """`path` if free, else `path-2`, `path-3`, ..."""
    candidate, n = path, 1
    while candidate.exists():
        n += 1
        candidate = path.with_name(f"{path.name}-{n}")
    return candidate
