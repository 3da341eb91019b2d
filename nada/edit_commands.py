"""What the commands that move latent codes do: `nada mapper` and `nada optimize`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .checkpoint.saving import write_safetensors
from .clip.loading import DEMO, load_clip
from .clip.models import ClipEnsemble
from .commands import PREVIEW_PSI, PREVIEWS, STRIP_COLUMNS, STRIP_ROWS, load_base, pick_device, usual_clip
from .interrupt import Interrupt
from .latents.rendering import generate
from .latents.sampling import sample_latents
from .mapper import MapperConfig, MapperTraining, save_mapper, train_mapper
from .pictures.charts import plot
from .pictures.grids import before_after, filmstrip
from .runs.folder import RunFolder
from .runs.names import slug
from .stylegan2 import Generator
from .text_edits.optimize import Optimization, OptimizeConfig, optimize_latents


def run_mapper(
    config: MapperConfig,
    out: Path,
    generator: str = DEMO,
    clip: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a mapper and leave it in a folder with pictures. Ctrl-C ends it after the step under way and keeps it.

    Args:
        config: what to look for, and how.
        out: the folder.
        generator: a file, or "demo".
        clip: a specification for `load_clip`; None for the models that the generator was adapted with, or, if it was
            not, the demo's own with the demo generator, else the paper's two.
        device: see `pick_device`.
        overwrite: replace an earlier run in that folder.
        progress: show a progress bar on stderr.

    Returns:
        The record: recipe, losses of each iteration, seconds, and the files written.
    """
    base, place = load_base(generator), pick_device(device)
    config.build(base)  # refuse wrong bands before CLIP is loaded or downloaded
    folder = RunFolder(out, overwrite)
    run = train_mapper(base.to(place), _load_judge(base, generator, clip, place), config)
    ws = sample_latents(base, PREVIEWS, config.seed, config.psi)
    record = _follow(run, folder, ws, lambda: run.mapper(ws), progress)
    path = out / f"{slug(config.target)}_mapper.safetensors"
    save_mapper(run.mapper, path)
    return _finish(folder, {"mapper": path}, run, record)


def run_optimize(
    config: OptimizeConfig,
    out: Path,
    generator: str = DEMO,
    clip: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
    count: int = PREVIEWS,
    seed: int = 0,
    psi: float = PREVIEW_PSI,
) -> dict[str, Any]:
    """Optimize the latent codes of `count` images and leave codes and pictures in a folder; otherwise as `run_mapper`.

    Args:
        count, seed, psi: the images to start from: how many, the seed of the first, their truncation.
    """
    base, place = load_base(generator), pick_device(device)
    folder = RunFolder(out, overwrite)
    ws = sample_latents(base.to(place), count, seed, psi)
    run = optimize_latents(base, _load_judge(base, generator, clip, place), ws, config)
    record = _follow(run, folder, ws, lambda: run.codes.detach(), progress)
    path = out / f"{slug(config.target)}_codes.safetensors"
    write_safetensors({"ws": run.codes.detach().cpu().contiguous()}, {}, path)
    return _finish(folder, {"codes": path}, run, record)


def _load_judge(base: Generator, generator: str, clip: str | None, place: torch.device) -> ClipEnsemble:
    """The CLIP models that were asked for; else those that the generator was adapted with; else the usual ones."""
    match base.metadata.get("adaptations"):
        case [*_, {"clip": [{"name": str(), "weight": float()}, *_] as models}]:
            known = ",".join(f"{model['name']}:{model['weight']}" for model in models)
        case _:
            known = usual_clip(generator)
    return load_clip(clip or known, place)


def _follow(
    run: MapperTraining | Optimization,
    folder: RunFolder,
    ws: Tensor,
    moved: Callable[[], Tensor],
    progress: bool,
) -> dict[str, Any]:
    """Run to the end or to Ctrl-C, and save the pictures: of codes ws, and of what `moved` says they have become."""
    base: Generator = run.generator
    before = generate(base, ws)
    frames = [("start", before[:STRIP_ROWS])]
    losses: list[dict[str, float]] = []
    began = time.perf_counter()
    with Interrupt() as interrupt, tqdm(total=len(run), unit="it", disable=not progress) as bar:
        for step in run:
            losses.append({name: float(loss) for name, loss in step.losses.items()})
            bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
            bar.update()
            if interrupt.requested:
                break
            if step.iteration % -(-len(run) // STRIP_COLUMNS) == 0 and step.iteration < len(run):
                frames.append((str(step.iteration), generate(base, moved()[:STRIP_ROWS])))
    seconds = round(time.perf_counter() - began, 3)
    after = generate(base, moved())
    frames.append((str(run.iteration), after[:STRIP_ROWS]))
    folder.save_picture(before_after(before, after, ("before", run.config.target)), "before_after")
    folder.save_picture(filmstrip(frames), "filmstrip")
    folder.save_picture(plot({name: [step[name] for step in losses] for name in losses[0]}), "loss")
    interrupted = run.iteration < len(run)
    return {"device": str(ws.device), "losses": losses, "interrupted": interrupted, "seconds": seconds}


def _finish(
    folder: RunFolder, results: dict[str, Path], run: MapperTraining | Optimization, record: dict[str, Any]
) -> dict[str, Any]:
    folder.files = {**{name: str(path) for name, path in results.items()}, **folder.files}
    record = {"recipe": run.recipe(), "folder": str(folder.path), "files": folder.files, **record}
    folder.save_record(record)
    return record
