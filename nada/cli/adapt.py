"""`nada adapt` and `nada demo`: a training from start or state to a folder of results."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from .. import demo
from ..adapt import Adaptation, AdaptStep, adapt
from ..checkpoint import load_generator
from ..clip import load_clip
from ..errors import UsageError
from ..latents.rendering import generate
from ..latents.sampling import sample_latents
from ..pictures.grids import before_after, filmstrip
from ..pictures.reading import load_pictures
from ..runs.folder import STATE, RunFolder
from ..runs.history import History
from ..runs.names import free_path, result_name
from ..runs.out_of_memory import sparing
from ..styles.files import save_style
from ..styles.preview import encode
from ..styles.style import Style
from ..training.config import AdaptConfig
from ..training.presets import PRESETS
from ..training.state import RunState, load_state
from .interrupt import Interrupt
from .options import add_config, given
from .parsing import CLIP_HELP, GENERATOR_HELP, add_command, add_run_options, show_run
from .shared import PREVIEW_PSI, PREVIEWS, STRIP_COLUMNS, STRIP_ROWS, load_base, pick_device, usual_clip

log = logging.getLogger(__name__)


def add(commands: Any) -> None:
    """Add the verbs."""
    parser = add_command(commands, "adapt", "move a generator to a new domain", run, show)
    parser.add_argument("--generator", metavar="FILE", help=GENERATOR_HELP)
    parser.add_argument("--clip", metavar="SPEC", help=CLIP_HELP)
    parser.add_argument("--preset", choices=PRESETS, metavar="NAME", help="settings to start from; see nada presets")
    parser.add_argument(
        "--style-images", type=Path, nargs="+", default=(), metavar="PATH", help="take the target from these pictures"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="resume the run in DIR, with its own settings")
    add_config(parser, "adaptation")
    _add_run_options(parser, "a new folder named after the texts")

    short = add_command(commands, "demo", "photo -> sketch on the models that are included", run, show)
    short.set_defaults(generator=demo.NAME, clip=demo.NAME, style_images=(), resume=None, preset=None)
    add_config(short, "adaptation", defaults=demo.SETTINGS)
    _add_run_options(short, "a new folder nada-demo")


def _add_run_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    add_run_options(parser, default_out)
    parser.add_argument(
        "--snapshot-every",
        type=int,
        metavar="N",
        help="save a snapshot, and what --resume needs, every N iterations; 0 never (default: for each column of the "
        "filmstrip)",
    )


def show(record: dict[str, Any]) -> str:
    """The record as text."""
    return show_run(record, "adapted")


def run(args: argparse.Namespace) -> dict[str, Any]:
    settings = given(args)
    if args.resume:
        return _resume(args, settings)
    if not args.generator:
        raise UsageError("--generator is missing; give a StyleGAN2 file, or 'demo'")
    preset = PRESETS.get(args.preset)
    defaults = demo.SETTINGS if args.command == "demo" else preset.settings if preset else {}
    if "train" in settings:  # what else is trained needs its own step size
        defaults = {name: value for name, value in defaults.items() if name != "learning_rate"}
    settings = {"source": "", "target": "", **defaults, **settings}
    if not settings["target"].strip() and not args.style_images:
        raise UsageError("--target is missing; give a phrase for what the generator shall make, or --style-images")
    config = AdaptConfig(**settings)
    clip = args.clip or (preset.clip if preset and usual_clip(args.generator) != demo.NAME else None)
    name = "nada-demo" if args.command == "demo" else f"nada-{result_name(settings)}"
    return run_adapt(
        config,
        args.out or free_path(Path(name)),
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


def run_adapt(
    config: AdaptConfig,
    out: Path,
    generator: str = demo.NAME,
    clip: str | None = None,
    device: str = "auto",
    snapshot_every: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    style_images: Sequence[Path] = (),
) -> dict[str, Any]:
    """Adapt a generator and leave everything in a folder. Ctrl-C ends it after the step under way and keeps the result.

    Args:
        config: what to adapt to, and how.
        out: the folder.
        generator: a file, or "demo".
        clip: a specification for `load_clip`; None for the demo's own with the demo generator, else the paper's two.
        device: see `pick_device`.
        snapshot_every: save the generator and the state every so many iterations; 0 for never, None for as often as the
            filmstrip has room.
        overwrite: replace an earlier run in that folder.
        progress: show a progress bar on stderr.
        style_images: pictures, or folders of them, that the target is taken from.

    Returns:
        The record: recipe, losses and layers of each iteration, seconds, and the files written.
    """
    every = ceil(config.iterations / STRIP_COLUMNS) if snapshot_every is None else snapshot_every
    if every < 0:
        raise UsageError(f"snapshot_every is {every}; it must be 0 (never) or more")
    place = pick_device(device)
    base = load_base(generator).to(place)
    config.layer_count(base)  # refuse what does not fit before CLIP is loaded or downloaded
    config.trained_layers(base)
    pictures = load_pictures(style_images, base.config.resolution) if style_images else None
    folder = RunFolder(out, overwrite)
    spec = clip or usual_clip(generator)
    run = adapt(base, load_clip(spec, place), config, None if pictures is None else pictures.to(place))
    notes = {"generator": generator, "clip": spec, "style_images": [str(path) for path in style_images]}
    return Keeper(run, folder, {**notes, "snapshot_every": every, "device": str(place)}).train(progress)


def run_resume(
    path: Path,
    iterations: int | None = None,
    generator: str | None = None,
    clip: str | None = None,
    device: str = "auto",
    snapshot_every: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Go on with a run that was stopped, or with one that is done, to more iterations.

    Args:
        path: the folder of the run.
        iterations: of the whole run; None for what it was started with.
        generator, clip: where they are now; None for where they were.
        device, snapshot_every, progress: see `run_adapt`.

    Returns:
        The record of the whole run.

    Raises:
        UsageError: the run is done, or its models have changed.
        NadaError: there is no run, or its state is damaged.
    """
    state = load_state(path / STATE)
    config = AdaptConfig.from_recipe(state.recipe)
    config = replace(config, iterations=iterations or config.iterations)
    if (done := state.recipe["iterations_done"]) >= config.iterations:
        raise UsageError(f"the run in {path} has done {done} iterations; give --iterations with more, to go on")
    notes = state.notes | {k: v for k, v in {"generator": generator, "clip": clip}.items() if v}
    if snapshot_every is not None:
        notes["snapshot_every"] = snapshot_every
    place = pick_device(device)
    base = load_base(notes["generator"]).to(place)
    run = adapt(base, load_clip(notes["clip"], place), config, resume=state)
    folder = RunFolder(path, resume=True)
    if done not in folder.snapshots():  # what was the result until now can still be picked
        folder.save_snapshot(run.trained, done)
    return Keeper(run, folder, {**notes, "device": str(place)}).train(progress)


class Keeper:
    """Trains, and keeps what a run shall leave behind: snapshots, the state to go on from, history and pictures.

    Args:
        run: about to begin, or to go on.
        folder: for its files.
        notes: JSON-able: what the run was started with; of one that goes on, its history too.
    """

    def __init__(self, run: Adaptation, folder: RunFolder, notes: dict[str, Any]):
        self.run, self.folder, self.notes = run, folder, notes
        self.history = History(run, notes.pop("history", None))

    def train(self, progress: bool = True) -> dict[str, Any]:
        """Iterate to the end or to Ctrl-C; returns the record."""
        total, interrupted = len(self.run), False
        try:
            with Interrupt() as interrupt, tqdm(total=total, initial=self.run.iteration, disable=not progress) as bar:
                for step in sparing(self.run, self.run, spared):
                    bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
                    bar.update()
                    self.keep(step)
                    if interrupt.requested and step.iteration < total:
                        interrupted = True
                        break
        except BaseException:
            if last := self.folder.files.get("last_snapshot"):
                log.warning("the last snapshot is kept in %s", last)
            raise
        return self.finish(interrupted)

    def keep(self, step: AdaptStep) -> None:
        """Write down a step; where it is one for it, save snapshot and state."""
        self.history.add(step)
        every = self.notes["snapshot_every"]
        if every and step.iteration % every == 0 and step.iteration < len(self.run):
            self.folder.save_snapshot(step.generator, step.iteration)
            self.folder.save_state(self.state())

    def finish(self, interrupted: bool) -> dict[str, Any]:
        """Save the result, its pictures and the record."""
        run, folder = self.run, self.folder
        folder.save_generator(run.trained, result_name(run.recipe()))
        folder.save_state(self.state())
        ws = sample_latents(run.frozen, PREVIEWS, run.config.seed, PREVIEW_PSI)
        before, after = generate(run.frozen, ws), generate(run.trained, ws)
        style = folder.path / f"{result_name(run.recipe())}.style.safetensors"
        save_style(Style.between(run.frozen, run.trained, preview=encode(before, after)), style)
        folder.files["style"] = str(style)
        folder.save_picture(before_after(before, after, run.labels), "before_after")
        folder.save_picture(self.filmstrip(ws[:STRIP_ROWS]), "filmstrip")
        folder.save_picture(self.history.loss_plot(), "loss")
        folder.save_picture(self.history.layer_map(), "layers")
        record = {"recipe": run.recipe(), "folder": str(folder.path), "files": folder.files, **self.notes}
        record |= self.history.packed()
        record |= {"seconds": round(record["seconds"], 3), "interrupted": interrupted}
        folder.save_record(record)
        return record

    def state(self) -> RunState:
        """All that is needed to go on."""
        return self.run.state(**self.notes, history=self.history.packed())

    def filmstrip(self, ws: Tensor) -> Image.Image:
        """The start, up to five of the snapshots at even distances, and the result."""
        files = sorted(self.folder.snapshots().items())
        stride = max(ceil(len(files) / (STRIP_COLUMNS - 1)), 1)
        frames = [("start", generate(self.run.frozen, ws))]
        for iteration, path in files[stride - 1 :: stride]:
            frames.append((str(iteration), generate(load_generator(path).to(self.run.frozen.device), ws)))
        return filmstrip([*frames, (str(self.run.iteration), generate(self.run.trained, ws))])


def spared(sentence: str) -> None:
    """Out of memory, and with smaller pieces on again."""
    torch.cuda.empty_cache()  # does nothing where there is no CUDA
    log.warning(sentence)
