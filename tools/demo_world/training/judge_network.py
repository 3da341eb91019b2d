"""The judge's network: tells style, species and parameters of a picture, and may say "none of these"."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nada.demo.network import Stage

KEY = "judge"  # where the file's metadata hold its description
SIZE, WIDTHS, HIDDEN = 128, (24, 48, 80, 112, 128), 192
NONE = "none of these"


class OpenJudge(nn.Module):
    """Open-set classifier of styles and species; the last answer of both is `NONE`.

    Attributes:
        description: what is stored with it: "styles", "species" and "parameters" by name, the words for them, and what
            was measured on drawings that it was not trained on.
    """

    def __init__(self, description: dict):
        super().__init__()
        self.description = description
        self.sizes = [len(description["styles"]) + 1, len(description["species"]) + 1, len(description["parameters"])]
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2)
        self.stages = nn.ModuleList(Stage(narrow, wide) for narrow, wide in pairwise(WIDTHS))
        self.hidden = nn.Linear(WIDTHS[-1] * (SIZE // 32) ** 2, HIDDEN)
        self.head = nn.Linear(HIDDEN, sum(self.sizes))

    def features(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in about [-1, 1] -> features [N, HIDDEN], such as a Frechet distance is taken of."""
        if images.shape[-2:] != (SIZE, SIZE):
            images = F.interpolate(images, (SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False)
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return F.silu(self.hidden(x.flatten(1)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images [N, 3, H, W] in about [-1, 1] -> logits of styles and species, and parameters, each [N, ...]."""
        return self.head(self.features(images)).split(self.sizes, dim=1)


def load_open_judge(path: Path) -> OpenJudge:
    """Read a judge as train_judge.py writes it.

    Raises:
        ValueError: the file is not that of a judge.
    """
    try:
        with safe_open(path, "pt") as file:
            judge = OpenJudge(json.loads(file.metadata()[KEY]))
            judge.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as a judge: {str(error)[:200]}") from error
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def names(judge: OpenJudge, images: Tensor) -> tuple[list[str], list[str]]:
    """The style and the species that the judge sees in each image in about [-1, 1], or `NONE`."""
    style, species, _ = judge(images.clamp(-1, 1))
    answers = []
    for logits, known in ((style, judge.description["styles"]), (species, judge.description["species"])):
        answers.append([[*known, NONE][int(i)] for i in logits.argmax(1)])
    return answers[0], answers[1]
