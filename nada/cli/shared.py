"""Helpers of several verbs: choose a device, open generators and styles."""

from __future__ import annotations

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
from ..published.catalog import PUBLISHED_CLIPS
from ..seeding import SEEDS
from ..styles.files import load_style
from ..styles.style import apply_style

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
        torch.zeros(1, device=device).item()  # the device "meta" makes tensors without numbers
    except (RuntimeError, AssertionError, ValueError, ImportError) as error:
        raise UsageError(f"the device {name!r} cannot be used here; try cpu, cuda or mps") from error
    return device


def load_base(source: str) -> Generator:
    """Load a generator on the CPU. A converted copy of a slow format is kept, which loads faster the next time."""
    return load_generator(source, CONVERTED.expanduser())


def check_seed(seed: int) -> None:
    """Refuse seeds of more than 64 bits, which repeat those of 64 and are too long for file names.

    Raises:
        UsageError: it is one.
    """
    if not abs(seed) < SEEDS:
        raise UsageError(f"the seed is {seed}; it must be in {1 - SEEDS}..{SEEDS - 1}")


def storable(path: str) -> str:
    r"""A path for the notes of a run. Bytes that are not UTF-8 become escapes such as ``\udcff``, as no file of ours
    holds half characters; such a path must be given again to resume.
    """
    return path.encode("utf-8", "backslashreplace").decode()


def split_spec(spec: str) -> tuple[str, float]:
    """FILE[:STRENGTH] -> path and strength; a colon before anything but a number belongs to the path."""
    path, colon, number = spec.rpartition(":")
    try:
        return (path, float(number)) if colon and path else (spec, 1.0)
    except ValueError:
        return spec, 1.0


def styled(generator: Generator, specs: Iterable[str]) -> Generator:
    """A generator with styles, each given as FILE or FILE:STRENGTH."""
    for spec in specs:
        path, strength = split_spec(spec)
        generator = apply_style(generator, load_style(path), strength)
    return generator


def demo_base(recipe: Mapping[str, Any]) -> str | None:
    """Name of the demo generator that a recipe started from; None if it was another one."""
    return next((name for name in demo.GENERATORS if load_base(name).fingerprint() == recipe.get("base")), None)


def recorded_clip(models: Sequence[Mapping[str, Any]], what: str) -> str:
    """The specification of the CLIP models that the recipe in a file names.

    Files come from strangers: they name models, and which file is opened or downloaded is the user's choice.

    Args:
        models: "clip" of the recipe.
        what: the file or folder, for the message.

    Raises:
        UsageError: a name is neither of the demo's models nor of the catalog.
    """
    known = _known_clips()
    for model in models:
        if model["name"] not in known:
            raise UsageError(
                f"{what} was adapted with the CLIP model {ascii(model['name'])[:100]}, which is not one of "
                f"{', '.join(sorted(known))}. Say with --clip where it is, or choose another, such as --clip ViT-B/32"
            )
    return ",".join(f"{model['name']}:{model['weight']}" for model in models)


def stored_clip(spec: str, what: str) -> str:
    """The specification that a run was started with, if it can be opened without asking.

    Raises:
        UsageError: an entry is neither on this machine nor a model that is known; it would be downloaded.
    """
    for entry in ClipSpec.parse(spec):
        _, at, weights = entry.source.partition("@")
        here = Path(weights if at else entry.source).exists()
        if not here and not all(part.source in _known_clips() for part in entry.parts()):
            raise UsageError(f"{what} names the CLIP model {ascii(entry.source)[:100]}; say with --clip where it is")
    return spec


def _known_clips() -> set[str]:
    """Names of the models that are included or in the catalog."""
    return {*demo.CLIPS, *(model.name for model in PUBLISHED_CLIPS)}
