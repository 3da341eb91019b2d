"""What the commands do, as functions from plain arguments to a JSON-able result."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .adapt import Adaptation, AdaptStep, adapt
from .catalog import PUBLISHED, PUBLISHED_CLIPS, find_published
from .checkpoint import load_generator, save_generator, save_rosinality
from .clip import DEMO, PAPER_SPEC, load_clip
from .config import AdaptConfig
from .downloading import download
from .errors import UsageError
from .files import CACHE
from .images import before_after, filmstrip, make_grid, plot, to_pil
from .interrupt import Interrupt
from .latents import generate, sample_latents
from .mapper import load_mapper
from .run_folder import RunFolder, slug
from .style_commands import leave_style, split_spec, styled
from .stylegan2 import Generator

log = logging.getLogger(__name__)

PREVIEWS = 12  # latents in the before-and-after picture
STRIP_ROWS, STRIP_COLUMNS = 4, 6  # latents followed in the filmstrip, and moments shown beside the start
PREVIEW_PSI = 0.7
CONVERTED = CACHE / "converted"  # copies of others' checkpoints


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one; anything else is PyTorch's name for a device.

    Raises:
        UsageError: PyTorch does not know the device, or cannot use it here.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"the device {name!r} cannot be used here; try cpu, cuda or mps") from error
    return device


def load_base(source: str) -> Generator:
    """A generator from a file or "demo", on the CPU; a slow format leaves a copy that loads fast the next time."""
    return load_generator(source, CONVERTED.expanduser())


def run_adapt(
    config: AdaptConfig,
    out: Path,
    generator: str = DEMO,
    clip: str | None = None,
    device: str = "auto",
    snapshot_every: int = 50,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Adapt a generator and leave everything in a folder. Ctrl-C ends it after the step under way and keeps the result.

    Args:
        config: what to adapt to, and how.
        out: the folder.
        generator: a file, or "demo".
        clip: a specification for `load_clip`; None for the demo's own with the demo generator, else the paper's two.
        device: see `pick_device`.
        snapshot_every: save the generator every so many iterations; 0 for never.
        overwrite: replace an earlier run in that folder.
        progress: show a progress bar on stderr.

    Returns:
        The record: recipe, losses and layers of each iteration, seconds, and the files written.
    """
    if snapshot_every < 0:
        raise UsageError(f"snapshot_every is {snapshot_every}; it must be 0 (never) or more")
    place = pick_device(device)
    base = load_base(generator).to(place)
    config.layer_count(base)  # refuse a wrong number before CLIP is loaded or downloaded
    folder = RunFolder(out, overwrite)
    judge = load_clip(clip or (DEMO if generator == DEMO else PAPER_SPEC), place)
    run = adapt(base, judge, config)
    ws = sample_latents(base, PREVIEWS, config.seed, PREVIEW_PSI)
    frames = [("start", generate(base, ws[:STRIP_ROWS]))]
    record: dict[str, Any] = {"device": str(place), "losses": [], "layers": [], "interrupted": False}
    began = time.perf_counter()
    try:
        with Interrupt() as interrupt, tqdm(total=len(run), unit="it", disable=not progress) as bar:
            for step in run:
                record["losses"].append({name: float(loss) for name, loss in step.losses.items()})
                record["layers"].append(list(step.layers))
                bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
                bar.update()
                _keep(step, run, folder, frames, ws, snapshot_every)
                if interrupt.requested and step.iteration < len(run):
                    record["interrupted"] = True
                    break
    except BaseException:
        if last := folder.files.get("last_snapshot"):
            log.warning("the last snapshot is kept in %s", last)
        raise
    record["seconds"] = round(time.perf_counter() - began, 3)
    return _finish(run, folder, frames, ws, record)


def _keep(step: AdaptStep, run: Adaptation, folder: RunFolder, frames: list, ws: Tensor, snapshot_every: int) -> None:
    """Save a snapshot and picture the state, where this step is one for it."""
    last = step.iteration == len(run)
    if snapshot_every and step.iteration % snapshot_every == 0 and not last:
        folder.save_snapshot(step.generator, step.iteration)
    if step.iteration % -(-len(run) // STRIP_COLUMNS) == 0 and not last:
        frames.append((str(step.iteration), generate(step.generator, ws[:STRIP_ROWS])))


def _finish(run: Adaptation, folder: RunFolder, frames: list, ws: Tensor, record: dict[str, Any]) -> dict[str, Any]:
    config = run.config
    name = f"{slug(config.source)}_to_{slug(config.target)}"
    folder.save_generator(run.trained, name)
    before, after = generate(run.frozen, ws), generate(run.trained, ws)
    style = folder.path / f"{name}.style.safetensors"
    folder.files["style"] = leave_style(run.frozen, run.trained, before, after, style)
    frames.append((str(run.iteration), after[:STRIP_ROWS]))
    folder.save_picture(before_after(before, after, (config.source, config.target)), "before_after")
    folder.save_picture(filmstrip(frames), "filmstrip")
    curves = {name: [losses[name] for losses in record["losses"]] for name in record["losses"][0]}
    folder.save_picture(plot(curves), "loss")
    record = {"recipe": run.recipe(), "folder": str(folder.path), "files": folder.files, **record}
    folder.save_record(record)
    return record


def run_generate(
    generator: str,
    out: Path,
    count: int,
    seed: int,
    psi: float,
    label: int,
    noise: str,
    batch: int,
    device: str,
    styles: Sequence[str] = (),
    mapper: str | None = None,
) -> dict[str, Any]:
    """Write `count` images of a generator and a grid of them into a new folder. Image i is that of seed + i.

    Styles change the generator, and a mapper the codes, each given as FILE or FILE:STRENGTH.
    """
    if out.exists() and any(out.glob("*.png")):
        raise UsageError(f"{out} holds pictures already; choose another folder")
    base = load_base(generator)
    model = styled(base, styles).to(pick_device(device))
    ws = sample_latents(model, count, seed, psi, label=label)  # refuses a wrong class
    if mapper:
        ws = _mapped(ws, mapper, base)
    folder = RunFolder(out)
    images = generate(model, ws, noise, seed, batch)
    for i, picture in enumerate(to_pil(images)):
        folder.save_picture(picture, f"seed_{seed + i:06d}")
    folder.save_picture(make_grid(images), "grid")
    asked = {"generator": generator, "styles": list(styles), "seed": seed, "psi": psi, "noise": noise}
    return {**asked, "folder": str(out), "files": folder.files}


def _mapped(ws: Tensor, spec: str, generator: Generator) -> Tensor:
    """Codes as a mapper moves them, given as FILE or FILE:STRENGTH."""
    path, strength = split_spec(spec)
    mapper = load_mapper(path).to(ws.device)
    if mapper.metadata.get("base") != generator.fingerprint():
        log.warning("%s was trained with another generator; what it finds in this one may differ", path)
    return mapper(ws, strength)


def run_convert(source: str, target: Path, overwrite: bool) -> dict[str, Any]:
    """Write any generator that can be read as safetensors, or as rosinality's .pt for other programs."""
    if target.suffix not in (".safetensors", ".pt"):
        raise UsageError(f"{target} does not end in .safetensors or .pt; those are the formats written")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists; choose another name, or add --overwrite to replace it")
    generator = load_generator(source)
    notes = _notes(generator)
    if target.suffix == ".pt":
        notes = [*notes, *save_rosinality(generator, target)]
    else:
        save_generator(generator, target)
    return {"source": source, "file": str(target), "bytes": target.stat().st_size, "notes": notes}


def run_models(name: str | None, folder: Path) -> dict[str, Any]:
    """The published models; with a name, download that one into a folder."""
    if name is None:
        rows = [{**asdict(m), "file": m.file} for m in PUBLISHED]
        return {"generators": rows, "clips": [{**asdict(c), "file": c.file, "url": c.url} for c in PUBLISHED_CLIPS]}
    model = find_published(name)
    log.info("%s, %d MB, from %s; license: %s", name, model.megabytes, model.url, model.license)
    path, notes = download(model, folder)
    return {"name": name, "file": str(path), "bytes": path.stat().st_size, "license": model.license, "notes": notes}


def _notes(generator: Generator) -> list[str]:
    return generator.metadata.get("notes", [])


def explain(error: BaseException) -> str:
    """One sentence for any failure that a user can meet."""
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "the device has not enough memory; use a smaller --batch or --select-batch, one CLIP model, or --device cpu"
        )
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return str(error)
