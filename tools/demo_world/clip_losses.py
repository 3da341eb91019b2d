"""Losses of the demo CLIPs: pictures and captions are both brought to a table of meanings.

A text tower with random weights gives nearly equal embeddings to all captions, and an image tower that is trained
against them learned species no better than chance in 500 steps (62 % with the table).
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from attacks import attacked
from captions import QUESTIONS, answer_captions, joined_captions, species_captions, style_captions
from clip_lessons import SHOWN, Lesson
from clip_model import DIMENSIONS, RESERVED, encode_pictures
from open_clip.model import CLIP
from torch import Tensor, nn

from nada.demo.world import SPECIES, STYLES

AGREEMENT = 0.93  # cosine wanted between a full change of the picture and that of the words
SHARPNESS = 20.0  # scale of the cosines from which a caption's meaning is told


class Meanings(nn.Module):
    """A unit vector for each style, each species and each answer to a question; zero in the reserved dimensions.

    What is said of two things at once, such as a style and a species, is the unit vector along their sum.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = {"style": len(STYLES), "species": len(SPECIES)}
        sizes |= {q.name: max(len(q.phrases(species)) for species in SPECIES) for q in QUESTIONS}
        self.table = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(count, DIMENSIONS - RESERVED)) for name, count in sizes.items()}
        )

    def rows(self, name: str) -> Tensor:
        """The meanings of all styles, species or answers to a question, [K, D]."""
        return F.pad(F.normalize(self.table[name], dim=-1), (0, RESERVED))

    def joined(self) -> Tensor:
        """The meanings of each species in each style, styles first, [K, D]."""
        both = self.rows("style")[:, None] + self.rows("species")[None]
        return F.normalize(both, dim=-1).flatten(0, 1)

    def answers(self, name: str, species: str) -> Tensor:
        """The meanings of a species with each answer to a question, [K, D]."""
        return F.normalize(self.rows(name) + self.rows("species")[SPECIES.index(species)], dim=-1)


def captions_of(lesson: Lesson, pick: random.Random) -> dict[str, list[str]]:
    """Fresh captions for each style, species, both, and the answers to the lesson's questions."""
    captions = {"style": style_captions(pick), "species": species_captions(pick), "both": joined_captions(pick)}
    return captions | {a.question.name: answer_captions(a.question, a.species, pick) for a in lesson.asked}


def caption_loss(meanings: Meanings, lesson: Lesson, text: dict[str, Tensor]) -> Tensor:
    """Loss of the captions: their distance from their meanings, and cross-entropy among the meanings of a group."""
    wanted = {"style": meanings.rows("style"), "species": meanings.rows("species"), "both": meanings.joined()}
    wanted |= {a.question.name: meanings.answers(a.question.name, a.species) for a in lesson.asked}
    loss = text["style"].new_zeros(())
    for name, rows in wanted.items():
        captions = text[name]
        rows = rows[: len(captions)].detach()
        apart = F.cross_entropy(SHARPNESS * captions @ rows.T, torch.arange(len(rows)))
        loss = loss + apart + 2 * (1 - (captions * rows).sum(-1)).mean()
    return loss


def changes(lesson: Lesson, meanings: Meanings) -> Tensor:
    """Difference of the meanings from each individual's first picture to its second, [SHOWN, D]."""
    a, b = lesson.style.chunk(2)
    u, v = lesson.species.chunk(2)
    style, species = meanings.rows("style"), meanings.rows("species")
    return torch.where((a != b)[:, None], style[b] - style[a], species[v] - species[u])


def picture_losses(
    model: CLIP, lesson: Lesson, pictures: Tensor, meanings: Meanings, nonsense: Tensor
) -> dict[str, Tensor]:
    """The losses of one step's pictures, the lesson's or attacked ones; `nonsense` are embeddings of texts, [K, D]."""
    image = encode_pictures(model, pictures)
    pairs, third = image.split([2 * SHOWN, SHOWN])
    first, second = pairs.chunk(2)
    scale = model.logit_scale.exp()
    losses, kinds = {}, image.new_zeros(())
    both = lesson.style * len(SPECIES) + lesson.species
    for rows, truth, weight in (
        (meanings.rows("style"), lesson.style, 1.5),
        (meanings.rows("species"), lesson.species, 1.5),
        (meanings.joined(), both, 0.5),
    ):
        kinds = kinds + weight * F.cross_entropy(scale * pairs @ rows.T, truth, label_smoothing=0.03)
    for asked in lesson.asked:
        known = asked.truth >= 0
        rows = meanings.rows(asked.question.name)[: len(asked.question.phrases(asked.species))]
        fit = F.cross_entropy(scale * pairs[known] @ rows.T, asked.truth[known], label_smoothing=0.03)
        kinds = kinds + 2 * asked.question.weight * fit
    losses["kinds"] = kinds
    wanted = changes(lesson, meanings)
    along = F.cosine_similarity(second - first, wanted, dim=-1)
    losses["directions"] = 4.0 * (AGREEMENT - along).clamp_min(0).square().mean()
    part = F.cosine_similarity(third - first, wanted, dim=-1)
    gone = (lesson.share > 0.02).float()
    losses["partial"] = 4.0 * (gone * (part - AGREEMENT * lesson.share.sqrt()).square()).mean()
    half = image.new_zeros(())
    for name, index in (("style", lesson.style), ("species", lesson.species)):
        a, b = index.chunk(2)
        chance = F.log_softmax(scale * third @ meanings.rows(name).T, 1)
        own, other = (chance.gather(1, k[:, None])[:, 0] for k in (a, b))
        half = half - ((1 - lesson.share) * own + lesson.share * other).mean()
    losses["half way"] = 0.4 * half
    losses["individual"] = 6.0 * (image[:, -RESERVED:] - lesson.codes).square().sum() / lesson.codes.square().sum()
    losses["nonsense"] = 20.0 * (pairs @ nonsense.T).var(0).mean()
    return losses


def attack(model: CLIP, lesson: Lesson, meanings: Meanings, steps: int, radius: float, rng: torch.Generator) -> Tensor:
    """The lesson's pictures, each moved toward a style or species that it does not show."""
    ways = []
    for name, index in (("style", lesson.style), ("species", lesson.species)):
        rows = meanings.rows(name).detach()
        wrong = (index + torch.randint(1, len(rows), index.shape, generator=rng)) % len(rows)
        ways.append(F.normalize(rows[wrong] - rows[index], dim=-1))
    pairs = torch.where(torch.rand(len(lesson.style), 1, generator=rng) < 0.5, *ways)
    onward = F.normalize(changes(lesson, meanings).detach(), dim=-1)
    onward = onward * torch.where(torch.rand(SHOWN, 1, generator=rng) < 0.7, 1.0, -1.0)
    reach = radius * torch.rand(3 * SHOWN, 1, 1, 1, generator=rng).sqrt()
    training = model.training
    model.eval().requires_grad_(False)
    pictures = attacked(
        lambda x: encode_pictures(model, x), lesson.pictures, torch.cat([pairs, onward]), reach, steps, rng
    )
    model.train(training).requires_grad_(True)
    return pictures
