"""`nada evaluate`: measure quality, diversity and likeness to the source; shown as a table or JSON."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch

from .. import demo
from ..clip.alphabet import unreadable_remark
from ..clip.loading import PAPER_SPEC, load_clip
from ..clip.models import ClipEnsemble
from ..clip.prompts import text_shares
from ..errors import UsageError
from ..generators import Generator
from ..latents.files import load_latents
from ..measure.demo_judge import judge_for, load_judge
from ..measure.evaluate import EvaluateConfig, evaluate, report
from ..measure.judging import measures_for
from .options import add_config, given
from .parsing import GENERATOR_HELP, add_command, add_device
from .shared import demo_base, is_published, load_base, pick_device

log = logging.getLogger(__name__)
AUTO, NONE = "auto", "none"
RECORDED = "that of the adaptation"


def add(commands: Any) -> None:
    """Add the verb `evaluate` with its arguments to the parser."""
    parser = add_command(commands, "evaluate", "measure quality, diversity and likeness to the source", run, show)
    parser.add_argument("--generator", required=True, metavar="FILE", help=GENERATOR_HELP)
    parser.add_argument(
        "--base",
        default=AUTO,
        metavar="FILE",
        help="generator before the adaptation: FILE, a name as for --generator, 'auto' (the demo generator that the "
        "record names, else no comparison) or 'none' (default: %(default)s)",
    )
    parser.add_argument(
        "--clip",
        metavar="SPEC",
        help="CLIP models to measure with, as for `nada adapt` (default: the demo's for demo models, else the paper's)",
    )
    parser.add_argument(
        "--judge",
        default=AUTO,
        metavar="FILE",
        help="classifier of the demo world: FILE, 'auto' (for demo models only) or 'none' (default: %(default)s)",
    )
    parser.add_argument(
        "--identity",
        metavar="SPEC",
        help="CLIP models that took no part in the adaptation, to measure whether each image still shows the same "
        "individual (default: not measured)",
    )
    parser.add_argument(
        "--latents",
        metavar="FILE",
        help="file of codes to measure on instead of random ones, such as that of `nada invert`; --count, --seeds, "
        "--first-seed, --psi and --mixing then have no effect",
    )
    add_config(parser, "measurement", EvaluateConfig, defaults=dict.fromkeys(("target", "source"), RECORDED))
    add_device(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one generator; texts that are not given come from the record of its adaptation."""
    place = pick_device(args.device)
    generator = load_base(args.generator).to(place)
    recipe = (generator.metadata.get("adaptations") or [{}])[-1]
    values = given(args, EvaluateConfig)
    values["target"] = values.get("target") or recipe.get("target")
    if not values["target"]:
        raise UsageError(f"{args.generator} does not say what it was adapted to; give --target")
    values["source"] = values.get("source") or recipe.get("source", "")
    config = EvaluateConfig(**values)
    base = _find_base(args.base, recipe)
    known = judge_for(generator, place)
    judge = {AUTO: known, NONE: None}[args.judge] if args.judge in (AUTO, NONE) else load_judge(args.judge, place)
    clip = load_clip(args.clip or (demo.NAME if known else PAPER_SPEC), place)
    if remark := unreadable_remark(clip, text_shares(config.target)):
        log.warning("%s", remark)
    extra = measures_for(judge, config.target) if judge else None
    identity = _independent(args.identity, recipe, place)
    latents = load_latents(args.latents, generator) if args.latents else None
    on_place = None if base is None else base.to(place)
    result = evaluate(generator, clip, config, on_place, extra, identity=identity, latents=latents)
    return {"generator": args.generator, "latents": args.latents, "device": str(place), **result}


def _independent(spec: str | None, recipe: dict[str, Any], place: torch.device) -> ClipEnsemble | None:
    """Load the CLIP models of --identity.

    Raises:
        UsageError: the adaptation was trained with one of them.
    """
    if spec is None:
        return None
    models = load_clip(spec, place)
    used = {model.get("fingerprint") for model in recipe.get("clip", ())}
    if taken := [model.name for model in models if model.fingerprint in used]:
        raise UsageError(
            f"the adaptation was trained with {taken[0]}, which therefore favors it; give --identity another model"
        )
    return models


def _find_base(choice: str, recipe: dict[str, Any]) -> Generator | None:
    """Load the generator of --base; None if there is none to compare with."""
    if choice == AUTO:
        name = demo_base(recipe)
        return load_base(name) if name else None
    if choice == NONE:
        return None
    if not (choice in demo.GENERATORS or is_published(choice) or Path(choice).is_file()):
        names = ", ".join(map(repr, demo.GENERATORS))
        raise UsageError(
            f"--base is {choice!r}, which is not a file; give a generator file, {names}, a name that `nada models` "
            "lists, or 'none'"
        )
    return load_base(choice)


def show(result: dict[str, Any]) -> str:
    """Format the result as a table."""
    return f"{report(result)} ({result['device']})"
