"""`nada adapt` and `nada demo`: train an adaptation, or resume one, and save the results in a folder."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import demo
from ..checkpoint.metadata import fits
from ..clip.loading import load_clip, usual_clip
from ..errors import NadaError, UsageError, is_out_of_memory
from ..files import storable
from ..generators import Generator
from ..pictures.reading import load_pictures
from ..runs.folder import RunFolder
from ..runs.kept_run import KeptRun
from ..runs.names import free_path, result_name
from ..runs.out_of_memory import sparing
from ..runs.results import STRIP_COLUMNS, quoted, result_files, save_results
from ..runs.snapshots import evenly
from ..settings import MAX_STEPS
from ..training.config import OF_PICTURES, AdaptConfig, recommendation_remark
from ..training.presets import PRESETS
from ..training.state import FREE
from .interrupt import Interrupt
from .options import RECOMMENDED, add_config, given
from .parsing import CLIP_HELP, GENERATOR_HELP, add_command, add_run_options, show_run
from .shared import (
    demo_base,
    existing_folder,
    load_base,
    pick_device,
    recorded_clip,
    stored_clip,
)

log = logging.getLogger(__name__)
NOTES = {"generator?": (str, None), "clip?": (str, None), "snapshot_every?": (int, None)}  # in a state


def add(commands: Any) -> None:
    """Add the verbs `adapt` and `demo` with their arguments to the parser."""
    parser = add_command(commands, "adapt", "move a generator to a new domain", run, show)
    parser.add_argument("--generator", metavar="FILE", help=GENERATOR_HELP)
    parser.add_argument("--clip", metavar="SPEC", help=CLIP_HELP)
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        metavar="NAME",
        help="preset to start from, see `nada presets`; below 1024 px, its numbers of layers shrink in proportion",
    )
    parser.add_argument(
        "--style-images",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="pictures, or folders of pictures, in the style to adapt to; --target may then be left out",
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="resume the run in DIR, with its own settings")
    add_config(parser, "adaptation", defaults=RECOMMENDED)
    _add_run_options(parser, "a new folder nada-SOURCE_to_TARGET in the current folder")

    short = add_command(commands, "demo", "adapt photo -> sketch with the included demo models", run, show)
    short.set_defaults(generator=demo.NAME, clip=demo.NAME, style_images=(), resume=None, preset=None)
    add_config(short, "adaptation", defaults=RECOMMENDED | demo.SETTINGS, without=OF_PICTURES)
    _add_run_options(short, "a new folder nada-demo")


def _add_run_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    add_run_options(parser, default_out)
    parser.add_argument(
        "--snapshot-every",
        type=int,
        metavar="N",
        help="save a snapshot and the state for --resume every N iterations; 0 for never (default: for each column "
        "of the filmstrip)",
    )


def show(record: dict[str, Any]) -> str:
    """Describe the record as text."""
    return show_run(record, "adapted")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Adapt a generator and save all results in a folder. Ctrl-C stops within one iteration and saves them too.

    Returns:
        The record: recipe, losses and layers of each iteration, seconds, and the files written.

    Raises:
        NadaError: a file cannot be read or written, or a setting does not fit the generator.
    """
    settings = given(args)
    if args.resume:
        return _resume(args, settings)
    if not args.generator:
        raise UsageError("--generator is missing; give a StyleGAN2 file, or 'demo'")
    place = pick_device(args.device)
    base = load_base(args.generator).to(place)
    config, preset_clip = _configuration(args, settings, base)
    name = "nada-demo" if args.command == "demo" else f"nada-{result_name(config)}"
    config.layer_count(base)  # refuse settings that do not fit before CLIP is loaded or downloaded
    config.trained_layers(base)
    moments = _moments(args.snapshot_every, config.iterations)
    pictures = load_pictures(args.style_images, base.config.image_size).to(place) if args.style_images else None
    spec = args.clip or preset_clip or usual_clip(args.generator)
    notes: dict[str, Any] = {"generator": storable(args.generator), "clip": storable(spec)}
    notes |= {"style_images": [storable(str(path)) for path in args.style_images]}
    notes |= {"snapshot_every": args.snapshot_every, "device": str(place)}
    folder = RunFolder(args.out or free_path(Path(name)))
    with folder.claimed(args.overwrite):
        kept = KeptRun(folder, base, load_clip(spec, place), config, pictures, moments, notes)
        folder.refuse_lost([args.generator, *args.style_images], result_files(result_name(kept.run.recipe())))
        return train(kept, not args.quiet)


def _configuration(
    args: argparse.Namespace, settings: dict[str, Any], base: Generator
) -> tuple[AdaptConfig, str | None]:
    """The configuration from the arguments, and the CLIP models that the preset suggests, if any."""
    preset = PRESETS.get(args.preset)
    defaults = demo.SETTINGS if args.command == "demo" else preset.settings_for(base) if preset else {}
    settings = {"source": "", "target": "", **defaults, **settings}
    if not settings["target"].strip() and not args.style_images:
        images = "" if args.command == "demo" else ", or --style-images"
        raise UsageError(f"--target is missing; give a phrase for what the generator should make{images}")
    for name in OF_PICTURES:
        if name in settings and not args.style_images:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} needs --style-images; add them, or leave {option} out")
    suggested = preset.clip if preset and args.generator not in demo.GENERATORS else None
    if remark := recommendation_remark(base, settings):
        log.info(remark)
    return AdaptConfig.for_generator(base, style_images=bool(args.style_images), **settings), suggested


def _moments(every: int | None, iterations: int) -> Collection[int]:
    """Iterations at which to take snapshots: multiples of `every`; 0: none; None: one for each filmstrip column."""
    if every is None:
        return evenly(iterations, STRIP_COLUMNS)
    if not 0 <= every <= MAX_STEPS:
        raise UsageError(f"snapshot_every is {every}; it must be in 0..{MAX_STEPS}, 0 for never")
    return range(every, iterations + 1, every) if every else ()


def _resume(args: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """Resume a stopped run, write the missing results of a finished one, or extend it by more iterations."""
    changes = {name: settings.pop(name) for name in FREE & settings.keys()}
    names = [*settings, *(name for name in ("preset", "style_images", "out", "overwrite") if getattr(args, name))]
    if names:
        option = names[0].replace("_", "-")
        raise UsageError(
            f"--{option} cannot be combined with --resume: a run keeps its settings; only --iterations and "
            "--cuda-graphs may change"
        )
    folder = RunFolder(existing_folder(args.resume, "run, such as nada-photo_to_sketch"))
    with folder.alone():
        return _resumed(args, folder, changes)


def _resumed(args: argparse.Namespace, folder: RunFolder, changes: dict[str, Any]) -> dict[str, Any]:
    """Resume the run in a folder with changed settings."""
    found = next(folder.load_states(with_tensors=False), None)  # the run itself reads the tensors
    if found is None:
        raise NadaError(
            f"{args.resume} holds no state of a run, so there is nothing to resume; only a run with snapshots, or one "
            "that was stopped, has a state"
        )
    _, state = found
    config = replace(AdaptConfig.from_recipe(state.recipe), **changes)
    done = state.recipe["iterations_done"]
    if done > config.iterations or (done == config.iterations and folder.is_complete(done)):
        raise UsageError(
            f"the run in {args.resume} has done {done} iterations; give a larger number as --iterations to extend it"
        )
    notes = {name: value for name, value in state.notes.items() if name != "history"}
    if not fits(notes, NOTES):
        raise NadaError(f"the notes in the state of {args.resume} are damaged; start the run again in another folder")
    generator = args.generator or notes.get("generator") or demo_base(state.recipe)
    if not generator:
        raise UsageError("the run does not say where its base generator is; give --generator")
    clip = args.clip or _stored_clip(notes.get("clip"), state.recipe, str(args.resume))
    notes |= {"generator": storable(generator), "clip": storable(clip)}
    if args.snapshot_every is not None:
        notes["snapshot_every"] = args.snapshot_every
    place = pick_device(args.device)
    base, notes["device"] = load_base(generator).to(place), str(place)
    moments = _moments(notes.get("snapshot_every"), config.iterations)
    kept = KeptRun(folder, base, load_clip(clip, place), config, moments=moments, notes=notes, must_resume=True)
    return train(kept, not args.quiet)


def _stored_clip(spec: Any, recipe: dict[str, Any], what: str) -> str:
    """Specification of a run's CLIP models: the one given on the command line, else that of the recipe."""
    return stored_clip(spec, what) if isinstance(spec, str) else recorded_clip(recipe["clip"], what)


def train(kept: KeptRun, progress: bool = True) -> dict[str, Any]:
    """Train to the end or to Ctrl-C, save the results, and return the record. Out of memory, the state is saved."""
    run, interrupted = kept.run, False
    total = len(run)
    try:
        with Interrupt() as interrupt, tqdm(total=total, initial=run.iteration, disable=not progress) as bar:
            for step in sparing(kept, run):
                bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
                bar.update()
                if interrupt.requested and step.iteration < total:
                    interrupted = True
                    break
        kept.keep()
        with run.suited_threads():
            return save_results(kept, interrupted)
    except BaseException as error:
        if isinstance(error, Exception) and is_out_of_memory(error) and run.iteration:
            kept.keep()
        if kept.stored:
            effect = "writes the missing files" if kept.stored == total else f"continues after iteration {kept.stored}"
            log.warning("`nada adapt --resume %s` %s", quoted(str(kept.folder.path)), effect)
        raise
