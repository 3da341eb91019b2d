"""Turn the settings of a configuration class into command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from ..settings import settings_of
from ..training.config import IMAGE_DEFAULTS, RECOMMENDABLE, AdaptConfig

_METAVARS = {str: "TEXT", int: "N", float: "X"}
# Defaults of an adaptation as the help shows them; settings whose default is None explain it themselves.
RECOMMENDED = {
    name: f"recommended by the generator's file, else {default}"
    + (f", or {IMAGE_DEFAULTS[name]} with style images" if name in IMAGE_DEFAULTS else "")
    for name in RECOMMENDABLE
    if (default := settings_of(AdaptConfig)[name].default)
}


def add_config(
    parser: argparse.ArgumentParser,
    title: str,
    config: type = AdaptConfig,
    defaults: Mapping[str, Any] | None = None,
    required: Sequence[str] = (),
    without: Sequence[str] = (),
    several: bool = False,
) -> None:
    """Add an argument for each setting of a configuration. An argument that the user omits leaves no attribute.

    Args:
        parser: parser of a verb.
        title: heading of the arguments in the help.
        config: configuration class.
        defaults: values, or texts, that the help shows instead of the configuration's own defaults.
        required: names of the settings that must be given.
        without: names of settings that get no argument.
        several: whether each setting except a switch takes several values, as a list.
    """
    group = parser.add_argument_group(title)
    for name, setting in settings_of(config).items():
        if name in without:
            continue
        default = (defaults or {}).get(name, setting.default)
        hidden = default in (MISSING, None) or default is False
        shown = "" if hidden else f" (default: {'empty' if default == '' else default})"
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": (setting.help + shown).replace("%", "%%")}
        options |= {"required": True} if name in required else {}
        if setting.kinds == (bool,):
            options["action"] = argparse.BooleanOptionalAction
        else:
            kinds = "|".join(_METAVARS[kind] for kind in setting.kinds)
            options |= {"type": _reader(setting.kinds), "metavar": "|".join(setting.choices) or kinds}
            options |= {"nargs": "+", "action": "extend"} if several else {}
        group.add_argument(f"--{name.replace('_', '-')}", **options)


def given(args: argparse.Namespace, config: type = AdaptConfig) -> dict[str, Any]:
    """The settings given on the command line: {name: value}."""
    return {name: getattr(args, name) for name in settings_of(config) if hasattr(args, name)}


def _reader(kinds: tuple[type, ...]) -> Callable[[str], Any]:
    """Return a function that parses an argument as the first of these types that fits: int, float, str."""
    if len(kinds) == 1:
        return kinds[0]

    def read(word: str) -> Any:
        for kind in sorted(kinds, key=(int, float, str).index):
            try:
                return kind(word)
            except ValueError:
                continue
        raise argparse.ArgumentTypeError(f"{word!r} is not {' or '.join(kind.__name__ for kind in kinds)}")

    return read
