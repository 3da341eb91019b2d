"""Parse and validate JSON from untrusted files: one reader for all kinds of files, bounded in depth and size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, UnreadableError
from ..files import storable

MAX_DEPTH = 24  # honest descriptions have about seven levels
MAX_DIGITS = 20  # digits of a whole number: seeds have 64 bits
MAX_FILE = 1 << 28  # bytes: the record of a very long run lies in one
NUMBER = lambda value: type(value) in (int, float) and isfinite(value)
OPTIONAL = "?"  # ends a key in a shape

# Shapes, as `fits` compares them, of descriptions in files. Keys that a shape does not name may have any value.
# Recommended settings have limits, so that no untrusted file asks for days of training or for all memory.
RECOMMENDED = {
    "iterations?": lambda value: _whole_in(value, 1, 10_000),
    "batch?": lambda value: _whole_in(value, 1, 64),
    "learning_rate?": lambda value: NUMBER(value) and 0 < value <= 0.1,
    "layers?": lambda value: value in ("all", "auto") or _whole_in(value, 1, 32),
    "views?": lambda value: _whole_in(value, 0, 16),
}
RECIPE = {
    "source?": str,
    "target?": str,
    "base?": str,
    "source_found?": str,
    "iterations?": int,
    "iterations_done?": int,
    "clip?": [{"name": str, "weight": NUMBER}],
    "goal?": dict,
}
GENERATOR = {
    "notes?": [str],
    "adaptations?": [RECIPE],
    "styles?": [{"name": str, "strength": NUMBER, "onto?": str, "base?": str, "recipe?": (RECIPE, None)}],
    "blends?": [dict],
    "source?": (dict, None),
    "recommended?": RECOMMENDED,
}


def read_json(text: str | bytes | bytearray, half_letters: bool = False) -> Any:
    """Parse untrusted JSON; refuse values that could not be copied, printed or computed with.

    Args:
        text: the JSON, in UTF-8.
        half_letters: accept halves of surrogate pairs, as which Python has file names that are not UTF-8.

    Raises:
        CheckpointError: it is no JSON, is nested too deeply, or holds absurd numbers or half surrogate pairs.
    """
    try:
        # decoded here, because json would guess other encodings and import their codecs
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8"), parse_int=_whole_number)
        for part in _parts(value):
            if isinstance(part, str) and not half_letters:
                part.encode()  # raises on half a surrogate pair
        return value
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"damaged JSON: {error}") from error


def read_json_file(path: Path, shape: Any) -> dict[str, Any]:
    """The JSON object in a file beside results, which anyone may have changed; {} if there is none of that shape.

    Args:
        path: the file.
        shape: of the object; see `fits`.
    """
    with suppress(OSError, CheckpointError), open(path, "rb") as file:
        data = file.read(MAX_FILE + 1)
        found = read_json(data, half_letters=True) if len(data) <= MAX_FILE else None
        if isinstance(found, dict) and fits(found, shape):
            return found
    return {}


def read_description(metadata: Mapping[str, str], key: str, version: int, what: str) -> dict[str, Any]:
    """Parse the description that this project writes into a file's header.

    Args:
        metadata: texts in the header by key.
        key: key of the description.
        version: the latest format that can be read.
        what: kind of file, for messages, such as "style".

    Raises:
        UnreadableError: the description has a later format.
        CheckpointError: the description is missing or damaged.
    """
    try:
        description = read_json(metadata[key])
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(
            f"the {what}'s description is damaged or missing ({error}); copy the file again"
        ) from error
    if not fits(description, {"format?": int}):
        raise damaged(what)
    if (number := description.get("format", 1)) > version:
        raise UnreadableError(f"the {what} has format {number}, this version reads up to {version}; update it")
    return description


def damaged(what: str) -> CheckpointError:
    """Return the error for a description that this project did not write."""
    return CheckpointError(f"the {what}'s description is damaged, or was made by hand; copy or make the file again")


def fits(value: Any, shape: Any) -> bool:
    """Whether parsed JSON has a shape.

    Args:
        value: parsed JSON.
        shape: a type; None; a predicate such as `NUMBER` (a finite number); a tuple of alternatives; [shape of each
            entry]; {str: shape of every value}; or {key: shape}, where keys ending in "?" may be missing and keys that
            are not named may have any value. True and false are no numbers.
    """
    if isinstance(shape, tuple):
        return any(fits(value, alternative) for alternative in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(entry, shape[0]) for entry in value)
    if isinstance(shape, dict) and str in shape:
        return isinstance(value, dict) and all(fits(part, shape[str]) for part in value.values())
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(_entry_fits(value, key, part) for key, part in shape.items())
    if shape is None:
        return value is None
    return type(value) is shape if isinstance(shape, type) else shape(value)


def strict_json(value: Any, indent: int | None = None) -> str:
    """Return plain data as JSON text. Numbers that are not finite, which JSON cannot express, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def header_json(description: Mapping[str, Any]) -> str:
    """Return a description for a file's header as JSON text that `read_description` accepts.

    Its texts are made `storable`: names of files come from the file system and from other projects' files, and a text
    that is not valid Unicode would make the whole file unreadable.

    Raises:
        TypeError, ValueError: the description is not plain data.
    """
    return strict_json(with_texts(description, storable))


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return plain data in which each text, also as a key, is replaced by what a function returns for it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {with_texts(key, change): with_texts(part, change) for key, part in value.items()}
    return [with_texts(part, change) for part in value] if isinstance(value, (list, tuple)) else value


def _entry_fits(value: dict[str, Any], key: str, shape: Any) -> bool:
    name = key.removesuffix(OPTIONAL)
    return fits(value[name], shape) if name in value else name != key


def _whole_in(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _parts(value: Any) -> Iterator[Any]:
    """Yield the value and everything in it, keys included, level by level.

    Raises:
        ValueError: the value has too many levels.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        yield from level
        keys = [key for part in level if isinstance(part, dict) for key in part]
        lists = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, (dict, list))]
        level = [part for parts in lists for part in parts]
        yield from keys
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value
