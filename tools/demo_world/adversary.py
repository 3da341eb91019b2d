"""An adversary for the CLIP in training: a generator that is being adapted with it.

A CLIP that only ever saw well-made pictures is easily satisfied: a generator that brightens its photos and roughens
them may look to it like one that draws. So the CLIP is trained against the thing that will use it. A twin of the
photo generator follows StyleGAN-NADA's directional loss toward a random style or species; its half-finished pictures
are shown to the CLIP, which shall not see in them the change that they pretend; then the twin starts over.
"""

from __future__ import annotations

import copy
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEMORY = 400  # batches of old attempts that are shown again: the CLIP shall not forget what once fooled it


class Adversary:
    """Adapts a twin of `generator`, one step per call, with whatever CLIP it is given at that moment."""

    def __init__(self, generator: nn.Module, batch: int = 6, patience: int = 50, lr: float = 0.008, seed: int = 0):
        self.frozen = generator.eval().requires_grad_(False)
        self.batch, self.patience, self.lr = batch, patience, lr
        self.pick, self.random = random.Random(seed), torch.Generator().manual_seed(seed)
        self.left = 0
        self.seen: list[tuple[Tensor, tuple[str, int]]] = []

    def _start_over(self) -> None:
        self.twin = copy.deepcopy(self.frozen)
        convs = [p for name, p in self.twin.synthesis.named_parameters() if ".conv" in name]
        self.weights = [p.requires_grad_(True) for p in convs if p.ndim]
        self.optimizer = torch.optim.Adam(self.weights, lr=self.lr, betas=(0.0, 0.99))
        self.group = "style" if self.pick.random() < 0.75 else "species"
        self.target = self.pick.randrange(1, 5)
        self.left = self.pick.randrange(self.patience // 3, self.patience + 1)

    def step(self, encode, text: dict[str, Tensor]) -> tuple[Tensor, list[tuple[str, int]]]:
        """One step toward the current target.

        encode: images [N, 3, H, W] in -1..1 to unit embeddings; text: {"style": [5+, D], "species": [5, D]}.

        Returns:
            Pictures [4 * batch, 3, H, W] in -1..1, detached: of the frozen generator and of the twin, and the same of
            some earlier step. What the twin was after, (group, index), now and at the earlier step.
        """
        if self.left == 0:
            self._start_over()
        self.left -= 1
        z = torch.randn(self.batch, self.frozen.config.z_dim, generator=self.random)
        ws = self.frozen.mapping(z.to(self.frozen.mapping.w_avg))
        with torch.no_grad():
            before = self.frozen.synthesis(ws)
            source = encode(before)
        after = self.twin.synthesis(ws)
        wanted = F.normalize(text[self.group][self.target] - text[self.group][0], dim=0)
        change = encode(after) - source
        length = change.norm(dim=1).detach()
        cosine = torch.where(length > 1e-6, F.cosine_similarity(change, wanted[None], eps=1e-6), change @ wanted)
        gradients = torch.autograd.grad(-cosine.mean(), self.weights)
        for p, gradient in zip(self.weights, gradients, strict=True):
            p.grad = gradient
        self.optimizer.step()
        now = (torch.cat([before, after]).detach(), (self.group, self.target))
        old = self.pick.choice(self.seen) if self.seen else now
        self.seen = [*self.seen, now][-MEMORY:]
        return torch.cat([now[0], old[0]]), [now[1], old[1]]
