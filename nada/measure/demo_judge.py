"""The judge: a small classifier for pictures of the demo world, which no training of an adaptation uses.

It estimates the style, the species and the parameters of a picture, drawn or generated. An adaptation can score well
with the CLIP models that train it and still miss the target. The judge is independent of those models.
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

KEY, VERSION = "judge", 1  # key and version of the judge's description in the file's metadata
SHAPE = {
    "styles": [str],
    "species": [str],
    "parameters": [str],
    "words": {str: [str]},
    "readable?": {str: [NUMBER]},
    "spreads?": {str: [NUMBER]},
}
MAX_BYTES = 1 << 26  # the included judge has about 2 MB
SIZE, WIDTHS, HIDDEN = 64, (24, 48, 80, 112), 160
POSE = ("x", "y", "size", "tilt")
READABLE = 0.5  # smallest correlation of a readable parameter, for each kind of picture


@dataclass(frozen=True)
class Reading:
    """The judge's estimates for N pictures."""

    styles: Tensor
    """[N, styles], probabilities."""
    species: Tensor
    """[N, species], probabilities."""
    parameters: Tensor
    """[N, parameters], about in 0..1."""


class Judge(nn.Module):
    """Estimates the style, species and parameters of pictures of the demo world.

    Attributes:
        style_names, species_names, parameter_names: names for the columns of a `Reading`, in order.
        words: {phrase: ("style" or "species", name)}, the phrases for each style and species.
        readable: {"style species": [correlation of each parameter's estimates with the true values]}, on drawings that
            the judge was not trained on.
        spreads: {"style species": [standard deviation of each parameter's estimates]}, on the same drawings. Estimates
            of a parameter that is hard to read vary less than its true values.
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
        """Map images [N, 3, H, W] in about [-1, 1] to logits of styles and species, and parameters, each [N, ...]."""
        if images.shape[-2:] != (SIZE, SIZE):
            images = resized(images, (SIZE, SIZE))
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        x = self.head(F.silu(self.hidden(x.flatten(1))))
        return x.split(self.sizes, dim=1)

    @torch.no_grad()
    def read(self, images: Tensor, batch: int = 64) -> Reading:
        """Return the estimates for images [N, 3, H, W] in about [-1, 1], clamped as in a picture file."""
        device = self.head.weight.device
        parts = [self(part.clamp(-1, 1).to(device)) for part in images.split(batch)]
        styles, species, parameters = (torch.cat(column).float().cpu() for column in zip(*parts, strict=True))
        return Reading(styles.softmax(1), species.softmax(1), parameters)

    def measures(self, target: str) -> Callable[[Tensor, Tensor, dict[str, str]], dict[str, float]]:
        """Return `judge_measures` for a target text, as a function that `evaluate` takes as `extra`."""
        return partial(judge_measures, self, target)

    def meaning(self, phrase: str) -> tuple[str, str] | None:
        """Return ("style" or "species", name) for a phrase, or None if the judge does not know the phrase."""
        return self.words.get(phrase.strip().lower())

    def readable_parameters(self, style: str, species: str) -> list[int]:
        """Return the indices of the parameters that the judge can read from drawings of a style and species."""
        return [i for i, r in enumerate(self.readable.get(f"{style} {species}", ())) if r >= READABLE]

    def in_proportion(self, parameters: Tensor, style: str, species: str) -> Tensor:
        """Divide estimates [N, parameters] by their standard deviation on drawings of the same style and species."""
        spread = self.spreads.get(f"{style} {species}")
        return parameters if spread is None else parameters / torch.tensor(spread)


def judge_measures(
    judge: Judge, target: str, before: Tensor, after: Tensor, left_out: dict[str, str]
) -> dict[str, float]:
    """Measure how many images show the target, and how much of each original face is kept.

    Args:
        judge: the judge.
        target: text of the target, one of `judge.words`.
        before, after: images [N, 3, R, R] of the same latents, before and after the adaptation.
        left_out: {measure: reason}, to which a reason is added if the judge does not know the target.

    Returns:
        {measure: value}; empty if the judge does not know the target.
    """
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
    """Load the included judge, or one that tools/demo_world/train_judge.py trained.

    Raises:
        NadaError: the file does not hold a judge.
    """
    description, tensors = read_own_file(path, KEY, VERSION, "judge", SHAPE, MAX_BYTES)
    judge = Judge(description)
    try:
        judge.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise NadaError(f"{path} cannot be read as a judge: {reason}; leave it out for the included judge") from error
    return judge.eval().requires_grad_(False).to(device)


def judge_for(generator: Generator, device: str | torch.device = "cpu") -> Judge | None:
    """Return the included judge for a generator of the demo world, or None for any other generator.

    Args:
        generator: generator whose images are to be measured.
        device: device to load the judge to.
    """
    source = generator.metadata.get("source")
    known = isinstance(source, dict) and source.get("format") == demo.WORLD
    return load_judge(device=device) if known else None
