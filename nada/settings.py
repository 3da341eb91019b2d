"""Settings of a configuration: help, ranges and choices, written into the annotations of a frozen dataclass.

    @dataclass(frozen=True)
    class Config:
        iterations: Annotated[int, Setting("Number of training iterations.", low=1)] = 300

Type checkers see the plain type; the command line and the nodes read the rest through `settings_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from numbers import Integral, Real
from types import MappingProxyType, NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .errors import UsageError

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_GENERAL: dict[type, type] = {int: Integral, float: Real}  # types of values that a setting accepts
MAGNITUDES = 1e-6, 1e6  # smallest and largest size of a number other than 0
MAX_STEPS, MAX_BATCH, MAX_VIEWS = 10_000_000, 4096, 1024  # limits of a training, far beyond any practical use
_found: dict[type, Mapping[str, NamedSetting]] = {}  # cache, because annotations are slow to evaluate


@dataclass(frozen=True)
class Setting:
    """The part of an annotation that explains a field and limits its values."""

    help: str
    """Help for the command line and the tooltips: a noun phrase or an imperative."""
    low: float | None = None
    """Smallest value; None for no limit."""
    high: float | None = None
    """Largest value; None for no limit."""
    choices: tuple[str, ...] = ()
    """All allowed values; empty for no limit."""


@dataclass(frozen=True, kw_only=True)
class NamedSetting(Setting):
    """A field of a configuration: name, type and default, with help and limits from its `Setting`."""

    name: str
    value_type: Any
    """Type without the `Setting`, such as `int` or `float | None`."""
    default: Any
    """Default value; `dataclasses.MISSING` if a value must be given."""

    @property
    def kinds(self) -> tuple[type, ...]:
        """Alternatives of the type, without None: `(int,)` for `int | None`."""
        return tuple(kind for kind in get_args(self.value_type) or (self.value_type,) if kind is not NoneType)

    def check(self, value: Any) -> None:
        """Check a value against type, range and choices.

        Raises:
            UsageError: the value does not fit; the message names the setting and the allowed values.
        """
        if value is None and NoneType in get_args(self.value_type):
            return
        if not any(_is(value, kind) for kind in self.kinds):
            raise UsageError(f"{self.name} is {value!r}; it must be {' or '.join(_WORDS[kind] for kind in self.kinds)}")
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.name} is {value!r}; it must be one of {', '.join(self.choices)}")
        if isinstance(value, str):
            check_text(self.name, value)
            return
        if not -inf < value < inf:
            raise UsageError(f"{self.name} is {value}; it must be a finite number")
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            limit = f"at least {self.low}" if self.high is None else f"in {self.low}..{self.high}"
            raise UsageError(f"{self.name} is {value}; it must be {limit}")
        if float in self.kinds:
            check_magnitude(self.name, value)


def check_text(name: str, value: str) -> None:
    """Refuse a text with half surrogate pairs, which come from bytes that are not UTF-8 and cannot be saved.

    Args:
        name: name of the setting, for the message.
        value: the text.

    Raises:
        UsageError: the text is not valid Unicode.
    """
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise UsageError(f"{name} is {value!r}; it must be a text in UTF-8")


def check_magnitude(name: str, value: float) -> None:
    """Refuse numbers too small or too large for float32: a run would change nothing, or end in NaN.

    Gradients times a weight of 1e-30 vanish, and the squares of gradients times 1e30, which Adam averages, overflow.

    Args:
        name: name of the setting, for the message.
        value: the number.

    Raises:
        UsageError: the number is neither 0 nor, without its sign, in 1e-6..1e6.
    """
    smallest, largest = MAGNITUDES
    if value and not smallest <= abs(value) <= largest:
        raise UsageError(f"{name} is {value}; it must be 0, or of a size in {smallest:g}..{largest:g}")


def settings_of(config: type) -> Mapping[str, NamedSetting]:
    """Return the settings of a configuration class by name, in the order of its fields.

    Raises:
        TypeError: a field has no `Setting` in its annotation.
    """
    if config not in _found:
        hints = get_type_hints(config, include_extras=True)
        named = {field.name: _named(field.name, hints[field.name], field.default) for field in fields(config)}
        _found[config] = MappingProxyType(named)
    return _found[config]


def check_settings(config: Any) -> None:
    """Check all fields of a configuration against their types, ranges and choices.

    Raises:
        UsageError: a value does not fit.
    """
    for name, setting in settings_of(type(config)).items():
        setting.check(getattr(config, name))


def _named(name: str, hint: Any, default: Any) -> NamedSetting:
    kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    for note in notes:
        if isinstance(note, Setting):
            return NamedSetting(**vars(note), name=name, value_type=kind, default=default)
    raise TypeError(f"the field {name} has no Setting; write it as Annotated[TYPE, Setting(HELP)]")


def _is(value: Any, kind: type) -> bool:
    """Whether a value fits a type of setting. Unlike in Python, a bool is no int here."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, _GENERAL.get(kind, kind))
