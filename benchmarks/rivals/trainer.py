"""Few-shot trainer for all methods that see images: StyleGAN2's training, with the switches of `methods.Method`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nada.latents.sampling import mix_latents
from nada.seeding import seeded
from nada.stylegan2 import Generator
from nada.stylegan2.discriminator import Convolution, Discriminator

from . import losses
from .augment import Controller, augmented
from .methods import Method

CONST = "b4.const"
PATCHES = 1  # index of the discriminator's features from which a logit sees a quarter of the width, as in CDC's code
# RSSA projects the last codes by these shares, each for a number of codes, and not the first ones.
SHARES = ((0.05, 4), (0.45, 2), (0.65, 2), (0.85, 3))


@dataclass(frozen=True)
class Config:
    """Settings that all methods share, those of StyleGAN2 unless a comment gives another reason."""

    iterations: int = 300
    batch: int = 4
    learning_rate: float = 0.002
    r1: float = 10.0
    r1_every: int = 16
    path: float = 2.0
    path_every: int = 4
    mixing: float = 0.9
    average: float = 0.99  # decay of the average of weights; StyleGAN2's is for long runs
    anchor_every: int = 4  # CDC and RSSA: one of this many steps is near anchors
    anchor_noise: float = 0.1
    near: float = 0.15  # share of random change in each of RSSA's neighboring codes
    disturb_every: int = 6
    fisher_samples: int = 200
    seed: int = 0


class Miner(nn.Module):
    """MineGAN's networks before a generator: z -> z', and a learned input of the synthesis network."""

    def __init__(self, z_dim: int, width: int):
        super().__init__()
        self.codes = nn.Sequential(nn.Linear(z_dim, z_dim), nn.ReLU(), nn.Linear(z_dim, z_dim))
        self.seed = nn.Parameter(torch.randn(1, 8, 4, 4))
        self.maps = nn.Sequential(
            Convolution(8, 32, 1), Convolution(32, 128, 1), Convolution(128, width, 1, active=False)
        )

    def const(self) -> Tensor:
        """[C, 4, 4], replaces the generator's constant."""
        return self.maps(self.seed)[0]


class Subspace:
    """RSSA's projection of codes towards the span of given ones, stronger in finer layers.

    Args:
        codes: codes [N, num_ws, w_dim] of the training pictures.
    """

    def __init__(self, codes: Tensor):
        self.bases = torch.linalg.qr(codes.permute(1, 2, 0)).Q  # [num_ws, w_dim, N or less]
        shares = [0.0] * codes.shape[1] + [share for share, count in SHARES for _ in range(count)]
        self.shares = torch.tensor(shares[-codes.shape[1] :])[:, None]

    def __call__(self, ws: Tensor) -> Tensor:
        """Project codes [N, num_ws, w_dim], keeping the lengths of their projections."""
        inside = torch.einsum("lwk,lvk,nlv->nlw", self.bases, self.bases, ws)
        inside = inside * (ws.norm(dim=2, keepdim=True) / inside.norm(dim=2, keepdim=True).clamp_min(1e-8))
        return ws + self.shares * (inside - ws)


class Adapted:
    """Result of a training: a generator, with a miner for MineGAN or a subspace of codes for RSSA."""

    def __init__(self, generator: Generator, miner: Miner | None = None, subspace: Subspace | None = None):
        self.generator, self.miner, self.subspace = generator, miner, subspace

    def codes(self, z: Tensor) -> Tensor:
        """Map z [N, z_dim] to codes [N, num_ws, w_dim]."""
        ws = self.generator.mapping(z if self.miner is None else self.miner.codes(z))
        return ws if self.subspace is None else self.subspace(ws)

    def render(self, ws: Tensor, noise: dict[str, Tensor] | str = "const") -> Tensor:
        """Render codes as images [N, 3, R, R]."""
        if self.miner is None:
            return self.generator.synthesis(ws, noise)
        names = {CONST: self.miner.const()}
        return functional_call(self.generator.synthesis, names, (ws, noise))

    def __call__(self, z: Tensor) -> Tensor:
        """Map z [N, z_dim] to images [N, 3, R, R], with constant noise."""
        return self.render(self.codes(z))

    def modules(self) -> list[nn.Module]:
        """All networks, generator first."""
        return [self.generator] if self.miner is None else [self.generator, self.miner]


class FewShot:
    """Training as an iterator of the losses of each step.

    Args:
        generator: generator to start from; it is copied.
        discriminator: discriminator to start from; it is copied.
        images: all images that the method sees, [N, 3, R, R] in [-1, 1].
        method: the method's switches.
        config: settings that all methods share.
        codes: codes [M, num_ws, w_dim] of some of the images, for methods with a subspace.

    Attributes:
        average: moving average of the weights, which is the result.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        images: Tensor,
        method: Method,
        config: Config,
        codes: Tensor | None = None,
    ):
        self.method, self.config, self.images = method, config, images
        self.random, self.iteration = seeded(config.seed), 0
        self.source = copy.deepcopy(generator).eval().requires_grad_(False)
        # Convolutions of channels-last tensors are faster on a processor: 15 % for the whole discriminator.
        self.discriminator = copy.deepcopy(discriminator).train().to(memory_format=torch.channels_last)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            miner = Miner(generator.config.z_dim, generator.config.channels[0]) if method.miner_share else None
            width = discriminator.config.channels[-2 - PATCHES]
            self.patch_head = Convolution(width, 1, 3) if method.patches else None
        subspace = None if codes is None else Subspace(codes)
        self.trained = Adapted(copy.deepcopy(generator).train(), miner, subspace)
        self.average = copy.deepcopy(self.trained)
        self.anchors = torch.randn(len(images), generator.config.z_dim, generator=self.random)
        self.path, self.controller = losses.PathLength(), Controller(config.iterations * config.batch // 2)
        self._free()
        self.start = [p.detach().clone() for p in self.trained.generator.parameters()]
        self.fisher = self._fisher() if method.ewc else []
        rate = config.learning_rate
        lazy = config.path_every / (config.path_every + 1)
        self.optimizer = torch.optim.Adam(
            [p for m in self.trained.modules() for p in m.parameters()], lr=rate * lazy, betas=(0.0, 0.99**lazy)
        )
        lazy = config.r1_every / (config.r1_every + 1)
        heads = [] if self.patch_head is None else [*self.patch_head.parameters()]
        self.discriminator_optimizer = torch.optim.Adam(
            [*(p for p in self.discriminator.parameters() if p.requires_grad), *heads],
            lr=rate * lazy,
            betas=(0.0, 0.99**lazy),
        )

    def __len__(self) -> int:
        return self.config.iterations

    def __iter__(self) -> Iterator[dict[str, float]]:
        while self.iteration < self.config.iterations:
            yield self.step()

    def step(self) -> dict[str, float]:
        """Train discriminator and generator by one step; returns the losses."""
        anchored = not self.method.patches or self.iteration % self.config.anchor_every == 0
        self._free()
        found = self._discriminator_step(anchored)
        with _frozen(self.discriminator, self.patch_head):
            found |= self._generator_step(anchored)
        self._update_average()
        self.iteration += 1
        return found

    # The discriminator

    def _discriminator_step(self, anchored: bool) -> dict[str, float]:
        real = self._real()
        with torch.no_grad():
            fake = self._fake(anchored)
        real, fake = (self._augmented(images) for images in (real, fake))
        penalized = self.iteration % self.config.r1_every == 0
        real.requires_grad_(penalized)
        logits = self._logits(real, anchored)
        loss = losses.discriminator_loss(logits, self._logits(fake, anchored))
        if self.method.ada:
            self.controller.observe(logits)
        found = {"discriminator": loss.item()}
        if penalized:
            penalty = losses.r1(logits, real)
            loss = loss + self.config.r1 / 2 * self.config.r1_every * penalty
            found["r1"] = penalty.item()
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        return found

    def _logits(self, images: Tensor, whole: bool) -> Tensor:
        """Logits [N] of whole images, or maps [N, 1, h, w] of the logits of patches."""
        if whole or self.patch_head is None:
            return self.discriminator(images)
        return self.patch_head(self.discriminator.features(images)[PATCHES])

    # The generator

    def _generator_step(self, anchored: bool) -> dict[str, float]:
        method, config = self.method, self.config
        fake = self._fake(anchored)
        loss = losses.generator_loss(self._logits(self._augmented(fake), anchored))
        terms = {"generator": loss}
        if method.ewc:
            weights = [*self.trained.generator.parameters()]
            terms["ewc"] = method.ewc * losses.ewc(weights, self.start, self.fisher)
        if method.distance:
            source, target = self._features(self._z(config.batch))
            layers = torch.randint(1, len(source), (config.batch,), generator=self.random).tolist()
            terms["distance"] = method.distance * losses.distance_consistency(source, target, layers)
        if method.self_correlation:
            source, target = self._features(self._z(config.batch))
            size = self.source.config.resolution
            terms["self"] = method.self_correlation * losses.self_correlation(source, target, size)
        if method.disturbance and self.iteration % config.disturb_every == 0:
            z = self._z(1).lerp(self._z(config.batch), config.near)
            source, target = self._features(z, projected=False)
            size = self.source.config.resolution
            terms["disturbance"] = method.disturbance * losses.disturbance_correlation(source, target, size)
        self.optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        self.optimizer.step()
        found = {name: term.item() for name, term in terms.items()}
        if self.iteration % config.path_every == 0 and not self._mining:
            self.optimizer.zero_grad(set_to_none=True)
            with losses.twice_differentiable(), _frozen(self.trained.miner):
                ws = self._codes(max(1, config.batch // 2))
                noise = self.trained.generator.synthesis.sample_noise(len(ws), self.random)
                penalty = self.path.penalty(self.trained.render(ws, noise), ws, self.random)
                (config.path * config.path_every * penalty).backward()
            found["path"] = penalty.item()
            self.optimizer.step()
        return found

    @property
    def _mining(self) -> bool:
        """Whether the miner trains alone in this step."""
        return self.iteration < self.method.miner_share * self.config.iterations

    def _free(self) -> None:
        """Enable gradients for the parameters that the method trains in this step."""
        self.discriminator.requires_grad_(True)
        if self.method.trained_blocks is not None:
            for block in list(self.discriminator.children())[: -self.method.trained_blocks]:
                block.requires_grad_(False)
        self.trained.generator.requires_grad_(not self._mining)

    # Pictures

    def _real(self) -> Tensor:
        """Draw a batch of the images, mirrored at random."""
        count = self.config.batch
        chosen = self.images[torch.randint(len(self.images), (count,), generator=self.random)]
        mirrored = torch.rand(count, generator=self.random) < 0.5
        return torch.where(mirrored[:, None, None, None], chosen.flip(3), chosen)

    def _fake(self, anchored: bool) -> Tensor:
        """Images of random codes, close to anchors for methods that use them."""
        if anchored and self.method.patches:
            chosen = torch.randint(len(self.anchors), (self.config.batch,), generator=self.random)
            z = self.anchors[chosen] + self.config.anchor_noise * self._z(self.config.batch)
            ws = self.trained.codes(z)
        else:
            ws = self._codes(self.config.batch)
        noise = self.trained.generator.synthesis.sample_noise(len(ws), self.random)
        return self.trained.render(ws, noise)

    def _codes(self, count: int) -> Tensor:
        """Draw random codes, with style mixing of two z with probability `mixing`."""
        ws = self.trained.codes(self._z(count))
        if float(torch.rand((), generator=self.random)) >= self.config.mixing:
            return ws
        crossover = torch.randint(1, ws.shape[1], (1,), generator=self.random)
        return mix_latents(ws, self.trained.codes(self._z(count)), crossover)

    def _z(self, count: int) -> Tensor:
        return torch.randn(count, self.source.config.z_dim, generator=self.random)

    def _augmented(self, images: Tensor) -> Tensor:
        return augmented(images, self.controller.p, self.random) if self.method.ada else images

    def _features(self, z: Tensor, projected: bool = True) -> tuple[list[Tensor], list[Tensor]]:
        """Features of each convolution for the same z and noise: of the source, and of the target with gradients."""
        subspace = self.trained.subspace if projected else None
        with torch.no_grad():
            source = features_of(self.source, Adapted(self.source, None, subspace).codes(z))
        own = Adapted(self.trained.generator, self.trained.miner, subspace)
        return source, features_of(own.generator, own.codes(z))

    # State that is computed once or averaged

    def _fisher(self) -> list[Tensor]:
        """Diagonal of the Fisher information of the generator's weights, scaled to a mean of 1."""
        parameters = [*self.trained.generator.parameters()]
        totals = [torch.zeros_like(p) for p in parameters]
        for _ in range(self.config.fisher_samples):
            ws = self.trained.codes(self._z(1))
            loss = losses.generator_loss(self.discriminator(self.trained.render(ws)))
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
            for total, slope in zip(totals, slopes, strict=True):
                if slope is not None:
                    total += slope.square()
        mean = sum(float(t.sum()) for t in totals) / sum(t.numel() for t in totals)
        return [total / max(mean, 1e-30) for total in totals]

    @torch.no_grad()
    def _update_average(self) -> None:
        for average, network in zip(self.average.modules(), self.trained.modules(), strict=True):
            for a, b in zip(average.parameters(), network.parameters(), strict=True):
                a.lerp_(b, 1 - self.config.average)


def features_of(generator: Generator, ws: Tensor) -> list[Tensor]:
    """Outputs of each convolution of a generator for codes [N, num_ws, w_dim], with constant noise."""
    found: list[Tensor] = []
    synthesis = generator.synthesis
    hooks = [
        synthesis.layer(name).register_forward_hook(lambda module, inputs, output: found.append(output))
        for name in synthesis.conv_layers
    ]
    try:
        synthesis(ws)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def train_discriminator(
    generator: Generator, discriminator: Discriminator, images: Tensor, iterations: int, config: Config
) -> Iterator[float]:
    """Train a discriminator of a generator's own domain with a fixed generator, as a start for methods that need one.

    Args:
        generator: generator of the domain.
        discriminator: discriminator to train; it is changed.
        images: true images of the domain, [N, 3, R, R].
        iterations: number of steps.
        config: batch, learning rate, R1 weight and seed.

    Yields:
        The loss of each step.
    """
    random = seeded(config.seed)
    optimizer = torch.optim.Adam(
        discriminator.requires_grad_(True).parameters(), lr=config.learning_rate, betas=(0.0, 0.99)
    )
    for i in range(iterations):
        real = images[torch.randint(len(images), (config.batch,), generator=random)].clone()
        with torch.no_grad():
            fake = generator(torch.randn(config.batch, generator.config.z_dim, generator=random), 1.0, "random", random)
        real.requires_grad_(i % config.r1_every == 0)
        logits = discriminator(real)
        loss = losses.discriminator_loss(logits, discriminator(fake))
        if real.requires_grad:
            loss = loss + config.r1 / 2 * config.r1_every * losses.r1(logits, real)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.item()


@contextmanager
def _frozen(*modules: nn.Module | None) -> Iterator[None]:
    """Context in which the modules' parameters have no gradients; afterwards they are as before."""
    parameters: Sequence[nn.Parameter] = [p for m in modules if m is not None for p in m.parameters()]
    free = [p for p in parameters if p.requires_grad]
    for p in free:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in free:
            p.requires_grad_(True)
