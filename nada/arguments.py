"""Command-line arguments that follow from a configuration."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from typing import Any

KINDS = {"str": str, "int": int, "float": float, "float | None": float}


def add_options(parser: argparse.ArgumentParser, config: type, title: str, **defaults: Any) -> None:
    """One argument for each field of a configuration, with its explanation and default.

    Args:
        parser: gets them as a group.
        config: a dataclass whose fields are made by `config.option`.
        title: of the group.
        defaults: other defaults than those of the configuration.
    """
    group = parser.add_argument_group(title)
    for f in fields(config):
        default = defaults.get(f.name, f.default)
        required = default is MISSING
        shown = "" if required or default in (None, "") else f" (default: {default})"
        group.add_argument(
            f"--{f.name.replace('_', '-')}",
            type=KINDS[f.type],
            required=required,
            default=None if required else default,
            metavar="TEXT" if f.type == "str" else "N",
            help=f.metadata["help"] + shown,
        )


def read_options(args: argparse.Namespace, config: type) -> Any:
    """The configuration that `add_options` asked for.

    Raises:
        UsageError: a value is out of range.
    """
    return config(**{f.name: getattr(args, f.name) for f in fields(config)})
