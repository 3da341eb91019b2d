"""The training loop of StyleGAN-NADA (Gal et al., arXiv 2108.00946): two phrases move a generator to a new domain.

Two generators start equal. One stays frozen; the other is trained until its images differ from the frozen one's, in
CLIP space, in the direction in which the target text differs from the source text. Each iteration first chooses the
layers that matter (`layer_freeze`), then trains only those.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import layer_freeze
from .clip.models import ClipEnsemble, ClipModel
from .clip.views import moved, random_crops, random_moves, view_count
from .errors import UsageError
from .latents.sampling import mix_latents
from .losses import global_loss
from .seeding import seeded
from .stylegan2 import Generator
from .stylegan2.layers import Mapping
from .stylegan2.synthesis import Synthesis
from .training.config import STYLE_IMAGES, AdaptConfig
from .training.cuda_graphs import Function, Recording, Tensors
from .training.goal import Goal, make_goal
from .training.loop import TrainingLoop
from .training.noise_pool import NoisePool
from .training.objective import LOSSES, Pair
from .training.pieces import in_pieces, slices
from .training.precision import tensor_float32
from .training.state import RunState, clip_probes, optimizer_tensors, refuse_another, restore_optimizer
from .training.trainable import Trainable

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


def adapt(
    generator: Generator,
    clip: ClipEnsemble,
    config: AdaptConfig,
    style_images: Tensor | None = None,
    goal: Goal | None = None,
    resume: RunState | None = None,
) -> Adaptation:
    """Adapt a generator to a new domain, step by step.

    The work happens while the result is iterated over; stop at any step and keep `step.generator`:

        for step in adapt(generator, clip, AdaptConfig(source="photo", target="sketch")):
            print(step.iteration, float(step.loss))
        save_generator(step.generator, "sketch.safetensors")

    Args:
        generator: the base; it is not changed, and shall not be while this goes on.
        clip: the judge, on the same device.
        config: see `AdaptConfig`.
        style_images: [N, 3, H, W] in [-1, 1], pictures of the target domain (`config.image_share` of the goal).
        goal: aim at this, instead of at what texts and images say: `Goal.unpacked(recipe["goal"])` of an adaptation to
            style images does it again without them.
        resume: from `Adaptation.state` of an earlier run: go on from there. On the CPU, the result is that of a run
            that never stopped, bit for bit.

    Returns:
        An iterator over the records of the steps that are left of `config.iterations`, with the length of all.

    Raises:
        UsageError: a text or number does not fit this generator or these CLIP models, or not the run to go on with.
    """
    return Adaptation(generator, clip, config, style_images, goal, resume)


class Adaptation(TrainingLoop[AdaptStep]):
    """A run under way: an iterator of `AdaptStep`. Made by `adapt`.

    Attributes:
        frozen: the generator it started from.
        trained: its twin, as trained so far.
        iteration: steps done.
        goal: what it aims at, in CLIP space.
        pieces: that each batch is computed in: 1 is the fastest, more take less memory. Steps come to the same.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        generator: Generator,
        clip: ClipEnsemble,
        config: AdaptConfig,
        style_images: Tensor | None = None,
        goal: Goal | None = None,
        resume: RunState | None = None,
    ):
        if generator.config.img_channels != 3:
            raise UsageError(f"this generator makes {generator.config.img_channels} channels; CLIP needs RGB images")
        super().__init__(config.iterations)
        self.config, self.clip, self.frozen = config, clip, generator
        self.k = config.layer_count(generator)
        self.layers = config.trained_layers(generator)
        self.extra = config.extra_layers(generator)
        if resume:
            goal = Goal.unpacked(resume.goal)
        tell_goal = "goal" in resume.recipe if resume else goal is not None or style_images is not None
        self.goal = (goal or make_goal(generator, clip, config, style_images)).to(generator.device)
        self.goal.refuse_other_models(clip)
        self.trained = copy.deepcopy(generator).eval().requires_grad_(False)
        self.synthesis = self.trained.synthesis
        self.pieces, self.half = 1, config.precision == "half"
        self.rate, self.views = config.rate(generator), view_count(config.views, clip)
        self.random = seeded(config.seed)
        self.noise = NoisePool(self.synthesis, self.random)
        # Where random parts are cut out is a matter of the CPU, which a recording does not repeat.
        recorded = config.cuda_graphs and generator.device.type == "cuda" and not config.patch_weight
        self.recordings = {"scores": Recording(), "gradients": Recording()} if recorded else {}
        self.trainable = Trainable(self.trained, self.layers, config.train, config.rank, self.random)
        # Layers without a gradient are skipped and keep their state: a layer that was frozen for a while goes on as
        # it left off. (PyTorch before 2.0 let Adam's averages decay meanwhile, so that it came back with larger steps.)
        fused = {"fused": True} if generator.device.type == "cpu" else {}  # a fifth of the time, measured
        self.optimizer = torch.optim.Adam(self.trainable.leaves.values(), lr=self.rate, betas=BETAS, **fused)
        self._previous = generator.metadata.get("adaptations", [])
        self._known = {
            "learning_rate": self.rate,
            "views": self.views,
            "clip": clip.describe(),
            "base": generator.fingerprint(),
        }
        if tell_goal:  # the texts alone would not lead here again
            self._known["goal"] = self.goal.packed()
        if self.goal.source and not config.source.strip():
            self._known["source_found"] = self.goal.source
        if resume:
            self._restore(resume)
        self.start_clock()

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """One iteration: choose the layers that matter, where that is due, then train them.

        If it fails, such as for want of memory, nothing has happened: `next` does the same step again.
        """
        random, layers = self.random.get_state(), self.layers
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with tensor_float32(self.frozen.device):
                if self.k is not None and self.iteration % self.config.select_every == 0:
                    self.layers = (*self.select_layers(), *self.extra)
                return self.train_layers()  # moves weights last, when the memory of all else is free again
        except BaseException:
            self.random.set_state(random)
            self.layers = layers
            self.trained.zero_grad(set_to_none=True)
            raise

    def spare_memory(self) -> bool:
        """Take about half as much memory for the steps to come, and more time; their results stay the same.

        For use after a step that failed for want of memory: `while run.spare_memory()`, try `next(run)` again. First
        the batches go through in twice as many pieces. Where pieces are single images, blocks of the network are
        computed one by one too.

        Returns:
            False if a step takes as little as it can already.
        """
        if self.pieces < self.config.batch * max(self.views, 1):
            self.pieces *= 2
        elif not self.synthesis.recompute:
            self.synthesis.recompute = True
        else:
            return False
        self.recordings = {name: Recording() for name in self.recordings}
        return True

    def record(self, losses: dict[str, Tensor], loss: Tensor, seconds: float) -> AdaptStep:
        self.trained.requires_grad_(False)
        self.trained.metadata["adaptations"] = [*self._previous, self.recipe()]
        return AdaptStep(self.iteration, loss, losses, self.layers, seconds, self.trained)

    @property
    def images_at_once(self) -> int:
        """How many images there is memory for at once, as far as the steps have shown."""
        return max(1, self.config.batch // self.pieces)

    @property
    def labels(self) -> tuple[str, str]:
        """What to call the two sides: the source text, given or found, and the target text."""
        return self.goal.source or "before", self.config.target.strip() or STYLE_IMAGES

    def recipe(self) -> dict[str, Any]:
        """All that is needed to do this again, JSON-able: configuration, CLIP models, base, and how far it came."""
        return {**asdict(self.config), **self._known, "iterations_done": self.iteration}

    def state(self, **notes: Any) -> RunState:
        """All that `adapt` needs to go on from here, with notes of the caller's to keep beside it."""
        tensors = {"random": self.random.get_state(), **self._probes}
        tensors |= optimizer_tensors(self.optimizer, self.trainable.leaves)
        return RunState(tensors, self.recipe(), self.goal.packed(), self.layers, notes)

    @cached_property
    def _probes(self) -> dict[str, Tensor]:
        """The same in every state of a run, and each takes a text through CLIP: so once."""
        return clip_probes(self.clip)

    def _restore(self, state: RunState) -> None:
        refuse_another(state, self.recipe(), self._probes)
        self.iteration = state.recipe["iterations_done"]
        if self.iteration > self.config.iterations:
            raise UsageError(f"the run has done {self.iteration} iterations, more than {self.config.iterations}")
        restore_optimizer(self.optimizer, self.trainable.leaves, state.tensors)
        self.trainable.push()
        self.random.set_state(state.tensors["random"])
        self.layers = state.layers
        self.trained.metadata["adaptations"] = [*self._previous, self.recipe()]

    def select_layers(self) -> tuple[str, ...]:
        """The first half of an iteration: which convolutions the target moves most (section 4.2)."""
        self.trained.requires_grad_(False)
        count = self.config.select_batch
        drawn = self.draw_codes(count) | self.noise.draw(count, self.random)
        scores = self._repeated("scores", self._scores, drawn)["scores"]
        return layer_freeze.choose(self.synthesis, scores, self.k)

    def _scores(self, drawn: Tensors) -> Tensors:
        """How far each of the codes drawn moves towards the target: [num_ws], as "scores"."""
        ws, noise = self.codes(self.trained.mapping, drawn), self._noise(drawn)
        scores, count = torch.zeros_like(ws[0, :, 0]), len(ws)
        # Never more images at a time than a training step has: that takes no longer, and half the memory (measured).
        for part in slices(count, self.pieces * ceil(count / self.config.batch)):
            share = len(ws[part]) / count
            loss = partial(self._distance, noise=_cut(noise, part), share=share)
            scores += share * layer_freeze.measure(self.synthesis, ws[part], loss, self.config.select_steps)
        return {"scores": scores}

    def _distance(self, codes: Tensor, noise: dict[str, Tensor], share: float) -> Tensor:
        """What codes [N, num_ws, w_dim] that are `share` of a batch add to its mean distance from the target."""
        images = self.synthesis(codes, noise, half=self.half)
        pairs = zip(self.clip, self.goal.targets, strict=True)
        return share * sum(m.weight * global_loss(self._embed(m, images), target) for m, target in pairs)

    def train_layers(self) -> tuple[dict[str, Tensor], Tensor]:
        """The second half: one step of Adam on the chosen layers. Returns the losses and what was minimized."""
        batch, weights = self.config.batch, self.config.loss_weights
        # The same noise, views and parts for both twins: only their weights may differ.
        drawn = self.draw_codes(batch, self.config.mixing) | self.noise.draw(batch, self.random)
        if self.views:
            drawn["moves"] = random_moves(self.views, batch, self.random).to(self.frozen.device)
        crop = random_crops(batch * max(self.views, 1), self.random) if "patch" in weights else None
        # A recording always has the gradients of all layers: one serves for whichever are chosen.
        recorded = self.recordings and not self.recordings["gradients"].given_up
        self.trainable.free(tuple(self.trainable.parameters) if recorded else self.layers)
        found = self._repeated("gradients", partial(self._gradients, crop=crop), drawn)
        self.trainable.step(self.optimizer, found, self.layers)
        losses = {name: found[name].clone() for name in weights}
        return losses, sum(weights[name] * loss for name, loss in losses.items())

    def _gradients(self, drawn: Tensors, crop: Callable[[Tensor], Tensor] | None = None) -> Tensors:
        """Each loss of what was drawn, and the gradient of all of them for each parameter that is free."""
        noise = self._noise(drawn)
        show = partial(moved, moves=drawn.get("moves"))
        with torch.no_grad():
            ws = self.codes(self.frozen.mapping, drawn)
            before = show(self._images(self.frozen.synthesis, ws, noise))
        if "mapping" in self.layers:
            ws = self.codes(self.trained.mapping, drawn)
        after = show(self._images(self.synthesis, ws, noise))
        losses, slope = self.losses(before, after, crop)
        return losses | self.trainable.gradients(after, slope)

    def _repeated(self, name: str, function: Function, tensors: Tensors) -> Tensors:
        """What a function makes of tensors, from a recording if there is to be one."""
        return self.recordings[name](function, tensors) if self.recordings else function(tensors)

    def _noise(self, drawn: Tensors) -> dict[str, Tensor]:
        return {name: drawn[name] for name in self.noise.shapes}

    def _images(self, synthesis: Synthesis, ws: Tensor, noise: dict[str, Tensor]) -> Tensor:
        render = lambda part: synthesis(ws[part], _cut(noise, part), half=self.half)
        return in_pieces(render, len(ws), self.pieces)

    def _embed(self, model: ClipModel, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16) if self.half else nullcontext():
            return in_pieces(lambda part: model.encode_image(images[part]), len(images), self.pieces)

    def losses(
        self, before: Tensor, after: Tensor, crop: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses with a weight, each added up over the CLIP models, and where they lead.

        One CLIP model is done before the next one begins, so that only one takes the memory of a backward pass.

        Args:
            before, after: [N, 3, R, R] images of the frozen and of the trained generator.
            crop: cuts the same random parts out of both, for the patch loss.

        Returns:
            {loss: []}, and the gradient [N, 3, R, R] of their weighted sum with regard to `after`.
        """
        weights = self.config.loss_weights
        after = after.detach().requires_grad_(True)
        losses, gradient = dict.fromkeys(weights, 0.0), 0.0
        for model, direction, target in zip(self.clip, self.goal.directions, self.goal.targets, strict=True):
            pair = Pair(partial(self._embed, model), before, after, crop, direction, target)
            found = {name: model.weight * LOSSES[name](pair) for name in weights}
            gradient = gradient + torch.autograd.grad(sum(weights[name] * found[name] for name in weights), after)[0]
            losses = {name: losses[name] + loss.detach() for name, loss in found.items()}
        return losses, gradient

    def draw_codes(self, batch: int, mixing: float = 0.0) -> Tensors:
        """Random z and classes, and whether and where the codes of two z mix: what `codes` makes codes of."""
        z = torch.randn(2 * batch, self.frozen.config.z_dim, generator=self.random)
        drawn, classes = {"z": z}, self.frozen.config.c_dim
        if classes:
            labels = torch.randint(classes, (2 * batch,), generator=self.random)
            drawn["label"] = F.one_hot(labels, classes).to(z)
        crossover = self.frozen.num_ws
        if torch.rand([], generator=self.random) < mixing:
            crossover = int(torch.randint(1, crossover, [], generator=self.random))
        drawn["crossover"] = torch.tensor([crossover])
        return {name: tensor.to(self.frozen.device) for name, tensor in drawn.items()}

    @staticmethod
    def codes(mapping: Mapping, drawn: Tensors) -> Tensor:
        """The codes [batch, num_ws, w_dim] that a mapping network makes of what was drawn, not truncated.

        Both twins get the same z and the same mixture.
        """
        return mix_latents(*mapping(drawn["z"], label=drawn.get("label", 0)).chunk(2), drawn["crossover"])


def _cut(noise: dict[str, Tensor], part: slice) -> dict[str, Tensor]:
    """The noise maps of a part of the batch."""
    return {name: maps[part] for name, maps in noise.items()}
