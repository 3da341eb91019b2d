"""Read images of adaptations with what was seen in them, for a judge to learn from: see adaptations.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from rows import Rows
from safetensors.torch import load_file
from torch import Tensor

from nada.demo.world import SPECIES, STYLES

SEEN_AS = Path(__file__).with_name("seen_as.json")
NONE = "none"
HELD_OUT = 32  # number of images of each moment, the first, that no training sees


@dataclass(frozen=True)
class Labeled(Rows):
    """Images of adaptations, and what was seen in them.

    Attributes:
        images: [N, 3, H, W], bytes.
        styles, species: index of each picture's, [N]; one more than the last for "none", -1 where nothing is said.
    """

    images: Tensor
    styles: Tensor
    species: Tensor


def read_labeled(folder: Path, held_out: bool) -> Labeled:
    """Read the images in a folder of which `seen_as.json` says something.

    Args:
        folder: where adaptations.py wrote them.
        held_out: whether to read those that no training sees, or all others.

    Raises:
        ValueError: the folder lacks a run that the file names.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for name, moments in json.loads(SEEN_AS.read_text("utf-8")).items():
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            raise ValueError(f"{folder} lacks {path.name}; make it with adaptations.py --out {folder}")
        tensors = load_file(path)
        for moment, seen in moments.items():
            images = tensors[moment].permute(0, 3, 1, 2)
            images = images[:HELD_OUT] if held_out else images[HELD_OUT:]
            style, species = _index(seen.get("style"), STYLES), _index(seen.get("species"), SPECIES)
            parts.append((images, *(torch.full((len(images),), answer) for answer in (style, species))))
    return Labeled(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _index(name: str | None, names: tuple[str, ...]) -> int:
    if name is None:
        return -1
    return len(names) if name == NONE else names.index(name)
