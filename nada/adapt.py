"""The training loop of StyleGAN-NADA (Gal et al., arXiv 2108.00946): two phrases move a generator to a new domain.

Two generators start equal. One stays frozen; the other is trained until its images differ from the frozen one's, in
CLIP space, in the direction in which the target text differs from the source text. Each iteration first chooses the
layers that matter (`layer_freeze`), then trains only those.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from . import layer_freeze
from .clip import ClipEnsemble
from .config import AdaptConfig
from .directions import text_direction
from .errors import NadaError, UsageError
from .latents import device_of, mix_latents, seeded
from .losses import directional_loss, global_loss
from .stylegan2 import Generator
from .views import random_views

BETAS = (0.0, 0.99**0.8)  # StyleGAN2's (0, 0.99) with its factor 4/5 for lazy regularization, as the authors use them


@dataclass(frozen=True)
class AdaptStep:
    """The record of one training step."""

    iteration: int
    """Steps done, from 1."""
    loss: Tensor
    """What was minimized; [] on the device."""
    losses: dict[str, Tensor]
    """Each loss in use, summed over the CLIP models with their weights, before its own weight; [] on the device."""
    layers: tuple[str, ...]
    """Names of the layers that this step trained."""
    seconds: float
    """Time since the step before was done."""
    generator: Generator
    """The trained twin itself: it changes with the next step. Save it, make images with it, or deep-copy it."""


def adapt(generator: Generator, clip: ClipEnsemble, config: AdaptConfig) -> Adaptation:
    """Adapt a generator to a new domain, step by step.

    The work happens while the result is iterated over; stop at any step and keep `step.generator`:

        for step in adapt(generator, clip, AdaptConfig(source="photo", target="sketch")):
            print(step.iteration, float(step.loss))
        save_generator(step.generator, "sketch.safetensors")

    Args:
        generator: the base; it is not changed, and shall not be while this goes on.
        clip: the judge, on the same device.
        config: see `AdaptConfig`.

    Returns:
        An iterator of `config.iterations` records, with a length.

    Raises:
        UsageError: a text or number does not fit this generator or these CLIP models.
    """
    return Adaptation(generator, clip, config)


class Adaptation:
    """A run under way: an iterator of `AdaptStep`. Made by `adapt`.

    Attributes:
        frozen: the generator it started from.
        trained: its twin, as trained so far.
        iteration: steps done.
    """

    @torch.inference_mode(False)
    def __init__(self, generator: Generator, clip: ClipEnsemble, config: AdaptConfig):
        if generator.config.img_channels != 3:
            raise UsageError(f"this generator makes {generator.config.img_channels} channels; CLIP needs RGB images")
        self.config, self.clip, self.frozen = config, clip, generator
        self.k = config.layer_count(generator)
        self.directions = [text_direction(model, config.source, config.target, config.prompts) for model in clip]
        self.targets = [model.encode_text([config.target])[0] for model in clip]
        self.trained = copy.deepcopy(generator).eval().requires_grad_(False)
        self.synthesis = self.trained.synthesis
        self.layers = self.synthesis.conv_layers
        self.rate = config.rate(generator)
        candidates = [p for name in self.layers for p in self.synthesis.layer(name).parameters()]
        # Layers without a gradient are skipped and keep their state: a layer that was frozen for a while goes on as
        # it left off. (PyTorch before 2.0 let Adam's averages decay meanwhile, so that it came back with larger steps.)
        self.optimizer = torch.optim.Adam(candidates, lr=self.rate, betas=BETAS)
        self.random = seeded(config.seed)
        self.iteration, self._loss = 0, torch.zeros([])
        self._previous = generator.metadata.get("adaptations", [])
        self._base = generator.fingerprint()
        self._clock = time.perf_counter()

    def __len__(self) -> int:
        return self.config.iterations

    def __iter__(self) -> Iterator[AdaptStep]:
        return self

    def __next__(self) -> AdaptStep:
        # One step late, when the value is there anyway: reading it at once would make the device wait.
        if not torch.isfinite(self._loss):
            raise NadaError(f"the loss is not finite after {self.iteration} steps; use a smaller learning rate")
        if self.iteration >= self.config.iterations:
            raise StopIteration
        # Entered per step: a generator function would leak the mode into its consumer between two steps.
        with torch.inference_mode(False), torch.enable_grad():
            if self.k is not None and self.iteration % self.config.select_every == 0:
                self.layers = self.select_layers()
            layer_freeze.apply(self.trained, self.synthesis, self.layers)
            losses, self._loss = self.train_step()
        self.trained.requires_grad_(False)
        self.iteration += 1
        self.trained.metadata["adaptations"] = [*self._previous, self.recipe()]
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        return AdaptStep(self.iteration, self._loss, losses, self.layers, seconds, self.trained)

    def recipe(self) -> dict[str, Any]:
        """All that is needed to do this again, JSON-able: configuration, CLIP models, base, and how far it came."""
        return {
            **asdict(self.config),
            "learning_rate": self.rate,
            "clip": self.clip.describe(),
            "base": self._base,
            "iterations_done": self.iteration,
        }

    def select_layers(self) -> tuple[str, ...]:
        """The first half of an iteration: which layers the target moves most (section 4.2)."""
        self.trained.requires_grad_(False)
        ws = self.sample_codes(self.config.select_batch)
        noise = self.synthesis.sample_noise(len(ws), self.random)

        def loss(codes: Tensor) -> Tensor:
            images = self.synthesis(codes, noise)
            pairs = zip(self.clip, self.targets, strict=True)
            return sum(m.weight * global_loss(m.encode_image(images), target) for m, target in pairs)

        scores = layer_freeze.measure(self.synthesis, ws, loss, self.config.select_steps)
        return layer_freeze.choose(self.synthesis, scores, self.k)

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """The second half: one step of Adam on the chosen layers. Returns the losses and what was minimized."""
        ws = self.sample_codes(self.config.batch, self.config.mixing)
        noise = self.synthesis.sample_noise(len(ws), self.random)  # the same for both: only the weights may differ
        show = random_views(self.config.views, len(ws), self.random)
        with torch.no_grad():
            before = show(self.frozen.synthesis(ws, noise))
        losses = self.losses(before, show(self.synthesis(ws, noise)))
        weights = {"directional": self.config.directional_weight, "global": self.config.global_weight}
        total = sum(weights[name] * loss for name, loss in losses.items())
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}, total.detach()

    def losses(self, before: Tensor, after: Tensor) -> dict[str, Tensor]:
        """The losses with a weight, each added up over the CLIP models, of images [N, 3, R, R] of both twins."""
        losses = {}
        for model, direction, target in zip(self.clip, self.directions, self.targets, strict=True):
            embedded = model.encode_image(after)
            if self.config.directional_weight:
                with torch.no_grad():
                    source = model.encode_image(before)
                term = model.weight * directional_loss(source, embedded, direction)
                losses["directional"] = losses.get("directional", 0) + term
            if self.config.global_weight:
                losses["global"] = losses.get("global", 0) + model.weight * global_loss(embedded, target)
        return losses

    @torch.no_grad()
    def sample_codes(self, batch: int, mixing: float = 0.0) -> Tensor:
        """Untruncated codes [batch, num_ws, w_dim] of random z and classes; with a probability, mixtures of two."""
        z = torch.randn(2 * batch, self.frozen.config.z_dim, generator=self.random)
        classes = self.frozen.config.c_dim
        labels = torch.randint(classes, (2 * batch,), generator=self.random) if classes else 0
        device = device_of(self.frozen)
        ws, others = self.frozen.mapping(z.to(device), label=labels).split(batch)
        if torch.rand([], generator=self.random) < mixing:
            crossover = torch.randint(1, self.frozen.num_ws, [], generator=self.random)
            ws = mix_latents(ws, others, int(crossover))
        return ws
