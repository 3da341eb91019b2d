"""`nada inspect` and `nada convert`: describe a checkpoint, and write a generator in another format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..checkpoint import inspect_file, load_generator, save_generator, save_rosinality
from .parsing import GENERATOR_HELP, add_command, show_tree
from .shared import check_target, local_model


def add(commands: Any) -> None:
    """Add the verbs `inspect` and `convert` with their arguments to the parser."""
    inspect = add_command(
        commands, "inspect", "describe a checkpoint without running any code in it", run_inspect, show_tree
    )
    inspect.add_argument(
        "file",
        metavar="FILE",
        help="checkpoint, 'demo', 'demo-person', or a published model such as ffhq-1024, downloaded on first use",
    )

    convert = add_command(
        commands, "convert", "write a generator as safetensors or as rosinality .pt", run_convert, show_tree
    )
    convert.add_argument("source", metavar="IN", help=GENERATOR_HELP)
    convert.add_argument(
        "target", metavar="OUT.safetensors|OUT.pt", type=Path, help="file to write; its ending selects the format"
    )
    convert.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def run_inspect(args: argparse.Namespace) -> dict[str, Any]:
    """Describe a checkpoint file; see `inspect_file`."""
    return inspect_file(local_model(args.file))


def run_convert(args: argparse.Namespace) -> dict[str, Any]:
    """Write a generator as safetensors, or as rosinality's .pt for other programs.

    Raises:
        UsageError: the target has another ending, or exists already.
    """
    target: Path = args.target
    ending = check_target(target, args.overwrite, ".safetensors", ".pt")
    generator = load_generator(local_model(args.source))
    notes = generator.metadata.get("notes", [])
    if ending == ".pt":
        notes = [*notes, *save_rosinality(generator, target, new=not args.overwrite)]
    else:
        save_generator(generator, target, new=not args.overwrite)
    return {"source": args.source, "file": str(target), "bytes": target.stat().st_size, "notes": notes}
