"""The judge: a small open-set classifier for pictures of the demo world, which no training of an adaptation uses.

It estimates the style, the species and the parameters of a picture, drawn or generated, or says that the picture shows
none of the styles or species that it knows. An adaptation can score well with the CLIP models that train it and still
miss the target. The judge is independent of those models.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import demo
from ..checkpoint.metadata import NUMBER, damaged
from ..checkpoint.own_files import OwnKind, read_own_file
from ..clip.resizing import resized
from ..demo.network import Stage
from ..errors import NadaError
from ..generators import Generator
from .picture_checks import CHECKS

KEY, VERSION = "judge", 2  # key and version of the judge's description in the file's metadata
SHAPE = {
    "styles": [str],
    "species": [str],
    "parameters": [str],
    "words": {str: [str]},
    "readable?": {str: [NUMBER]},
    "spreads?": {str: [NUMBER]},
    "ranges?": {str: {str: [NUMBER]}},
}
KIND = OwnKind(KEY, VERSION, "judge", SHAPE, max_bytes=1 << 26)  # the included judge has about 2 MB
SIZE, WIDTHS, HIDDEN = 128, (24, 48, 80, 112, 128), 192
READABLE = 0.5  # smallest correlation of a readable parameter, for each kind of picture


@dataclass(frozen=True)
class Reading:
    """The judge's estimates for N pictures."""

    styles: Tensor
    """[N, styles + 1], probabilities; the last is that of "none of these"."""
    species: Tensor
    """[N, species + 1], the same."""
    parameters: Tensor
    """[N, parameters], about in 0..1."""


class Judge(nn.Module):
    """Estimates the style, species and parameters of pictures of the demo world; the last style and species are "none".

    Attributes:
        style_names, species_names, parameter_names: names for the columns of a `Reading`, in order.
        words: {phrase: ("style" or "species", name)}, the phrases for each style and species.
        readable: {"style species": [correlation of each parameter's estimates with the true values]}, on drawings that
            the judge was not trained on.
        spreads: {"style species": [standard deviation of each parameter's estimates]}, on the same drawings. Estimates
            of a parameter that is hard to read vary less than its true values.
        ranges: {style: {check: (lowest, highest)}} of true drawings, for `picture_checks.passed`.
    """

    def __init__(self, description: dict[str, Any]):
        super().__init__()
        self.style_names, self.species_names = tuple(description["styles"]), tuple(description["species"])
        self.parameter_names = tuple(description["parameters"])
        self.sizes = [len(self.style_names) + 1, len(self.species_names) + 1, len(self.parameter_names)]
        self.words = {phrase: tuple(meaning) for phrase, meaning in description["words"].items()}
        self.readable, self.spreads, self.ranges = (
            dict(description.get(name, {})) for name in ("readable", "spreads", "ranges")
        )
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2)
        self.stages = nn.ModuleList(Stage(narrow, wide) for narrow, wide in pairwise(WIDTHS))
        self.hidden = nn.Linear(WIDTHS[-1] * (SIZE // 32) ** 2, HIDDEN)
        self.head = nn.Linear(HIDDEN, sum(self.sizes))

    def features(self, images: Tensor) -> Tensor:
        """Map images [N, 3, H, W] in about [-1, 1] to features [N, HIDDEN], for a Frechet distance."""
        if images.shape[-2:] != (SIZE, SIZE):
            images = resized(images, (SIZE, SIZE))
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return F.silu(self.hidden(x.flatten(1)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map images [N, 3, H, W] in about [-1, 1] to logits of styles and species, and parameters, each [N, ...]."""
        styles, species, parameters = self.head(self.features(images)).split(self.sizes, dim=1)
        return styles, species, parameters

    @torch.no_grad()
    def read(self, images: Tensor, batch: int = 64) -> Reading:
        """Return the estimates for images [N, 3, H, W] in about [-1, 1], clamped as in a picture file."""
        device = self.head.weight.device
        parts = [self(part.clamp(-1, 1).to(device)) for part in images.split(batch)]
        styles, species, parameters = (torch.cat(column).float().cpu() for column in zip(*parts, strict=True))
        return Reading(styles.softmax(1), species.softmax(1), parameters)

    def kind(self, seen: Reading) -> tuple[str, str]:
        """Return the style and the species of most pictures of a reading, from those that have names."""
        style, species = (int(answers[:, :-1].mean(0).argmax()) for answers in (seen.styles, seen.species))
        return self.style_names[style], self.species_names[species]

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


def load_judge(path: str | os.PathLike[str] = demo.JUDGE, device: str | torch.device = "cpu") -> Judge:
    """Load the included judge, or one that tools/demo_world/train_judge.py trained.

    Raises:
        NadaError: the file does not hold a judge.
    """
    description, tensors = read_own_file(path, KIND)
    if not _consistent(description):
        raise damaged("judge")
    judge = Judge(description)
    try:
        judge.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise NadaError(f"{path} cannot be read as a judge: {reason}; leave it out for the included judge") from error
    return judge.eval().requires_grad_(False).to(device)


def _consistent(description: dict[str, Any]) -> bool:
    """Whether each list of a description has one entry for each name."""
    lists = [entry for name in ("readable", "spreads") for entry in description.get(name, {}).values()]
    ranges = {style: set(checks) for style, checks in description.get("ranges", {}).items()}
    return (
        all(len(entry) == len(description["parameters"]) for entry in lists)
        and all(checks == {*CHECKS.get(style, ())} for style, checks in ranges.items())
        and all(len(pair) == 2 for checks in description.get("ranges", {}).values() for pair in checks.values())
        and all(len(meaning) == 2 for meaning in description["words"].values())
    )


def judge_for(generator: Generator, device: str | torch.device = "cpu") -> Judge | None:
    """Return the included judge for a generator of the demo world, or None for any other generator.

    Args:
        generator: generator whose images are to be measured.
        device: device to load the judge to.
    """
    source = generator.metadata.get("source")
    known = isinstance(source, dict) and source.get("format") == demo.WORLD
    return load_judge(device=device) if known else None
