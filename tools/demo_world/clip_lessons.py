"""Lessons for a CLIP in training: individuals in three pictures each, and all that is known about them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from album import Pages
from attacks import disturbed, moved, random_moves, through_random_network
from captions import QUESTIONS, Question
from individual_code import individual_code
from spoiled import borrowed, half_way, patchwork
from torch import Tensor

from nada.demo.world import SPECIES, STYLES, Parameters

SHOWN = 16  # individuals per step
ASKED = 4  # questions about attributes per step


@dataclass(frozen=True)
class Asked:
    """A question about pictures of one species, and the true answers [pictures], -1 for none."""

    question: Question
    species: str
    truth: Tensor


def ask(question: Question, species: str, pages: Pages) -> Asked:
    """The answers to a question for the pictures [N * 2] of pages, for those of `species` only."""
    a = SPECIES.index(species)
    truth = torch.full(pages.style.shape, -1)
    for s in pages.style.unique().tolist():
        answers = question.answer(pages.parameters, species, STYLES[s])
        chosen = (pages.style == s) & (pages.species == a)
        truth = torch.where(chosen, answers[:, None], truth)
    return Asked(question, species, truth.T.flatten())


@dataclass(frozen=True)
class Lesson:
    """The pictures [3 * SHOWN] of a step in the order first, second, part of the way, and what is known about them."""

    pictures: Tensor
    pages: Pages
    style: Tensor  # [2 * SHOWN]
    species: Tensor
    share: Tensor  # how far the third pictures are on the way, [SHOWN]
    codes: Tensor  # who it is and how it is disturbed, [3 * SHOWN, RESERVED]
    asked: list[Asked]


def prepare(pages: Pages, size: int, reach: float, pick: random.Random, rng: torch.Generator) -> Lesson:
    """Pictures of individuals, moved and disturbed alike for each individual."""
    shrink = pages.pictures.shape[-1] // size
    first, second, creature = (
        F.avg_pool2d(x.float() / 255, shrink) if shrink > 1 else x.float() / 255
        for x in (pages.pictures[:, 0], pages.pictures[:, 1], pages.third)
    )
    makers = [maker(first, second, rng) for maker in (half_way, patchwork, borrowed)]
    kind = torch.randint(3, (len(first),), generator=rng)
    has_creature = pages.share > 0
    kind = torch.where(pages.species[:, 0] != pages.species[:, 1], kind.clamp_max(1), kind)
    third, share = makers[0][0].clone(), makers[0][1].clone()
    for number, (picture, amount) in enumerate(makers):
        third[kind == number], share[kind == number] = picture[kind == number], amount[kind == number]
    third[has_creature], share[has_creature] = creature[has_creature], pages.share[has_creature]
    moves = random_moves(len(first), rng, reach).repeat(3, 1, 1)
    pictures = moved(torch.cat([first, second, third]), moves)
    group = torch.arange(len(first)).repeat(3)
    if pick.random() < 0.4:
        pictures = through_random_network(pictures, rng)
    pictures, nuisance = disturbed(pictures, group, rng)
    everyone = Parameters(pages.parameters.values.repeat(3, 1))
    codes = torch.cat([nuisance, individual_code(everyone, moves)], 1)
    asked = [ask(q, pick.choice(SPECIES), pages) for q in pick.sample(QUESTIONS, ASKED)]
    style, species = pages.style.T.flatten(), pages.species.T.flatten()
    return Lesson(pictures, pages, style, species, share, codes, [a for a in asked if (a.truth >= 0).any()])
