"""Configuration fields with help and ranges, and their validation."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

from .errors import UsageError


def option(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A configuration field that knows its explanation and its range, both ends included, or its choices."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


def check_ranges(config: Any) -> None:
    """Compare the fields of a configuration with their ranges and choices.

    Raises:
        UsageError: a value is out of range.
    """
    for f in fields(config):
        value, low, high, choices = getattr(config, f.name), *(f.metadata[key] for key in ("low", "high", "choices"))
        if isinstance(value, (int, float)) and low is not None and not low <= value <= (high or float("inf")):
            limit = f"at least {low}" if high is None else f"in {low}..{high}"
            raise UsageError(f"{f.name} is {value}; it must be {limit}")
        if choices and value not in choices:
            raise UsageError(f"{f.name} is {value!r}; it must be one of {', '.join(choices)}")
