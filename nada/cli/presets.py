"""`nada presets`: list the settings for the paper's examples."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..runs.results import option
from ..training.presets import PRESETS
from .parsing import add_command


def add(commands: Any) -> None:
    """Add the verb `presets` with its arguments to the parser."""
    parser = add_command(commands, "presets", "list the settings for the paper's examples", run, show)
    parser.add_argument("name", nargs="?", choices=PRESETS, metavar="NAME", help="preset to show in full")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return all presets, or the named one, as {name: description}."""
    return {name: preset.describe() for name, preset in PRESETS.items() if args.name in (None, name)}


def show(presets: Mapping[str, Mapping[str, Any]]) -> str:
    """Presets as text: a table, or a single preset in full."""
    if len(presets) == 1:
        ((name, preset),) = presets.items()
        settings = [f"  {option(key, value)}" for key, value in preset["settings"].items()]
        facts = [f"{name}: {preset['why']}", f"for {preset['domain']}; {preset['evidence']}", "settings:"]
        return "\n".join([*facts, *settings, f"  --clip {preset['clip']}"])
    width = max(map(len, presets))
    kinds: dict[str, list[str]] = {}
    for name, preset in presets.items():
        texts = " -> ".join(preset["settings"].get(key, "...") for key in ("source", "target"))
        kinds.setdefault(preset["kind"], []).append(f"  {name:{width}}  {preset['domain']:12} {texts}")
    lines = [line for kind, rows in kinds.items() for line in ("", f"{kind}:", *rows)]
    return "\n".join(
        [*lines[1:], "", "`nada presets NAME` shows settings and reasons; `nada adapt --preset NAME` uses them."]
    )
