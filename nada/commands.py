"""What the commands do, as functions from plain arguments to a JSON-able result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import load_generator, save_generator, save_rosinality
from .checkpoint.loading import EMBEDDED
from .clip.loading import DEMO, PAPER_SPEC
from .errors import UsageError
from .files import CACHE
from .latents.rendering import generate
from .latents.sampling import sample_latents
from .mapper import load_mapper
from .pictures.convert import to_pil
from .pictures.grids import make_grid
from .published.catalog import PUBLISHED, PUBLISHED_CLIPS, find_published
from .published.download import download
from .runs.folder import RunFolder
from .style_commands import split_spec, styled
from .stylegan2 import Generator

log = logging.getLogger(__name__)

PREVIEWS = 12  # latents in the before-and-after picture
STRIP_ROWS, STRIP_COLUMNS = 4, 6  # latents followed in the filmstrip, and moments shown after the start
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
    """A generator from a file or of the package, on the CPU; a slow format leaves a copy that loads fast next time."""
    return load_generator(source, CONVERTED.expanduser())


def usual_clip(generator: str) -> str:
    """The CLIP models to adapt a generator with if nothing else is said: the demo's for those of the package."""
    return DEMO if generator in EMBEDDED else PAPER_SPEC


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
    half: bool = False,
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
    images = generate(model, ws, noise, seed, batch, half=half)
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
