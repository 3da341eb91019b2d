"""What the commands do, as functions from plain arguments to a JSON-able result."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .catalog import PUBLISHED, PUBLISHED_CLIPS, find_published
from .checkpoint import load_generator, save_generator
from .downloading import download
from .errors import UsageError
from .images import make_grid, to_pil
from .latents import generate, sample_latents
from .run_folder import RunFolder
from .stylegan2 import Generator

log = logging.getLogger(__name__)

CACHE = Path("~/.cache/stylegan-nada")  # converted copies of others' checkpoints; the folder may be deleted


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
    return load_generator(source, CACHE.expanduser())


def run_generate(
    generator: str, out: Path, count: int, seed: int, psi: float, noise: str, batch: int, device: str
) -> dict[str, Any]:
    """Write `count` images of a generator and a grid of them into a new folder. Image i is that of seed + i."""
    if out.exists() and any(out.glob("*.png")):
        raise UsageError(f"{out} holds pictures already; choose another folder")
    model: Generator = load_base(generator).to(pick_device(device))
    folder = RunFolder(out)
    images = generate(model, sample_latents(model, count, seed, psi), noise, seed, batch)
    for i, picture in enumerate(to_pil(images)):
        folder.save_picture(picture, f"seed_{seed + i:06d}")
    folder.save_picture(make_grid(images), "grid")
    return {"generator": generator, "seed": seed, "psi": psi, "noise": noise, "folder": str(out), "files": folder.files}


def run_convert(source: str, target: Path, overwrite: bool) -> dict[str, Any]:
    """Write any generator that can be read as safetensors."""
    if target.suffix != ".safetensors":
        raise UsageError(f"{target} does not end in .safetensors; that is the format written")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists; choose another name, or add --overwrite to replace it")
    generator = load_generator(source)
    save_generator(generator, target)
    return {"source": source, "file": str(target), "bytes": target.stat().st_size, "notes": _notes(generator)}


def run_models(name: str | None, folder: Path) -> dict[str, Any]:
    """The published models; with a name, download that generator into a folder."""
    if name is None:
        rows = [{**asdict(m), "file": m.file} for m in PUBLISHED]
        return {"generators": rows, "clips": [asdict(clip) for clip in PUBLISHED_CLIPS]}
    model = find_published(name)
    log.info("%s from %s; license: %s", model.label, model.url, model.license)
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
