"""`nada evaluate`: the measures of `evaluate.py` as a command, a table and JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_config, given
from .checkpoint.loading import EMBEDDED
from .clip import DEMO, PAPER_SPEC, load_clip
from .commands import load_base, pick_device
from .errors import UsageError
from .evaluate import EvaluateConfig, evaluate
from .judge import load_judge
from .stylegan2 import Generator

AUTO, NONE = "auto", "none"
DEMO_WORLD = "demo world"  # what the demo generators name as their format
SETTING = ("target", "count", "seeds", "psi", "mixing", "templates")  # named above the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments: the generators, the encoders, and one for each field of `EvaluateConfig`."""
    parser.add_argument("--generator", required=True, metavar="FILE", help="the generator to measure")
    parser.add_argument(
        "--base",
        default=AUTO,
        metavar="FILE",
        help="what it was adapted from; 'auto': the demo generator where that was it; 'none': no comparison",
    )
    parser.add_argument(
        "--clip",
        metavar="SPEC",
        help="encoders, as for nada adapt (default: the demo's for demo models, else the paper's)",
    )
    parser.add_argument(
        "--judge", default=AUTO, metavar="FILE", help="of the demo world; 'auto' for demo models only, or 'none'"
    )
    add_config(parser, "measurement", EvaluateConfig)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one generator; the record of its adaptation fills in what was not said."""
    place = pick_device(args.device)
    generator = load_base(args.generator).to(place)
    recipe = (generator.metadata.get("adaptations") or [{}])[-1]
    values = given(args, EvaluateConfig)
    values["target"] = values.get("target") or recipe.get("target")
    if not values["target"]:
        raise UsageError(f"{args.generator} does not tell what it was adapted to; give --target")
    values["source"] = values.get("source") or recipe.get("source", "")
    config = EvaluateConfig(**values)
    base = _find_base(args.base, recipe)
    demo = generator.metadata.get("source", {}).get("format") == DEMO_WORLD
    judge = None
    if args.judge not in (AUTO, NONE):
        judge = load_judge(args.judge, place)
    elif args.judge == AUTO and demo:
        judge = load_judge(device=place)
    clip = load_clip(args.clip or (DEMO if demo else PAPER_SPEC), place)
    result = evaluate(generator, clip, config, None if base is None else base.to(place), judge)
    return {"generator": args.generator, "device": str(place), **result}


def _find_base(choice: str, recipe: dict[str, Any]) -> Generator | None:
    if choice == AUTO:
        known = (load_base(name) for name in EMBEDDED)
        return next((base for base in known if base.fingerprint() == recipe.get("base")), None)
    if choice == NONE:
        return None
    if not (choice in EMBEDDED or Path(choice).is_file()):
        names = ", ".join(map(repr, EMBEDDED))
        raise UsageError(f"the base {choice!r} is no file; give one, or {names}, or 'none'")
    return load_base(choice)


def show(result: dict[str, Any]) -> str:
    """The result as a table."""
    setting = result["setting"]
    encoders = ", ".join(entry["name"] for entry in setting["encoders"])
    lines = [", ".join(f"{name} {setting[name]!r}" for name in SETTING), f"encoders {encoders}", ""]
    width = max(map(len, result["measures"]))
    for name, found in result["measures"].items():
        spread = f"  {found['low']:.4f} .. {found['high']:.4f}" if "low" in found else ""
        lines.append(f"  {name:{width}}  {found['mean']:.4f}{spread}")
    lines += ["", *(f"left out: {name}: {reason}" for name, reason in result["left_out"].items())]
    memory = f", at most {result['peak_memory_mb']} MB in use" if result["peak_memory_mb"] else ""
    lines.append(f"{result['seconds']:.1f} s, {result['images_per_second']:.1f} images/s{memory} ({result['device']})")
    return "\n".join(lines)
