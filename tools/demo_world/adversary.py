"""Adversaries for the CLIPs in training: generators and pictures that are being adapted with them.

A CLIP that only ever saw well-made pictures is easily satisfied: a generator that brightens its photos and roughens
them may look to it like one that draws. So the CLIPs are trained against the thing that will use them. A twin of the
photo generator follows StyleGAN-NADA's directional loss toward a random style or species, and so do single pictures,
which take many goals at a time. The world knows the picture that each should have become, hence how far it has really
come, and which way is left: the CLIP should believe neither much more nor less than that, and a step from there toward
the true picture should look like one. Then they start over.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from shapes import blur
from torch import Tensor
from world import SPECIES, STYLES, draw, parameters_from_latents

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada import Generator
from nada.clip.views import random_views

MEMORY = 300  # batches of old attempts that are shown again: the CLIP should not forget what once fooled it
POOL = 120  # pictures under way
STRIDE = 0.045  # root mean square of a picture's step, in 0..1

Encoder = Callable[[Tensor], Tensor]
Texts = dict[str, Tensor]
Goal = tuple[str, int, int]  # "style" or "species", from which, to which


@dataclass
class Attempt:
    """Pictures [B, 3, H, W] in 0..1 of changes, what each was after, and how far it came [B].

    z [B, 32]: the latents of the individuals.
    """

    z: Tensor
    before: Tensor
    after: Tensor
    wanted: Tensor
    goals: list[Goal]
    progress: Tensor

    @staticmethod
    def joined(attempts: list[Attempt]) -> Attempt:
        """One of several."""
        tensors = (torch.cat([getattr(a, name) for a in attempts]) for name in ("z", "before", "after", "wanted"))
        goals = [goal for a in attempts for goal in a.goals]
        return Attempt(*tensors, goals, torch.cat([a.progress for a in attempts]))


def all_goals(species: str) -> list[Goal]:
    """Return every style and species that a photo of a species can change to."""
    photo, own = STYLES.index("photo"), SPECIES.index(species)
    styles = [("style", photo, i) for i in range(len(STYLES)) if i != photo]
    return styles + [("species", own, i) for i in range(len(SPECIES)) if i != own]


def directions(text: Texts, goals: list[Goal]) -> Tensor:
    """Unit changes [B, D] of the text."""
    return F.normalize(torch.stack([text[group][goal] - text[group][start] for group, start, goal in goals]), dim=-1)


def directional_loss(encoders: list[Encoder], texts: list[Texts], goals: list[Goal], before, after) -> Tensor:
    """Minus the cosine of the pictures' change and the text's, added up over pictures and CLIPs."""
    total = after.new_zeros(())
    for encode, text in zip(encoders, texts, strict=True):
        with torch.no_grad():
            source = encode(before)
        wanted, change = directions(text, goals), encode(after) - source
        length = change.norm(dim=1).detach()
        cosine = F.cosine_similarity(change, wanted, eps=1e-6)
        total = total - torch.where(length > 1e-6, cosine, (change * wanted).sum(1)).sum()
    return total


def true_picture(z: Tensor, species: str, goal: Goal, noise: torch.Generator) -> Tensor:
    """Draw what photos of the latents z [B, 32] should become."""
    group, _, index = goal
    style, kind = (STYLES[index], species) if group == "style" else ("photo", SPECIES[index])
    return draw(parameters_from_latents(z), kind, style, noise)


def whole_way(before: Tensor, z: Tensor, species: str, goal: Goal, noise: torch.Generator) -> tuple[Tensor, ...]:
    """The true pictures, how far they are from `before`, and from their like: no two drawings are quite the same."""
    wanted, again = (true_picture(z, species, goal, noise) for _ in range(2))
    return wanted, distance(before, wanted), distance(again, wanted)


class Adversary:
    """Adapts a twin of `generator`, which makes photos of `species`, with the CLIPs as they then are."""

    def __init__(self, generator: Generator, species: str, batch: int = 4, patience: int = 100, seed: int = 0):
        self.frozen = generator.eval().requires_grad_(False)
        self.species, self.batch, self.patience = species, batch, patience
        self.pick, self.random = random.Random(seed), torch.Generator().manual_seed(seed)
        self.left = 0
        self.seen: list[Attempt] = []
        self.reached = dict.fromkeys(all_goals(species), 0.5)  # mean progress of the last attempt at each goal

    def _start_over(self) -> None:
        self.twin = copy.deepcopy(self.frozen)
        convs = [p for name, p in self.twin.synthesis.named_parameters() if ".conv" in name]
        self.weights = [p.requires_grad_(True) for p in convs if p.ndim]
        self.optimizer = torch.optim.Adam(self.weights, lr=self.pick.uniform(0.005, 0.012), betas=(0.0, 0.99))
        missing = [(1.05 - progress) ** 2 for progress in self.reached.values()]  # what is hard is tried more often
        (self.goal,) = self.pick.choices(list(self.reached), missing)
        self.views = self.pick.choice((0, 1, 1))
        self.left = self.pick.randrange(self.patience // 3, self.patience + 1)

    def step(self, encoders: list[Encoder], texts: list[Texts], steps: int = 3) -> Attempt:
        """Take some steps toward the current goal; return this attempt and an earlier one.

        encoders: each CLIP's, images [N, 3, H, W] in 0..1 to unit embeddings; texts: each CLIP's embeddings of
        {"style": [7, D], "species": [7, D]}.
        """
        for _ in range(steps):
            if self.left == 0:
                self._start_over()
            self.left -= 1
            z, before, after = self._adapt(encoders, texts)
        wanted, whole, least = whole_way(before, z, self.species, self.goal, self.random)
        progress = ((whole - distance(after, wanted)) / (whole - least)).clamp(0, 1)
        self.reached[self.goal] = progress.mean().item()
        if self.pick.random() < 0.5:  # else the CLIP could take "generated before, drawn after" for the change
            before = draw(parameters_from_latents(z), self.species, "photo", self.random)
        now = Attempt(z, before, after, wanted, [self.goal] * len(z), progress)
        old = self.pick.choice(self.seen) if self.seen else now
        self.seen = [*self.seen, now][-MEMORY:]
        return Attempt.joined([now, old])

    def _adapt(self, encoders: list[Encoder], texts: list[Texts]) -> tuple[Tensor, Tensor, Tensor]:
        """One step; its latents, and the pictures of both twins in 0..1."""
        z = torch.randn(self.batch, self.frozen.config.z_dim, generator=self.random).to(self.frozen.mapping.w_avg)
        ws = self.frozen.mapping(z)
        noise = self.frozen.synthesis.sample_noise(len(ws), self.random)
        show = random_views(self.views, len(ws), self.random)
        with torch.no_grad():
            before = (self.frozen.synthesis(ws, noise) + 1) / 2
        after = (self.twin.synthesis(ws, noise) + 1) / 2
        loss = directional_loss(encoders, texts, [self.goal] * len(z), show(before), show(after))
        gradients = torch.autograd.grad(loss / len(z), self.weights)
        for p, gradient in zip(self.weights, gradients, strict=True):
            p.grad = gradient
        self.optimizer.step()
        return z, before, after.detach()


@dataclass
class Retouched:
    """A picture under way, all [1, 3, H, W] in 0..1, with its latent and its distances at the start and at the goal."""

    z: Tensor
    before: Tensor
    after: Tensor
    wanted: Tensor
    goal: Goal
    whole: Tensor
    least: Tensor
    left: int


class Retoucher:
    """Changes single photos of `generator`, pixel by pixel and in patches, each toward a goal of its own."""

    def __init__(self, generator: Generator, species: str, batch: int = 6, patience: int = 24, seed: int = 0):
        self.generator, self.species, self.batch, self.patience = generator, species, batch, patience
        self.pick, self.random = random.Random(seed), torch.Generator().manual_seed(seed)
        self.pool: list[Retouched] = []

    def _fresh(self) -> Retouched:
        z = torch.randn(1, self.generator.config.z_dim, generator=self.random).to(self.generator.mapping.w_avg)
        goal = self.pick.choice(all_goals(self.species))
        if self.pick.random() < 0.5:
            before = draw(parameters_from_latents(z), self.species, "photo", self.random)
        else:
            before = ((self.generator.synthesis(self.generator.mapping(z)) + 1) / 2).clamp(0, 1)
        wanted, whole, least = whole_way(before, z, self.species, goal, self.random)
        return Retouched(z, before, before, wanted, goal, whole, least, left=self.pick.randrange(1, self.patience))

    def step(self, encoders: list[Encoder], texts: list[Texts], steps: int = 2) -> Attempt:
        """Move a few of the pictures by some steps; arguments as those of `Adversary.step`."""
        self.pool = [one for one in self.pool if one.left > 0]
        while len(self.pool) < self.batch or (len(self.pool) < POOL and self.pick.random() < 0.5):
            self.pool.append(self._fresh())
        chosen = self.pick.sample(self.pool, self.batch)
        z, before, after, wanted = (
            torch.cat([getattr(one, name) for one in chosen]) for name in ("z", "before", "after", "wanted")
        )
        goals = [one.goal for one in chosen]
        for _ in range(steps):
            show = random_views(self.pick.choice((0, 1)), len(after), self.random)
            tried = after.clone().requires_grad_(True)
            loss = directional_loss(encoders, texts, goals, show(before), show(tried))
            (slope,) = torch.autograd.grad(loss, tried)
            after = (after - self._stroke(slope)).clamp(0, 1)
        for one, picture in zip(chosen, after, strict=True):
            one.after, one.left = picture[None], one.left - 1
        whole, least = (torch.cat([getattr(one, name) for one in chosen]) for name in ("whole", "least"))
        progress = ((whole - distance(after, wanted)) / (whole - least)).clamp(0, 1)
        return Attempt(z, before, after, wanted, goals, progress)

    def _stroke(self, slope: Tensor) -> Tensor:
        """A change along a slope [N, 3, H, W], fine or in soft patches of one size."""
        patch = self.pick.choice((1, 2, 4, 8))
        smooth = F.interpolate(F.avg_pool2d(slope, patch), size=slope.shape[2:], mode="bilinear", align_corners=False)
        size = smooth.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
        return smooth / size * STRIDE * self.pick.uniform(0.3, 1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Differences [N] of pictures [N, 3, H, W] seen from a step away: colors and roughness, place by place."""
    return sum(F.l1_loss(x, y, reduction="none").mean((1, 2, 3)) for x, y in zip(_seen(a), _seen(b), strict=True))


def _seen(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gray = images.mean(1, keepdim=True)
    rough = (gray - blur(gray, 5)).abs()
    return F.avg_pool2d(images, 4), F.avg_pool2d(images - gray, 2), 2 * F.avg_pool2d(rough, 4)
