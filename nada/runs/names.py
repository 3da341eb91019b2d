"""Make readable file names, and find unused paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..training.config import STYLE_IMAGES, AdaptConfig

MAX_BYTES = 60  # largest number of bytes of a name that is made from one text


def slug(text: str) -> str:
    """Turn a text into a readable file name.

    Args:
        text: any text.

    Returns:
        Lower-case letters, digits and underscores, at most 60 bytes in UTF-8: file systems count bytes, and a name may
        be made of two texts; "untitled" if nothing is left of the text.
    """
    name = re.sub(r"\W+", "_", text.lower()).strip("_")
    return name.encode()[:MAX_BYTES].decode(errors="ignore") or "untitled"


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
