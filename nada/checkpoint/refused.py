"""Detectors and refusals for models that are recognized and not loaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from ..errors import CheckpointError
from .document import Document
from .not_models import LOADABLE


def has(*patterns: str) -> Callable[[Document], bool]:
    """Return a detector: each pattern is found in the name of some tensor."""

    def detect(document: Document) -> bool:
        return all(any(re.search(pattern, name) for name in document.tensors) for pattern in patterns)

    return detect


def all_of(*detectors: Callable[[Document], bool]) -> Callable[[Document], bool]:
    """Return a detector: all the given ones match."""
    return lambda document: all(detect(document) for detect in detectors)


def is_kind(pattern: str) -> Callable[[Document], bool]:
    """Return a detector: the file holds an object of a class whose name matches the pattern."""

    def detect(document: Document) -> bool:
        return any(re.search(pattern, kind) for kind in document.kinds.values())

    return detect


def refuse(what: str) -> Callable[[Document], NoReturn]:
    """Return a converter that raises a CheckpointError, which says what the file is."""

    def convert(document: Document) -> NoReturn:
        raise CheckpointError(f"this is {what}; {LOADABLE}")

    return convert


def refuse_unknown(document: Document) -> NoReturn:
    """Refuse a file that no format matches, and quote a few names from it.

    Raises:
        CheckpointError: always.
    """
    names = sorted(document.tensors)
    if not names:
        kinds = ", ".join(sorted(set(document.kinds.values()))[:3])[:200]
        raise CheckpointError(f"the file holds no tensors{f' (but {kinds})' if kinds else ''}; {LOADABLE}")
    shown = ", ".join(name[:80] for name in names[:3])
    raise CheckpointError(f"the file holds {len(names)} tensors, but no StyleGAN2 generator ({shown}, ...); {LOADABLE}")
