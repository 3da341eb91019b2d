"""File names that read like texts, and paths that are free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..training.config import STYLE_IMAGES


def slug(text: str) -> str:
    """A file name that reads like the text."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")[:60] or "untitled"


def result_name(recipe: Mapping[str, Any]) -> str:
    """A file name for what an adaptation makes, from its texts, as far as they are known."""
    texts = (recipe["source"].strip() or recipe.get("source_found", ""), recipe["target"].strip() or STYLE_IMAGES)
    return "_to_".join(slug(text) for text in texts if text)


def free_path(path: Path) -> Path:
    """The path itself, or with the first of -2, -3, ... that does not exist yet."""
    candidate, n = path, 1
    while candidate.exists():
        n += 1
        candidate = path.with_name(f"{path.name}-{n}")
    return candidate
