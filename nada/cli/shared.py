"""Helpers shared by several verbs: choose a device, open generators, styles and CLIP models."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import demo
from ..checkpoint import load_generator
from ..clip.loading import ClipSpec
from ..errors import UsageError
from ..files import CACHE
from ..generators import Generator
from ..published.catalog import PUBLISHED, PUBLISHED_CLIPS, AnyPublished, find_published
from ..published.download import download
from ..seeding import SEEDS
from ..styles.files import load_style
from ..styles.style import apply_style

log = logging.getLogger(__name__)
CONVERTED = CACHE / "converted"  # cached copies of checkpoints in slow formats
DOWNLOADED = CACHE / "models"  # downloads of published models that were given by name


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the GPU if there is one, else the CPU.

    Raises:
        UsageError: PyTorch does not know the device, or cannot use it here.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # fails on the device "meta", whose tensors hold no numbers
    except (RuntimeError, AssertionError, ValueError, ImportError) as error:
        raise UsageError(f"the device {name!r} cannot be used here; give --device auto or cpu") from error
    return device


def load_base(source: str) -> Generator:
    """Load a generator on the CPU. A slow format is cached as a converted copy, which loads faster the next time."""
    return load_generator(local_model(source), CONVERTED.expanduser())


def is_published(source: str) -> bool:
    """Whether this is the name of a published generator or encoder, and no file has that name."""
    return any(model.name == source for model in PUBLISHED) and not Path(source).is_file()


def local_model(source: str) -> str:
    """Return the path of a published model given by name, downloaded into the cache on first use, else `source`.

    Raises:
        NadaError: the download failed; the message says what to do.
    """
    if not is_published(source):
        return source
    path, notes = fetch(find_published(source), DOWNLOADED.expanduser())
    log.info("%s", " ".join(notes))
    return str(path)


def fetch(model: AnyPublished, folder: Path) -> tuple[Path, list[str]]:
    """Log the size, source and license of a published model, and download it; see `download`."""
    log.info("%s, %d MB, from %s; license: %s", model.name, model.megabytes, model.url, model.license)
    return download(model, folder)


def existing_folder(path: Path, what: str) -> Path:
    """Return a folder that has to exist.

    Raises:
        UsageError: there is no such folder; the message asks for the folder of `what`.
    """
    if not path.is_dir():
        raise UsageError(f"there is no folder {str(path)!r}; give the folder of a {what}")
    return path


def check_seed(seed: int) -> None:
    """Refuse a seed of more than 64 bits: it would repeat a smaller seed, and is too long for a file name.

    Raises:
        UsageError: the seed is out of range.
    """
    if not abs(seed) < SEEDS:
        raise UsageError(f"the seed is {seed}; it must be in {1 - SEEDS}..{SEEDS - 1}")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Check that a file may be written.

    Raises:
        UsageError: it exists, and `overwrite` is off.
    """
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; choose another name, or add --overwrite to replace it")


def check_target(path: Path, overwrite: bool, *endings: str) -> str:
    """Check that a file may be written, and return its ending in lower case, which names the format.

    Args:
        path: the file to write.
        overwrite: whether it may exist.
        endings: the endings that are allowed, in lower case; none for ".safetensors" alone.

    Raises:
        UsageError: the file has another ending, or exists without `overwrite`.
    """
    endings, ending = endings or (".safetensors",), path.suffix.lower()
    if ending not in endings:
        formats = "the format that is written" if len(endings) == 1 else "the formats that can be written"
        raise UsageError(f"{path} must end in {' or '.join(endings)}, {formats}")
    refuse_existing(path, overwrite)
    return ending


def split_spec(spec: str) -> tuple[str, float]:
    """Split FILE[:STRENGTH] into path and strength; a colon not followed by a number belongs to the path."""
    path, colon, number = spec.rpartition(":")
    try:
        return (path, float(number)) if colon and path else (spec, 1.0)
    except ValueError:
        return spec, 1.0


def styled(generator: Generator, specs: Iterable[str]) -> Generator:
    """Apply styles to a generator, each given as FILE or FILE:STRENGTH."""
    for spec in specs:
        path, strength = split_spec(spec)
        generator = apply_style(generator, load_style(path), strength)
    return generator


def demo_base(recipe: Mapping[str, Any]) -> str | None:
    """Name of the demo generator that a recipe started from, or None if it started from another one."""
    return next((name for name in demo.GENERATORS if load_base(name).fingerprint() == recipe.get("base")), None)


def recorded_clip(models: Sequence[Mapping[str, Any]], what: str) -> str:
    """The specification of the CLIP models that a recipe names.

    Recipes come in files from strangers, so only known names are accepted: opening or downloading anything else is
    the user's decision.

    Args:
        models: "clip" of the recipe.
        what: the file or folder of the recipe, for the error message.

    Raises:
        UsageError: a model is neither a demo model nor in the catalog.
    """
    known = _known_clips()
    for model in models:
        if model["name"] not in known:
            raise UsageError(
                f"{what} was adapted with the CLIP model {ascii(model['name'])[:100]}, which is not one of "
                f"{', '.join(sorted(known))}. Give its file with --clip, or choose another model, such as "
                "--clip ViT-B/32"
            )
    return ",".join(f"{model['name']}:{model['weight']}" for model in models)


def stored_clip(spec: str, what: str) -> str:
    """Check the CLIP specification stored with a run, and return it.

    Raises:
        UsageError: an entry is neither on this machine nor a known model, so it would be downloaded unasked.
    """
    for entry in ClipSpec.parse(spec):
        _, at, weights = entry.source.partition("@")
        here = Path(weights if at else entry.source).exists()
        if not here and not all(part.source in _known_clips() for part in entry.parts()):
            raise UsageError(
                f"{what} names the CLIP model {ascii(entry.source)[:100]}, which is not on this machine; give its file "
                "with --clip"
            )
    return spec


def _known_clips() -> set[str]:
    """Names of the CLIP models that are included or in the catalog."""
    return {*demo.CLIPS, *(model.name for model in PUBLISHED_CLIPS)}
