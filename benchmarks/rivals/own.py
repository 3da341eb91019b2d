"""This project's methods on the harness of its rivals: functions that return a map from z to images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from nada import (
    AdaptConfig,
    ClipEnsemble,
    DirectionConfig,
    Generator,
    MapperConfig,
    OptimizeConfig,
    adapt,
    apply_style,
    generate,
    measure_relevance,
    optimize_latents,
    train_mapper,
)
from nada.clip.directions import text_direction
from nada.losses import directional_loss
from nada.measure import judging
from nada.measure.evaluate import Samples
from nada.seeding import seeded
from nada.stylegan2.discriminator import Discriminator

from .truth import Target

Images = Callable[[Tensor], Tensor]
AMOUNTS = (1.0, 2.0, 4.0, 8.0)  # amounts of a global direction: CLIP chooses one for each target
# Weights of the L2 losses of StyleCLIP's mapper and optimization. At StyleCLIP's own, 0.8 and 0.008, hardly an image
# leaves the generator's domain.
MAPPER_PULL, OPTIMIZATION_PULL = 0.1, 0.001
STYLE_WEIGHT = 3.0
AT_ONCE, OPTIMIZED = 16, 32  # numbers of images of latent optimization: per chunk, and in all


@dataclass(frozen=True)
class Task:
    """Input of a method."""

    base: Generator
    clip: ClipEnsemble
    target: Target
    seen: Tensor
    """True pictures [N, 3, R, R], for the methods that use them."""
    seed: int
    steps: int
    discriminator: Discriminator
    """Discriminator of the generator's own domain."""
    encoder: Callable[[Tensor], Tensor]
    """Encoder from images [N, 3, R, R] to codes [N, num_ws, w_dim], with gradients."""


def frozen(task: Task) -> Images:
    """The unadapted generator."""
    return lambda z: generate(task.base, task.base.mapping(z))


def true_drawings(task: Task) -> Images:
    """True drawings of the same individuals in the target's style or species."""
    return lambda z: judging.true_drawings(Samples(z, z, z), task.target.goal) * 2 - 1


def settings(task: Task, source: str, target: str) -> AdaptConfig:
    """Settings that the generator's file recommends, with the steps and the seed of a task."""
    return AdaptConfig.for_generator(task.base, source, target, iterations=task.steps, seed=task.seed)


def nada(task: Task) -> Images:
    """StyleGAN-NADA with two texts."""
    *_, last = adapt(task.base, task.clip, settings(task, task.target.source, task.target.target))
    return lambda z: generate(last.generator, task.base.mapping(z))


def nada_images(task: Task, style_weight: float = 0.0) -> Images:
    """StyleGAN-NADA with images instead of the target text."""
    config = replace(settings(task, "", ""), style_weight=style_weight)
    *_, last = adapt(task.base, task.clip, config, task.seen)
    return lambda z: generate(last.generator, task.base.mapping(z))


def optimization(task: Task) -> Images:
    """StyleCLIP's latent optimization, for each image separately."""
    config = OptimizeConfig(task.target.target, task.steps, seed=task.seed, l2_weight=OPTIMIZATION_PULL)

    def images(z: Tensor) -> Tensor:
        made = []
        for part in task.base.mapping(z).split(AT_ONCE):
            *_, last = optimize_latents(task.base, task.clip, part, config)
            made.append(generate(task.base, last.ws))
        return torch.cat(made)

    return images


def mapper(task: Task) -> Images:
    """StyleCLIP's mapper, on the unadapted generator, without the embedding-norm loss, which is NADA's."""
    config = MapperConfig(
        task.target.target, task.steps, psi=1.0, seed=task.seed, l2_weight=MAPPER_PULL, norm_weight=0.0
    )
    *_, last = train_mapper(task.base, task.clip, config)
    return lambda z: generate(task.base, last.mapper(task.base.mapping(z)).detach())


def directions(task: Task) -> Images:
    """StyleCLIP's global directions; `steps` is the number of style channels to try."""
    config = DirectionConfig(task.target.source, task.target.target, candidates=task.steps, seed=task.seed)
    relevance = measure_relevance(task.base, task.clip, config)
    edits = [apply_style(task.base, relevance.style(min(0.1, relevance.largest), amount)) for amount in AMOUNTS]
    edited = edits[directional_losses(task, edits).argmin()]
    return lambda z: generate(edited, task.base.mapping(z))


@torch.no_grad()
def directional_losses(task: Task, edits: list[Generator]) -> Tensor:
    """Directional losses [edits] between images of the base and of edited generators, summed over the CLIP models."""
    z = torch.randn(AT_ONCE, task.base.config.z_dim, generator=seeded(task.seed))
    before, *after = (generate(generator, task.base.mapping(z)) for generator in (task.base, *edits))
    losses = torch.zeros(len(edits))
    for model in task.clip:
        source = model.encode_image(before)
        wanted = text_direction(model, task.target.source, task.target.target)
        losses += model.weight * torch.stack(
            [directional_loss(source, model.encode_image(images), wanted) for images in after]
        )
    return losses


@dataclass(frozen=True)
class TaskMethod:
    """A method given by a function of a task."""

    name: str
    source: str = field(repr=False)
    """Paper, and differences from it."""
    tests: tuple[str, ...] = field(repr=False)
    """Names of the tests of what distinguishes it."""
    images: Callable[[Task], Images] = field(repr=False)
    sees: int = 0
    """Number of true pictures that it sees in the rows of the table."""
    share: float = 1.0
    """Number of steps, as a share of NADA's."""
    at_most: int | None = None
    """Largest number of images to measure, for a method that optimizes each image; None for no limit."""
    constants: tuple[float, ...] = ()
    """Constants that the function reads: its runs are done again when one changes."""
    version: int = 1
    """Number to raise whenever the method's code changes its images, so that its runs are done again."""


BOUNDS = ("test_true_drawings_are_the_ceiling_and_the_frozen_generator_the_start",)
METHODS: dict[str, TaskMethod] = {
    method.name: method
    for method in (
        TaskMethod("frozen", "the generator before any training.", BOUNDS, frozen, share=0.0),
        TaskMethod(
            "true drawings",
            "the measured individuals, drawn in the target's style or species, as the ceiling of each measure.",
            BOUNDS,
            true_drawings,
            share=0.0,
            constants=(judging.VERSION,),
        ),
        TaskMethod(
            "NADA",
            "Gal et al., arXiv 2108.00946, with the settings that the generator's file recommends.",
            ("test_directional_loss_is_the_formula_and_ignores_lengths",),
            nada,
        ),
        TaskMethod(
            "NADA images",
            "the same with images in place of the target text.",
            ("test_style_images_give_the_direction_from_the_generators_own",),
            nada_images,
            sees=10,
        ),
        TaskMethod(
            "NADA images+style",
            f"that with DiFa's style loss, style_weight {STYLE_WEIGHT:g}, which was chosen on ukiyo-e prints.",
            ("test_style_loss_is_the_relaxed_earth_movers_distance_of_all_pairs",),
            partial(nada_images, style_weight=STYLE_WEIGHT),
            sees=10,
            constants=(STYLE_WEIGHT,),
        ),
        TaskMethod(
            "StyleCLIP optimization",
            f"Patashnik et al., arXiv 2103.17249, section 4, with an L2 weight of {OPTIMIZATION_PULL}.",
            ("test_losses_equal_the_formulas",),
            optimization,
            at_most=OPTIMIZED,
            constants=(OPTIMIZATION_PULL, AT_ONCE),
        ),
        TaskMethod(
            "StyleCLIP mapper",
            f"the same paper, section 5, with an L2 weight of {MAPPER_PULL}; codes are not truncated.",
            ("test_one_step_equals_the_formulas_in_float64",),
            mapper,
            share=2.0,
            constants=(MAPPER_PULL,),
        ),
        TaskMethod(
            "StyleCLIP directions",
            f"the same paper, section 6; steps are style channels, and CLIP chooses one of the amounts "
            f"{', '.join(f'{amount:g}' for amount in AMOUNTS)}; codes are not truncated.",
            ("test_relevance_equals_the_definition",),
            directions,
            share=2.0,
            constants=(*AMOUNTS, AT_ONCE),
        ),
    )
}
