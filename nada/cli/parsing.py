"""Arguments and output texts that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checkpoint.metadata import with_texts
from ..errors import printable

NUMBERED = ("seed_", "code_")  # keys of a record's files of which there is one for each image

Result = dict[str, Any]
Verb = Callable[[argparse.Namespace], Result]
Show = Callable[[Result], str]

GENERATOR_HELP = (
    "StyleGAN2 file (.safetensors, rosinality .pt, NVIDIA .pkl), 'demo', 'demo-person', or a published generator such "
    "as ffhq-1024, downloaded on first use (see `nada models`)"
)
CLIP_HELP = (
    "CLIP models with optional weights: NAME[:WEIGHT],... where NAME is 'demo', an open_clip architecture such as "
    "ViT-B/32 (OpenAI's weights, downloaded on first use), ARCHITECTURE@TAG, ARCHITECTURE@FILE, or a folder with "
    "open_clip_config.json and weights. Default: the paper's ViT-B/32,ViT-B/16; for the demo generator, demo"
)
STYLE_HELP = "style file, with a strength in -1..2 (default strength: 1)"
THREADS_HELP = "number of CPU threads (default: one for small models such as the demo's, PyTorch's choice for others)"
DEVICE_HELP = "device: auto, cpu, cuda, cuda:1 or mps (default: %(default)s)"


def add_command(commands: Any, name: str, help: str, run: Verb, show: Show) -> argparse.ArgumentParser:
    """Add a verb to argparse's subcommands.

    Args:
        commands: argparse's collection of subcommands.
        name: the verb.
        help: a line for the list of verbs.
        run: turns the parsed arguments into a JSON-serializable result.
        show: turns the result into text for people.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help)
    parser.description = f"{parser.prog}: {help}."
    parser.set_defaults(run=run, show=show)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device and --threads."""
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--threads", type=int, metavar="N", help=THREADS_HELP)


def add_run_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    """Add the arguments of every training: --out, --overwrite, --quiet, --device and --threads."""
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder for the results (default: {default_out})")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in DIR")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_device(parser)


def show_run(record: Result, done: str) -> str:
    """Describe a training's record as text: whether it is complete, and its files.

    Args:
        record: record of a training verb.
        done: verb for a completed run, such as "adapted".
    """
    iterations, seconds = record["recipe"]["iterations_done"], record["seconds"]
    head = "interrupted: saved the result after" if record["interrupted"] else f"{done} in"
    plural = "" if iterations == 1 else "s"
    return f"{head} {iterations} iteration{plural}, {seconds:.1f} s ({record['device']})\n{show_files(record)}"


def show_files(record: dict[str, Any]) -> str:
    """List the files of a record, one per line; numbered images are one line."""
    files = {k: v for k, v in record["files"].items() if not k.startswith(NUMBERED)}
    numbered = [v for k, v in record["files"].items() if k.startswith(NUMBERED)]
    if len(numbered) > 1:
        files["images"] = f"{numbered[0]} ... {Path(numbered[-1]).name} ({len(numbered)})"
    elif numbered:
        files["image"] = numbered[0]
    width = max(map(len, files), default=0)
    lines = [f"  {name.replace('_', ' '):{width}}  {path}" for name, path in files.items()]
    return "\n".join([f"results in {record['folder']}", *lines])


def escaped(value: Any) -> Any:
    """A result whose texts and keys are all `printable`, since many come from files of strangers."""
    return with_texts(value, printable)


def show_tree(value: Any, indent: str = "") -> str:
    """Format nested results as indented lines, without empty values."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{key}:", show_tree(item, indent + "  ")]
        elif isinstance(item, (list, tuple)) and item and isinstance(item[0], str):
            lines += [f"{indent}{key}:", *(f"{indent}  - {part}" for part in item)]
        elif item not in (None, [], (), {}):
            lines.append(f"{indent}{key}: {item}")
    return "\n".join(line for line in lines if line)
