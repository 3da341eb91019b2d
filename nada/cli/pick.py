"""`nada pick`: a snapshot of a run as a result of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..checkpoint import load_generator, save_generator
from ..errors import UsageError
from ..runs.folder import find_snapshots
from ..runs.names import result_name
from .parsing import add_command, show_tree


def add(commands: Any) -> None:
    """Add the verb."""
    pick = add_command(commands, "pick", "make a snapshot of a run a result of its own", run, show_tree)
    pick.add_argument("folder", type=Path, metavar="DIR", help="folder of the run")
    pick.add_argument("iteration", type=int, help="iteration of the snapshot, as printed above the filmstrip")
    pick.add_argument("--out", type=Path, metavar="FILE", help="where to (default: beside the result)")
    pick.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> dict[str, Any]:
    return run_pick(args.folder, args.iteration, args.out, args.overwrite)


def run_pick(path: Path, iteration: int, out: Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Make a snapshot of a run a result of its own, beside the one that the run ended with.

    Args:
        path: the folder of the run.
        iteration: of a snapshot.
        out: the file to write; None for a name in that folder that says the iteration.
        overwrite: replace the file.

    Raises:
        UsageError: there is no such snapshot, or the file exists.
    """
    snapshots = find_snapshots(path)
    if iteration not in snapshots:
        there = ", ".join(map(str, snapshots)) or "none"
        raise UsageError(f"{path} has no snapshot of iteration {iteration}; there are: {there}")
    picked = load_generator(snapshots[iteration])
    recipe = picked.metadata["adaptations"][-1]
    out = out or path / f"{result_name(recipe)}_at_{iteration}.safetensors"
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; choose another name, or add --overwrite to replace it")
    save_generator(picked, out)
    return {"iteration": iteration, "file": str(out), "bytes": out.stat().st_size}
