"""`nada pick`: save a snapshot of a run as a generator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..checkpoint import save_generator
from ..errors import UsageError
from ..runs.folder import RunFolder
from ..runs.names import result_name
from ..runs.snapshots import Snapshots
from .parsing import add_command, show_tree
from .shared import check_target, demo_base, existing_folder, load_base


def add(commands: Any) -> None:
    """Add the verb `pick` with its arguments to the parser."""
    pick = add_command(commands, "pick", "save a snapshot of a run as a generator", run, show_tree)
    pick.add_argument("folder", type=Path, metavar="DIR", help="folder of the run")
    pick.add_argument(
        "iteration", type=int, metavar="ITERATION", help="iteration of the snapshot, as printed above the filmstrip"
    )
    pick.add_argument("--generator", metavar="FILE", help="base generator of the run (default: the recorded one)")
    pick.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="generator file to write (default: in DIR, named after the texts and the iteration)",
    )
    pick.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Save a snapshot of a run as a generator file, beside the run's final generator.

    Raises:
        UsageError: there is no such snapshot, its base generator is missing or a different one, or the file exists.
    """
    folder = RunFolder(existing_folder(args.folder, "run, such as nada-photo_to_sketch"))
    snapshots = folder.snapshot_files()
    if args.iteration not in snapshots:
        there = ", ".join(map(str, snapshots)) or "none"
        raise UsageError(f"{args.folder} has no snapshot of iteration {args.iteration}; there are: {there}")
    picked = folder.load_snapshot(args.iteration)
    recipe = picked.style.recipe or {}
    out = args.out or args.folder / f"{result_name(recipe)}_at_{args.iteration}.safetensors"
    check_target(out, args.overwrite)
    recorded = folder.record().get("generator")
    base = args.generator or (recorded if isinstance(recorded, str) else None) or demo_base(recipe)
    if not base:
        raise UsageError("the run does not say where its base generator is; give --generator")
    save_generator(Snapshots.of_run(load_base(base), (picked,)).generator(picked), out, new=not args.overwrite)
    return {"iteration": args.iteration, "file": str(out), "bytes": out.stat().st_size}
