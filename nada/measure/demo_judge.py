"""The judge: a small classifier that knows the demo world, and that no adaptation is trained with.

It looks at pictures of the demo world, drawn or generated, and tells style, species, and the numbers behind the face.
A generator can please the CLIP that trains it without making what the words say; it has never seen this network.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import demo
from ..checkpoint.metadata import NUMBER
from ..checkpoint.own_files import read_own_file
from ..clip.resizing import resized
from ..demo.network import Stage
from ..errors import NadaError
from ..generators import Generator
from .metrics import correlations, found_again, spread_kept

KEY, VERSION = "judge", 1  # of its description in the file's metadata
SHAPE = {
    "styles": [str],
    "species": [str],
    "parameters": [str],
    "words": {str: [str]},
    "readable?": {str: [NUMBER]},
    "spreads?": {str: [NUMBER]},
}
MAX_BYTES = 1 << 26  # the one on board has about 2 MB
SIZE, WIDTHS, HIDDEN = 64, (24, 48, 80, 112), 160
POSE = ("x", "y", "size", "tilt")
READABLE = 0.5  # correlation from which on a parameter counts as readable in pictures of some kind


@dataclass(frozen=True)
class Reading:
    """What the judge sees in N pictures."""

    styles: Tensor
    """[N, styles], probabilities."""
    species: Tensor
    """[N, species], probabilities."""
    parameters: Tensor
    """[N, parameters], about in 0..1."""


class Judge(nn.Module):
    """Tells style, species and parameters of pictures of the demo world.

    Attributes:
        style_names, species_names, parameter_names: what it tells, in order.
        words: {phrase: ("style" or "species", name)}, what people call them.
        readable: {"style species": [correlation of each parameter]} with the truth, on drawings it was not trained on.
        spreads: {"style species": [standard deviation of what is read]} on the same drawings. What is hard to tell is
            read as about the same in all of them: less varied than it is.
    """

    def __init__(self, description: dict[str, Any]):
        super().__init__()
        self.style_names, self.species_names = tuple(description["styles"]), tuple(description["species"])
        self.parameter_names = tuple(description["parameters"])
        self.sizes = [len(self.style_names), len(self.species_names), len(self.parameter_names)]
        self.words = {phrase: tuple(meaning) for phrase, meaning in description["words"].items()}
        self.readable, self.spreads = (dict(description.get(name, {})) for name in ("readable", "spreads"))
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2)
        pairs = pairwise(WIDTHS)
        self.stages = nn.ModuleList(Stage(narrow, wide) for narrow, wide in pairs)
        self.hidden = nn.Linear(WIDTHS[-1] * (SIZE // 16) ** 2, HIDDEN)
        self.head = nn.Linear(HIDDEN, sum(self.sizes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images [N, 3, H, W] in about [-1, 1] -> logits of styles and species, and parameters, each [N, ...]."""
        if images.shape[-2:] != (SIZE, SIZE):
            images = resized(images, (SIZE, SIZE))
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        x = self.head(F.silu(self.hidden(x.flatten(1))))
        return x.split(self.sizes, dim=1)

    @torch.no_grad()
    def read(self, images: Tensor, batch: int = 64) -> Reading:
        """What is seen in images [N, 3, H, W] in about [-1, 1] (clamped here, as a picture file would)."""
        device = self.head.weight.device
        parts = [self(part.clamp(-1, 1).to(device)) for part in images.split(batch)]
        styles, species, parameters = (torch.cat(column).float().cpu() for column in zip(*parts, strict=True))
        return Reading(styles.softmax(1), species.softmax(1), parameters)

    def measures(self, target: str) -> Callable[[Tensor, Tensor, dict[str, str]], dict[str, float]]:
        """`judge_measures` for a target text, as `evaluate` takes it."""
        return partial(judge_measures, self, target)

    def meaning(self, phrase: str) -> tuple[str, str] | None:
        """("style" or "species", name) of a phrase, or None if it is of neither."""
        return self.words.get(phrase.strip().lower())

    def readable_parameters(self, style: str, species: str) -> list[int]:
        """Indices of the parameters that can be told from drawings of that kind."""
        return [i for i, r in enumerate(self.readable.get(f"{style} {species}", ())) if r >= READABLE]

    def in_proportion(self, parameters: Tensor, style: str, species: str) -> Tensor:
        """Readings [N, parameters] of pictures of that kind, by how much those of true drawings vary."""
        spread = self.spreads.get(f"{style} {species}")
        return parameters if spread is None else parameters / torch.tensor(spread)


def judge_measures(
    judge: Judge, target: str, before: Tensor, after: Tensor, left_out: dict[str, str]
) -> dict[str, float]:
    """How many are what was asked for, and what is left of each face. Images [N, 3, R, R] of the same latents."""
    meaning = judge.meaning(target)
    if meaning is None:
        left_out["target rate"] = f"the judge knows no {target!r}; it knows {', '.join(sorted(judge.words))}"
        return {}
    was, now = judge.read(before), judge.read(after)
    style, species = (
        names[_most(p)] for names, p in ((judge.style_names, was.styles), (judge.species_names, was.species))
    )
    group, name = meaning
    said, names, kept, kept_names, other = (
        (now.styles, judge.style_names, now.species, judge.species_names, species)
        if group == "style"
        else (now.species, judge.species_names, now.styles, judge.style_names, style)
    )
    found = {
        "target rate": _rate(said, names.index(name)),
        "rest kept": _rate(kept, kept_names.index(other)),
    }
    kinds = [(style, species), (name, species) if group == "style" else (style, name)]
    readable = set(judge.readable_parameters(*kinds[0])) & set(judge.readable_parameters(*kinds[1]))
    read = [judge.in_proportion(seen.parameters, *kind) for seen, kind in zip((was, now), kinds, strict=True)]
    r, spread = correlations(*read), spread_kept(*read)
    for title, indices in (
        ("parameters", sorted(readable)),
        ("pose", [i for i in sorted(readable) if judge.parameter_names[i] in POSE]),
    ):
        if indices:
            found[f"{title} correlation"] = r[indices].mean().item()
            found[f"{title} spread kept"] = spread[indices].mean().item()
    if readable:
        found["found again by the judge"] = found_again(*(parameters[:, sorted(readable)] for parameters in read))
    return found


def _most(probabilities: Tensor) -> int:
    return int(probabilities.mean(0).argmax())


def _rate(probabilities: Tensor, index: int) -> float:
    return (probabilities.argmax(1) == index).float().mean().item()


def load_judge(path: str | os.PathLike[str] = demo.JUDGE, device: str | torch.device = "cpu") -> Judge:
    """The judge that comes along, or one that was trained by tools/demo_world/train_judge.py.

    Raises:
        NadaError: the file is not that of a judge.
    """
    description, tensors = read_own_file(path, KEY, VERSION, "judge", SHAPE, MAX_BYTES)
    judge = Judge(description)
    try:
        judge.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise NadaError(f"{path} cannot be read as a judge: {reason}; leave it out for the one on board") from error
    return judge.eval().requires_grad_(False).to(device)


def judge_for(generator: Generator, device: str | torch.device = "cpu") -> Judge | None:
    """The judge that comes along, for generators of the demo world; None for others, which it does not know."""
    source = generator.metadata.get("source")
    known = isinstance(source, dict) and source.get("format") == demo.WORLD
    return load_judge(device=device) if known else None
