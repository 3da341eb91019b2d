"""The training loop of StyleGAN-NADA (Gal et al., arXiv 2108.00946): two phrases move a generator to a new domain.

Two generators start equal. One stays frozen; the other is trained until its images differ from the frozen one's, in
CLIP space, in the direction in which the target text differs from the source text. Each iteration first chooses the
layers that matter (`layer_freeze`), then trains only those.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor

from . import layer_freeze
from .clip.models import ClipEnsemble
from .clip.views import moved, view_count
from .errors import NadaError, UsageError
from .generators import Generator, Synthesis
from .generators.half_precision import require_half
from .settings import settings_of
from .training.config import STYLE_IMAGES, AdaptConfig
from .training.cuda_graphs import Function, Recording, Tensors
from .training.goal import Goal, make_goal
from .training.lock_step import FrozenSide
from .training.loop import TrainingLoop
from .training.objective import Objective, View
from .training.pieces import in_pieces, slices
from .training.precision import tensor_float32
from .training.sampler import Sampler
from .training.state import RunState, refuse_another, saved_styles, style_tensors
from .training.trainer import Trainer


@dataclass(frozen=True)
class AdaptStep:
    """The record of one iteration."""

    iteration: int
    """Number of iterations done, from 1."""
    loss: Tensor
    """The weighted sum of `losses`, which is minimized; [] on the device."""
    losses: dict[str, Tensor]
    """Each loss in use, summed over the CLIP models with their weights, before its own weight; [] on the device."""
    layers: tuple[str, ...]
    """Names of the layers that this iteration trained."""
    seconds: float
    """Time since the end of the previous iteration."""
    generator: Generator
    """The trained twin itself: the next iteration changes it. Save it, make images with it, or deep-copy it."""


def adapt(
    generator: Generator,
    clip: ClipEnsemble,
    config: AdaptConfig,
    style_images: Tensor | None = None,
    goal: Goal | None = None,
    resume: RunState | None = None,
) -> Adaptation:
    """Adapt a generator to a new domain, one iteration at a time.

    The work happens while the result is iterated over; stop at any iteration and keep `step.generator`:

        for step in adapt(generator, clip, AdaptConfig(source="photo", target="sketch")):
            print(step.iteration, float(step.loss))
        save_generator(step.generator, "sketch.safetensors")

    Args:
        generator: the base. It is not changed, and must not be changed during the run.
        clip: the CLIP models that score images, on the same device.
        config: texts, layers, losses and number of iterations.
        style_images: [N, 3, H, W] in [-1, 1], pictures of the target domain (`config.image_share` of the goal).
        goal: the goal to train towards, in place of texts and images. `Goal.unpacked(recipe["goal"])` repeats an
            adaptation to style images without the images, except for the style loss.
        resume: `Adaptation.state` of an earlier run, to resume from. On the CPU, the result is that of a run that never
            stopped, bit for bit.

    Returns:
        An iterator over the records of the remaining iterations; its length is `config.iterations`.

    Raises:
        UsageError: a text or number does not fit this generator, these CLIP models or the run to resume.
        NadaError: the state to resume from is damaged.
    """
    return Adaptation(generator, clip, config, style_images, goal, resume)


class Adaptation(TrainingLoop[AdaptStep]):
    """A run in progress: an iterator of `AdaptStep`. Made by `adapt`, with the same arguments.

    Attributes:
        frozen: the generator that the run started from.
        objective: losses of the twins' images.
        sampler: source of all random draws.
        trainer: the trained twin and its optimizer.
        iteration: number of iterations done.
        pieces: number of chunks that each batch is computed in. 1 is the fastest, more take less memory; the results
            are the same.
        frozen_side: cache of the frozen generator's images. Runs that differ only in their texts may share one.
    """

    frozen_side: FrozenSide | None = None

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
        super().__init__(config.iterations, (generator, *clip))
        self.config, self.frozen, self.pieces = config, generator, 1
        config.layer_count(generator), config.trained_layers(generator)  # refuse what does not fit before CLIP works
        if config.precision == "half":
            require_half(generator.device)
        if resume:
            goal = Goal.unpacked(resume.goal, saved_styles(resume.tensors))
        tell_goal = "goal" in resume.recipe if resume else goal is not None or style_images is not None
        goal = (goal or make_goal(generator, clip, config, style_images)).to(generator.device)
        goal.refuse_other_models(clip)
        if config.style_weight and len(goal.styles) != len(clip):
            raise UsageError("style_weight compares with style images; give some, or set it to 0")
        self.objective = Objective(clip, goal, config.loss_weights, config.precision == "half")
        self.sampler = Sampler(generator, config.seed, view_count(config.views, clip))
        self.trainer = Trainer(generator, config, self.sampler.random)
        # Crop positions are chosen on the CPU, so a CUDA graph cannot replay them.
        recorded = config.cuda_graphs and generator.device.type == "cuda" and not config.patch_weight
        self.recordings = {"scores": Recording(), "gradients": Recording()} if recorded else {}
        self._previous = generator.metadata.get("adaptations", [])
        self._known = {
            "learning_rate": self.trainer.learning_rate,
            "views": self.sampler.views,
            "clip": clip.describe(),
            "base": generator.fingerprint(),
        }
        if tell_goal:  # the texts alone do not determine it
            self._known["goal"] = goal.packed()
        if goal.source and not config.source.strip():
            self._known["source_found"] = goal.source
        if resume:
            self._restore(resume)
        self.start_clock()

    @property
    def trained(self) -> Generator:
        """The trained twin."""
        return self.trainer.generator

    @property
    def clip(self) -> ClipEnsemble:
        """The CLIP models."""
        return self.objective.clip

    @property
    def goal(self) -> Goal:
        """The directions and targets in CLIP space that the run trains towards."""
        return self.objective.goal

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """Run one iteration: choose the layers that matter, where that is due, then train them.

        If the iteration fails (e.g. out of memory), all state is rolled back, so `next` retries it.
        """
        random, layers = self.sampler.random.get_state(), self.trainer.layers
        try:
            with tensor_float32(self.frozen.device):
                if (count := self.trainer.count) and self.iteration % self.config.select_every == 0:
                    self.trainer.choose(self.select_layers(count))
                return self.train_layers()  # updates weights last, so that a failure leaves them untouched
        except BaseException:
            self.sampler.random.set_state(random)
            self.trainer.layers = layers
            self.trainer.reset()
            raise

    def spare_memory(self) -> bool:
        """Halve the chunk size of the next iterations: less memory, more time, the same results.

        Call it after an iteration that ran out of memory, and retry `next(run)` for as long as it returns True. Once
        chunks are single images, gradient checkpointing is switched on: the blocks of the network are recomputed in the
        backward pass.

        Returns:
            False if an iteration cannot take less memory.
        """
        if self.pieces < self.config.batch * max(self.sampler.views, 1):
            self.pieces *= 2
        elif not self.trained.synthesis.recompute:
            self.trained.synthesis.recompute = True
        else:
            return False
        self.recordings = {name: Recording() for name in self.recordings}
        return True

    def record(self, losses: dict[str, Tensor], loss: Tensor, seconds: float) -> AdaptStep:
        """Return the record of the iteration just done, with the recipe up to date in the twin's metadata."""
        self.trainer.freeze()
        self.trainer.center()
        self._describe()
        return AdaptStep(self.iteration, loss, losses, self.trainer.layers, seconds, self.trained)

    @property
    def images_at_once(self) -> int:
        """Number of images that fit into memory at once, as far as the iterations so far have shown."""
        return max(1, self.config.batch // self.pieces)

    @property
    def labels(self) -> tuple[str, str]:
        """Labels of the two sides: the source text, given or found, and the target text."""
        return self.goal.source or "before", self.config.target.strip() or STYLE_IMAGES

    def recipe(self) -> dict[str, Any]:
        """Return all that is needed to repeat the run, JSON-able: configuration, CLIP models, base, iterations done."""
        return {**asdict(self.config), **self._known, "iterations_done": self.iteration}

    def state(self, **notes: Any) -> RunState:
        """Return the state that `adapt` needs to resume from here.

        Args:
            **notes: JSON-able data of the caller to keep with the state.
        """
        tensors = {"random": self.sampler.random.get_state()} | self.trainer.tensors()
        tensors |= style_tensors(self.goal.styles)
        return RunState(tensors, self.recipe(), self.goal.packed(), self.trainer.layers, notes)

    def _restore(self, state: RunState) -> None:
        try:
            # A setting that the run's version did not have counts as its default.
            defaults = {name: setting.default for name, setting in settings_of(AdaptConfig).items()}
            refuse_another(replace(state, recipe={**defaults, **state.recipe}), self.recipe())
            self.iteration = state.recipe["iterations_done"]
            if self.iteration < 0:
                raise NadaError(f"the state of the run is damaged: it has done {self.iteration} iterations")
            if self.iteration > self.config.iterations:
                raise UsageError(
                    f"the run has done {self.iteration} iterations, more than {self.config.iterations}; give a larger "
                    "number"
                )
            self.sampler.random.set_state(state.tensors["random"])
        except (LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise NadaError(f"the state of the run is damaged: {str(error)[:200]}") from error
        # Outside the block above, because a failure of the device, such as too little memory, is no damage.
        self.trainer.restore(state.tensors, state.layers)
        self.trainer.center()
        self._describe()

    def _describe(self) -> None:
        """Write the recipe into the trained twin."""
        self.trained.metadata["adaptations"] = [*self._previous, self.recipe()]

    def select_layers(self, count: int) -> tuple[str, ...]:
        """Return the `count` convolutions whose codes the target moves most: the first half of an iteration (4.2)."""
        self.trainer.freeze()
        drawn = self.sampler.batch(self.config.select_batch)
        scores = self._repeated("scores", self._scores, drawn)["scores"]
        return layer_freeze.choose(self.frozen.layers, scores, count)

    def _scores(self, drawn: Tensors) -> Tensors:
        """Return "scores" [num_ws]: the distance that each code of a batch moves towards the target."""
        ws, noise = self.sampler.codes(self.trained.mapping, drawn), self.sampler.noise_maps(drawn)
        scores, count = torch.zeros_like(ws[0, :, 0]), len(ws)
        # Chunk size is capped at the training batch: same speed, half the memory (measured).
        for part in slices(count, self.pieces * ceil(count / self.config.batch)):
            share = len(ws[part]) / count
            loss = partial(self._distance, noise=_cut(noise, part), share=share)
            scores += share * layer_freeze.measure(ws[part], loss, self.config.select_steps)
        return {"scores": scores}

    def _distance(self, codes: Tensor, noise: dict[str, Tensor], share: float) -> Tensor:
        """Return the part of a batch's mean distance to the target that its codes [N, num_ws, w_dim] contribute.

        Args:
            codes: a chunk of the batch.
            noise: noise maps of the chunk.
            share: size of the chunk, as a fraction of the batch.
        """
        images = self.trained.synthesis(codes, noise, bfloat16=self.objective.bfloat16)
        return share * self.objective.distance(images, self.pieces)

    def train_layers(self) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step of Adam on the chosen layers: the second half. Return the losses and their weighted sum."""
        batch, objective = self.config.batch, self.objective
        draws = self.sampler.random.get_state()
        # The twins share noise, views and crops: only their weights may differ.
        drawn = self.sampler.batch(batch, self.config.mixing) | self.sampler.moves(batch)
        crop = self.sampler.crop(batch) if "patch" in objective.weights else None
        # A CUDA graph computes the gradients of all layers, so that one graph serves for any choice of layers.
        self.trainer.free(everything=bool(self.recordings) and not self.recordings["gradients"].given_up)
        found = self._repeated("gradients", partial(self._gradients, draws=draws, crop=crop), drawn)
        self.trainer.step(found)
        losses = {name: found[name].clone() for name in objective.weights}
        return losses, objective.weighted(losses)

    def _gradients(self, drawn: Tensors, draws: Tensor, crop: View | None) -> Tensors:
        """Return each loss of a batch, and the gradient of their weighted sum for each parameter that is trained."""
        noise = self.sampler.noise_maps(drawn)
        show = partial(moved, moves=drawn.get("moves"))
        side = FrozenSide() if self.frozen_side is None or self.recordings else self.frozen_side
        with torch.no_grad():
            ws = self.sampler.codes(self.frozen.mapping, drawn)
            render = lambda: show(self._images(self.frozen.synthesis, ws, noise))
            before, known = side.of(draws, self.pieces, render)
        if self.trainer.maps:
            ws = self.sampler.codes(self.trained.mapping, drawn)
        after = show(self._images(self.trained.synthesis, ws, noise))
        losses, slope = self.objective.losses(before, after, crop, self.pieces, known)
        return losses | self.trainer.trainable.gradients(after, slope)

    def _repeated(self, name: str, function: Function, tensors: Tensors) -> Tensors:
        """Return `function(tensors)`, replayed from a CUDA graph where graphs are switched on."""
        return self.recordings[name](function, tensors) if self.recordings else function(tensors)

    def _images(self, synthesis: Synthesis, ws: Tensor, noise: dict[str, Tensor]) -> Tensor:
        render = lambda part: synthesis(ws[part], _cut(noise, part), bfloat16=self.objective.bfloat16)
        return in_pieces(render, len(ws), self.pieces)


def _cut(noise: dict[str, Tensor], part: slice) -> dict[str, Tensor]:
    """Return the noise maps of a chunk of the batch."""
    return {name: maps[part] for name, maps in noise.items()}
