"""`nada adapt`: a training from start or state to a folder of results, as functions to a JSON-able record."""

from __future__ import annotations

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

from .adapt import Adaptation, AdaptStep, adapt
from .checkpoint import load_generator, save_generator
from .clip.loading import DEMO, load_clip
from .commands import PREVIEW_PSI, PREVIEWS, STRIP_COLUMNS, STRIP_ROWS, load_base, pick_device, usual_clip
from .errors import UsageError
from .interrupt import Interrupt
from .latents.rendering import generate
from .latents.sampling import device_of, sample_latents
from .pictures.convert import load_pictures
from .pictures.grids import before_after, filmstrip
from .runs.folder import STATE, RunFolder, find_snapshots
from .runs.history import History
from .runs.names import result_name
from .runs.out_of_memory import sparing
from .style_commands import leave_style
from .training.config import AdaptConfig
from .training.state import RunState, load_state

log = logging.getLogger(__name__)


def run_adapt(
    config: AdaptConfig,
    out: Path,
    generator: str = DEMO,
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
        folder.files["style"] = leave_style(run.frozen, run.trained, before, after, style)
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
            frames.append((str(iteration), generate(load_generator(path).to(device_of(self.run.frozen)), ws)))
        return filmstrip([*frames, (str(self.run.iteration), generate(self.run.trained, ws))])


def spared(sentence: str) -> None:
    """Out of memory, and with smaller pieces on again."""
    torch.cuda.empty_cache()  # does nothing where there is no CUDA
    log.warning(sentence)


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
