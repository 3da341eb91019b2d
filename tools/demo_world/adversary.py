"""An adversary for the CLIP in training: a generator that is being adapted with it.

A CLIP that only ever saw well-made pictures is easily satisfied: a generator that brightens its photos and roughens
them may look to it like one that draws. So the CLIP is trained against the thing that will use it. A twin of the
photo generator follows StyleGAN-NADA's directional loss toward a random style or species. The world knows the picture
that each latent should have become, hence how far the twin has really come; the CLIP shall believe neither much more
nor less than that. Then the twin starts over.
"""

from __future__ import annotations

import copy
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from shapes import blur
from torch import Tensor, nn
from world import SPECIES, STYLES, draw, parameters_from_latents

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada.views import random_views

MEMORY = 400  # batches of old attempts that are shown again: the CLIP shall not forget what once fooled it


@dataclass
class Attempt:
    """Pictures [B, 3, H, W] in 0..1 before and after a change, what it was after, and how far it came [B]."""

    before: Tensor
    after: Tensor
    group: str
    start: int
    goal: int
    progress: Tensor


class Adversary:
    """Adapts a twin of `generator`, which makes photos of `species`, one step per call, with the CLIP as it then is."""

    def __init__(self, generator: nn.Module, species: str, batch: int = 4, patience: int = 70, seed: int = 0):
        self.frozen = generator.eval().requires_grad_(False)
        self.species, self.batch, self.patience = species, batch, patience
        self.pick, self.random = random.Random(seed), torch.Generator().manual_seed(seed)
        self.left = 0
        self.seen: list[Attempt] = []

    def _start_over(self) -> None:
        self.twin = copy.deepcopy(self.frozen)
        convs = [p for name, p in self.twin.synthesis.named_parameters() if ".conv" in name]
        self.weights = [p.requires_grad_(True) for p in convs if p.ndim]
        self.optimizer = torch.optim.Adam(self.weights, lr=self.pick.uniform(0.003, 0.009), betas=(0.0, 0.99))
        self.group = "style" if self.pick.random() < 0.7 else "species"
        names, own = (STYLES, "photo") if self.group == "style" else (SPECIES, self.species)
        self.start = names.index(own)
        self.goal = self.pick.choice([i for i in range(len(names)) if i != self.start])
        self.views = self.pick.choice((0, 1, 1))
        self.left = self.pick.randrange(self.patience // 3, self.patience + 1)

    def step(self, encode, text: dict[str, Tensor]) -> list[Attempt]:
        """One step toward the current goal; this attempt and an earlier one.

        encode: images [N, 3, H, W] in -1..1 to unit embeddings; text: {"style": [7, D], "species": [7, D]}.
        """
        if self.left == 0:
            self._start_over()
        self.left -= 1
        z = torch.randn(self.batch, self.frozen.config.z_dim, generator=self.random)
        ws = self.frozen.mapping(z.to(self.frozen.mapping.w_avg))
        noise = self.frozen.synthesis.sample_noise(len(ws), self.random)
        show = random_views(self.views, len(ws), self.random)
        with torch.no_grad():
            before = self.frozen.synthesis(ws, noise)
            source = encode(show(before))
        after = self.twin.synthesis(ws, noise)
        wanted = F.normalize(text[self.group][self.goal] - text[self.group][self.start], dim=0)
        change = encode(show(after)) - source
        length = change.norm(dim=1).detach()
        cosine = torch.where(length > 1e-6, F.cosine_similarity(change, wanted[None], eps=1e-6), change @ wanted)
        gradients = torch.autograd.grad(-cosine.mean(), self.weights)
        for p, gradient in zip(self.weights, gradients, strict=True):
            p.grad = gradient
        self.optimizer.step()
        now = self._judge(z, (before + 1) / 2, (after.detach() + 1) / 2)
        old = self.pick.choice(self.seen) if self.seen else now
        self.seen = [*self.seen, now][-MEMORY:]
        return [now, old]

    def _judge(self, z: Tensor, before: Tensor, after: Tensor) -> Attempt:
        p = {name: value.to(before) for name, value in parameters_from_latents(z).items()}
        style = STYLES[self.goal] if self.group == "style" else "photo"
        species = SPECIES[self.goal] if self.group == "species" else self.species
        wanted, again = (draw(p, species, style, self.random) for _ in range(2))  # no two drawings are quite the same
        left, whole, least = (distance(x, wanted) for x in (after, before, again))
        return Attempt(before, after, self.group, self.start, self.goal, ((whole - left) / (whole - least)).clamp(0, 1))


def distance(a: Tensor, b: Tensor) -> Tensor:
    """How different pictures [N, 3, H, W] look from a step away, [N]: colors and roughness, place by place."""
    return sum(F.l1_loss(x, y, reduction="none").mean((1, 2, 3)) for x, y in zip(_seen(a), _seen(b), strict=True))


def _seen(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gray = images.mean(1, keepdim=True)
    rough = (gray - blur(gray, 5)).abs()
    return F.avg_pool2d(images, 4), F.avg_pool2d(images - gray, 2), 2 * F.avg_pool2d(rough, 4)
