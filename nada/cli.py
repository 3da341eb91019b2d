"""The command line, `nada`: one parser for all commands, and one line of explanation for any failure."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from . import evaluate_command
from .adapt_command import run_adapt, run_pick, run_resume
from .arguments import add_config, given, show_presets
from .checkpoint import inspect_file
from .clip.loading import DEMO
from .commands import explain, run_convert, run_generate, run_models, usual_clip
from .edit_cli import add_edit_commands
from .errors import NadaError, UsageError
from .runs.names import result_name, unused
from .style_commands import SPEC_HELP, add_commands
from .stylegan2 import NOISE_MODES, PRECISIONS
from .training.config import AdaptConfig
from .training.presets import DEMO_SETTINGS, PRESETS

FAILURE, USAGE, INTERRUPTED = 1, 2, 130  # exit codes

GENERATOR_HELP = "a StyleGAN2 file (.safetensors, rosinality .pt, NVIDIA .pkl), 'demo' or 'demo-person'"
CLIP_HELP = (
    "CLIP models with optional weights: NAME[:WEIGHT],... where NAME is 'demo', an open_clip architecture such as "
    "ViT-B/32 (OpenAI's weights, downloaded on first use), ARCHITECTURE@TAG, ARCHITECTURE@FILE, or a folder with "
    "open_clip_config.json and weights. Default: the paper's ViT-B/32,ViT-B/16; for the demo generator, demo"
)
EPILOG = """\
examples:
  nada demo                                            the whole thing on the small models that come along
  nada adapt --generator ffhq.pkl --source photo --target sketch --layers all
  nada adapt --generator afhqdog.pkl --source dog --target pig --iterations 200
  nada adapt --generator ffhq.pkl --preset sketch
  nada adapt --generator ffhq.pkl --style-images three_pictures/ --preset style-images
  nada adapt --resume nada-photo_to_sketch --iterations 400
  nada pick nada-photo_to_sketch 200                   the state after 200 iterations becomes a result of its own
  nada generate --generator nada-photo_to_sketch/photo_to_sketch.safetensors --count 16
  nada evaluate --generator nada-photo_to_sketch/photo_to_sketch.safetensors
  nada generate --generator demo --style nada-demo/photo_to_sketch.style.safetensors:0.5
  nada style diff ffhq.pkl ffhq_sketch.pt sketch.safetensors     a published adaptation as a style
  nada mapper --generator nada-dog_to_pig/dog_to_pig.safetensors --target pig
  nada models                                          what is published; nada models ffhq-1024 downloads it
  nada inspect ffhq.pkl
  nada convert ffhq.pkl ffhq.safetensors

exit codes: 0 done, 1 something failed, 2 wrong usage, 130 interrupted (what was trained is kept)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = build_parser().parse_args(argv)
    _set_up_logging(args.command)
    try:
        result = args.run(args)
    except UsageError as error:
        return _fail(error, USAGE)
    except (NadaError, OSError, torch.OutOfMemoryError) as error:  # anything else is a defect: its traceback helps
        return _fail(error, FAILURE)
    except KeyboardInterrupt:
        return _fail(NadaError("interrupted before the end; the result was not saved"), INTERRUPTED)
    print(json.dumps(result) if args.json else args.show(result))
    return INTERRUPTED if result.get("interrupted") else 0


def _fail(error: BaseException, code: int) -> int:
    print(f"nada: {explain(error)}", file=sys.stderr)
    return code


def _set_up_logging(command: str) -> None:
    """Our own messages on stderr; those of the libraries beneath end in our errors, or do not matter here."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("nada: %(message)s"))
    logging.getLogger(__package__).handlers = [handler]
    logging.getLogger(__package__).setLevel(logging.INFO)
    logging.getLogger(__package__).propagate = False
    for name in (None, "huggingface_hub"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).setLevel(logging.CRITICAL)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run` (arguments -> result) and `show` (result -> text)."""
    parser = argparse.ArgumentParser(
        prog="nada",
        description="StyleGAN-NADA: adapt a StyleGAN2 generator to a new domain from two phrases.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    adapt = _command(commands, "adapt", "move a generator to a new domain", _adapt, _show_adapt)
    adapt.add_argument("--generator", metavar="FILE", help=GENERATOR_HELP)
    adapt.add_argument("--clip", metavar="SPEC", help=CLIP_HELP)
    adapt.add_argument("--preset", choices=PRESETS, metavar="NAME", help="settings to start from; see nada presets")
    adapt.add_argument(
        "--style-images", type=Path, nargs="+", default=(), metavar="PATH", help="take the target from these pictures"
    )
    adapt.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR, with its own settings")
    add_config(adapt, "adaptation")
    _add_run_options(adapt, "a new folder named after the texts")

    demo = _command(commands, "demo", "photo -> sketch on the models that come along", _adapt, _show_adapt)
    demo.set_defaults(generator="demo", clip="demo", style_images=(), resume=None, preset=None)
    add_config(demo, "adaptation", defaults=DEMO_SETTINGS)
    _add_run_options(demo, "a new folder nada-demo")

    presets = _command(commands, "presets", "list the settings for the paper's examples", _presets, show_presets)
    presets.add_argument("name", nargs="?", choices=PRESETS, metavar="NAME", help="of one to show in full")

    pick = _command(commands, "pick", "make a snapshot of a run a result of its own", _pick, _show_tree)
    pick.add_argument("folder", type=Path, metavar="DIR", help="of the run")
    pick.add_argument("iteration", type=int, help="of the snapshot: a number above the filmstrip, or in DIR/snapshots")
    pick.add_argument("--out", type=Path, metavar="FILE", help="where to (default: beside the result)")
    pick.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")

    _add_generate(_command(commands, "generate", "make images", _generate, _show_files))

    evaluate_command.add_arguments(
        _command(
            commands, "evaluate", "measure what an adaptation is worth", evaluate_command.run, evaluate_command.show
        )
    )
    add_commands(commands, _command, _show_tree)
    add_edit_commands(commands, _show_files)

    inspect = _command(commands, "inspect", "tell what a file is, without running anything in it", _inspect, _show_tree)
    inspect.add_argument("file", type=Path, help="any file")

    convert = _command(
        commands, "convert", "rewrite a generator as safetensors, or as rosinality .pt", _convert, _show_tree
    )
    convert.add_argument("source", metavar="IN", help=GENERATOR_HELP)
    convert.add_argument("target", metavar="OUT.safetensors|OUT.pt", type=Path)
    convert.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")

    models = _command(commands, "models", "list published models, or download one", _models, _show_models)
    models.add_argument("name", nargs="?", metavar="NAME", help="of the one to download; without it, the list")
    models.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="where to (default: this folder)")
    return parser


def _add_generate(generate: argparse.ArgumentParser) -> None:
    generate.add_argument("--generator", required=True, metavar="FILE", help=GENERATOR_HELP)
    generate.add_argument(
        "--style", action="append", default=[], metavar="FILE[:STRENGTH]", help=f"{SPEC_HELP}; several add up"
    )
    generate.add_argument("--count", type=int, default=16, help="images to make (default: %(default)s)")
    generate.add_argument("--seed", type=int, default=0, help="of the first image; the next ones count up")
    generate.add_argument("--psi", type=float, default=0.7, help="truncation: 1 varied .. 0 average (%(default)s)")
    generate.add_argument("--class", dest="label", type=int, default=0, help="of generators with classes (%(default)s)")
    generate.add_argument("--noise", choices=NOISE_MODES, default="const", help="fine detail (default: %(default)s)")
    generate.add_argument(
        "--mapper", metavar="FILE[:STRENGTH]", help="move the codes by what `nada mapper` trained (strength: 1)"
    )
    generate.add_argument("--batch", type=int, default=8, help="images at a time (default: %(default)s)")
    generate.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="full",
        help="half computes in bfloat16 from 64 px on, for GPUs (default: %(default)s)",
    )
    generate.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the pictures (default: a new nada-images)"
    )
    _add_device(generate)


def _command(commands: Any, name: str, help: str, run: Any, show: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=f"nada {name}: {help}.")
    parser.set_defaults(run=run, show=show)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def _add_run_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder for the results (default: {default_out})")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in DIR")
    parser.add_argument(
        "--snapshot-every",
        type=int,
        metavar="N",
        help="save the generator, and what --resume needs, every N iterations; 0 never (default: for each column "
        "of the filmstrip)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_device(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")


def _adapt(args: argparse.Namespace) -> dict[str, Any]:
    settings = given(args)
    if args.resume:
        return _resume(args, settings)
    if not args.generator:
        raise UsageError("--generator is missing; give a StyleGAN2 file, or 'demo'")
    preset = PRESETS.get(args.preset)
    defaults = DEMO_SETTINGS if args.command == "demo" else preset.settings if preset else {}
    if "train" in settings:  # what else is trained needs its own step size
        defaults = {name: value for name, value in defaults.items() if name != "learning_rate"}
    settings = {"source": "", "target": "", **defaults, **settings}
    if not settings["target"].strip() and not args.style_images:
        raise UsageError("--target is missing; give a phrase for what the generator shall make, or --style-images")
    config = AdaptConfig(**settings)
    clip = args.clip or (preset.clip if preset and usual_clip(args.generator) != DEMO else None)
    name = "nada-demo" if args.command == "demo" else f"nada-{result_name(settings)}"
    return run_adapt(
        config,
        args.out or unused(Path(name)),
        args.generator,
        clip,
        args.device,
        args.snapshot_every,
        args.overwrite,
        not args.quiet,
        args.style_images,
    )


def _resume(args: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    iterations = settings.pop("iterations", None)
    names = [*settings, *(name for name in ("preset", "style_images", "out", "overwrite") if getattr(args, name))]
    if names:
        option = names[0].replace("_", "-")
        raise UsageError(f"--{option} does not go with --resume: a run goes on as it began; --iterations may change")
    return run_resume(
        args.resume, iterations, args.generator, args.clip, args.device, args.snapshot_every, not args.quiet
    )


def _presets(args: argparse.Namespace) -> dict[str, Any]:
    return {name: preset.describe() for name, preset in PRESETS.items() if args.name in (None, name)}


def _pick(args: argparse.Namespace) -> dict[str, Any]:
    return run_pick(args.folder, args.iteration, args.out, args.overwrite)


def _generate(args: argparse.Namespace) -> dict[str, Any]:
    out = args.out or unused(Path("nada-images"))
    images = (args.count, args.seed, args.psi, args.label, args.noise, args.batch, args.device)
    return run_generate(args.generator, out, *images, args.style, args.mapper, args.precision == "half")


def _inspect(args: argparse.Namespace) -> dict[str, Any]:
    return inspect_file(args.file)


def _convert(args: argparse.Namespace) -> dict[str, Any]:
    return run_convert(args.source, args.target, args.overwrite)


def _models(args: argparse.Namespace) -> dict[str, Any]:
    return run_models(args.name, args.to)


def _show_models(result: dict[str, Any]) -> str:
    if "generators" not in result:
        return _show_tree(result)
    rows = [("NAME", "PX", "MB", "FROM", "WHAT IT MAKES")]
    rows += [(g["name"], g["resolution"], g["megabytes"], g["form"], g["content"]) for g in result["generators"]]
    width = max(len(row[0]) for row in rows)
    lines = [f"{name:{width}} {px:>5} {mb:>5}  {form:21}  {content}" for name, px, mb, form, content in rows]
    licenses: dict[str, list[str]] = {}
    for g in result["generators"]:
        licenses.setdefault(g["license"], []).append(g["name"])
    most = max(licenses, key=lambda name: len(licenses[name]))
    lines += ["", "`nada models NAME --to DIR` downloads one. Licenses:", f"  {most}: all but those below"]
    lines += [f"  {name}: {', '.join(names)}" for name, names in licenses.items() if name != most]
    clips = ", ".join(f"{c['name']} ({c['megabytes']} MB, {c['license']})" for c in result["clips"])
    return "\n".join([*lines, f"CLIP models, downloaded when first used, or so too: {clips}"])


def _show_adapt(record: dict[str, Any]) -> str:
    done, seconds = record["recipe"]["iterations_done"], record["seconds"]
    head = "interrupted: kept the state after" if record["interrupted"] else "adapted in"
    return f"{head} {done} iterations, {seconds:.1f} s ({record['device']})\n{_show_files(record)}"


def _show_files(record: dict[str, Any]) -> str:
    files = {k: v for k, v in record["files"].items() if not k.startswith("seed_")}
    width = max(map(len, files), default=0)
    lines = [f"  {name.replace('_', ' '):{width}}  {path}" for name, path in files.items()]
    return "\n".join([f"results in {record['folder']}", *lines])


def _show_tree(value: Any, indent: str = "") -> str:
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{key}:", _show_tree(item, indent + "  ")]
        elif isinstance(item, (list, tuple)) and item and isinstance(item[0], str):
            lines += [f"{indent}{key}:", *(f"{indent}  - {part}" for part in item)]
        elif item not in (None, [], (), {}):
            lines.append(f"{indent}{key}: {item}")
    return "\n".join(line for line in lines if line)
