"""Configuration fields as arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from ..training.config import AdaptConfig


def add_config(
    parser: argparse.ArgumentParser,
    title: str,
    config: type = AdaptConfig,
    defaults: Mapping[str, Any] | None = None,
    required: Sequence[str] = (),
) -> None:
    """One argument for each field of a configuration, with its explanation; those not given are left out of the result.

    Args:
        parser: where to.
        title: of the group of arguments.
        config: the class.
        defaults: shown instead of the configuration's own.
        required: fields that must be given.
    """
    kinds = {"str": str, "int": int, "float": float, "str | int": _layers}
    kinds |= {"int | None": int, "float | None": float}
    group = parser.add_argument_group(title)
    for f in fields(config):
        default = (defaults or {}).get(f.name, f.default)
        shown = "" if default in (MISSING, None, "", False) and f.type != "int" else f" (default: {default})"
        options = {"default": argparse.SUPPRESS, "help": (f.metadata["help"] + shown).replace("%", "%%")}
        options |= {"required": True} if f.name in required else {}
        if f.type == "bool":
            options["action"] = argparse.BooleanOptionalAction
        else:
            words = f.metadata["choices"]
            metavar = "|".join(words) if words else {"str": "TEXT", "str | int": "auto|all|K|NAMES"}.get(f.type, "N")
            options |= {"type": kinds[f.type], "metavar": metavar}
        group.add_argument(f"--{f.name.replace('_', '-')}", **options)


def given(args: argparse.Namespace, config: type = AdaptConfig) -> dict[str, Any]:
    """The settings that the user wrote, {field of the configuration: value}."""
    return {f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)}


def _layers(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdigit() else text
