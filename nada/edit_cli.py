"""The arguments of the commands that move latent codes: `nada mapper` and `nada optimize`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .arguments import add_config, given
from .commands import PREVIEW_PSI, PREVIEWS
from .edit_commands import run_mapper, run_optimize
from .mapper import MapperConfig
from .runs.names import slug, unused
from .text_edits.optimize import OptimizeConfig

MAPPER = "teach a network to move a generator's latent codes to where its images show a text"
OPTIMIZE = "move the latent codes of a few images to where they show a text (StyleCLIP), the generator unchanged"


def add_edit_commands(commands: Any, show_files: Callable[[dict], str]) -> None:
    """Add the two commands.

    Args:
        commands: argparse's collection of subcommands.
        show_files: a record -> the text that lists its files.
    """

    def show(record: dict[str, Any]) -> str:
        done, seconds = record["recipe"]["iterations_done"], record["seconds"]
        head = "interrupted: kept the state after" if record["interrupted"] else "trained in"
        return f"{head} {done} iterations, {seconds:.1f} s ({record['device']})\n{show_files(record)}"

    mapper = commands.add_parser("mapper", help=MAPPER, description=f"nada mapper: {MAPPER}.")
    _add_models(mapper, "a new folder named after the text")
    add_config(mapper, "mapper", MapperConfig, required=["target"])
    mapper.set_defaults(run=_mapper, show=show)

    optimize = commands.add_parser("optimize", help=OPTIMIZE, description=f"nada optimize: {OPTIMIZE}.")
    _add_models(optimize, "a new folder named after the text")
    optimize.add_argument("--count", type=int, default=PREVIEWS, help="images to start from (default: %(default)s)")
    optimize.add_argument("--first-seed", type=int, default=0, help="of the first image; the next ones count up")
    optimize.add_argument("--psi", type=float, default=PREVIEW_PSI, help="their truncation (default: %(default)s)")
    add_config(optimize, "optimization", OptimizeConfig, required=["target"])
    optimize.set_defaults(run=_optimize, show=show)


def _add_models(parser: argparse.ArgumentParser, default_out: str) -> None:
    parser.add_argument("--generator", required=True, metavar="FILE", help="as for `nada adapt`; usually its result")
    parser.add_argument("--clip", metavar="SPEC", help="as for `nada adapt`; default: those of the adaptation")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder for the results (default: {default_out})")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in DIR")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def _mapper(args: argparse.Namespace) -> dict[str, Any]:
    config = MapperConfig(**given(args, MapperConfig))
    return run_mapper(config, *_places(args, f"nada-{slug(config.target)}-mapper"))


def _optimize(args: argparse.Namespace) -> dict[str, Any]:
    config = OptimizeConfig(**given(args, OptimizeConfig))
    places = _places(args, f"nada-{slug(config.target)}-optimized")
    return run_optimize(config, *places, args.count, args.first_seed, args.psi)


def _places(args: argparse.Namespace, name: str) -> tuple:
    out = args.out or unused(Path(name))
    return out, args.generator, args.clip, args.device, args.overwrite, not args.quiet
