"""Where to: the directions and targets in CLIP space that texts and style images stand for."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..clip.alphabet import unread_words, unreadable_remark
from ..clip.directions import SAME, imagenet_templates, text_direction
from ..clip.embedding import mean_embedding
from ..clip.models import ClipEnsemble, ClipModel
from ..errors import NadaError, UsageError
from ..generators import Generator
from ..latents.rendering import generate
from ..losses import unit
from ..seeding import seeded
from .config import AdaptConfig

log = logging.getLogger(__name__)
SAMPLES = 16  # images of the generator that stand for its domain, as in the authors' code
# What generators are published for, and what adaptations start from.
SUBJECTS = (
    "human face", "person", "dog", "cat", "wild animal", "horse", "bird", "animal", "car", "church", "building",
    "landscape", "bedroom", "flower", "food",
)  # fmt: skip
MEDIA = (
    "photo", "painting", "portrait painting", "drawing", "sketch", "cartoon", "anime character", "3d render", "texture",
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """What an adaptation aims at, one entry for each CLIP model.

    Attributes:
        directions: [D] of length 1, for the directional losses.
        targets: [D], for the choice of layers and the global loss.
        source: the source text, given or found.
    """

    directions: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    source: str

    def packed(self) -> dict[str, Any]:
        """The same as JSON has it, without loss: a few kilobytes that replace style images in a recipe."""
        return {
            "source": self.source,
            "directions": [_pack(x) for x in self.directions],
            "targets": [_pack(x) for x in self.targets],
        }

    @classmethod
    def unpacked(cls, packed: dict[str, Any]) -> Goal:
        """The goal of a recipe.

        Raises:
            NadaError: it is damaged.
        """
        try:
            directions, targets = (tuple(map(_unpack, packed[key])) for key in ("directions", "targets"))
            return cls(directions, targets, str(packed["source"]))
        except (KeyError, TypeError, ValueError) as error:
            raise NadaError(f"the goal in this recipe is damaged ({error}); give texts or style images anew") from error

    def refuse_other_models(self, clip: ClipEnsemble) -> None:
        """Raises:
        UsageError: it was made for other CLIP models.
        """
        sizes = [model.encode_text(["photo"]).shape[1] for model in clip]
        if any([len(vector) for vector in vectors] != sizes for vectors in (self.directions, self.targets)):
            made_for = ", ".join(str(len(direction)) for direction in self.directions)
            raise UsageError(f"the goal was made for CLIP models of size {made_for}, these have {sizes}; use the same")

    def to(self, device: torch.device) -> Goal:
        """The same on a device."""
        return Goal(
            tuple(x.to(device) for x in self.directions), tuple(x.to(device) for x in self.targets), self.source
        )


def _pack(vector: Tensor) -> str:
    return base64.b64encode(vector.detach().cpu().float().numpy().astype("<f4").tobytes()).decode("ascii")


def _unpack(text: str) -> Tensor:
    data = bytearray(base64.b64decode(text, validate=True))
    vector = torch.frombuffer(data, dtype=torch.float32).clone()
    if not vector.isfinite().all():
        raise ValueError("it holds numbers that are not finite")
    return vector


def make_goal(
    generator: Generator, clip: ClipEnsemble, config: AdaptConfig, style_images: Tensor | None = None
) -> Goal:
    """The goal of a configuration, and of style images if there are any.

    Text: the weighted sum of the directions from the source text to each target text. Images: the direction from the
    mean embedding of the generator's own images to that of the style images (StyleGAN-NADA appendix C). Both: the sum
    of the two with `image_share`.

    Args:
        generator: the base.
        clip: the judge, on the same device.
        config: its texts, templates, `image_share` and seed.
        style_images: [N, 3, H, W] in [-1, 1], any size; CLIP sees the square in the middle. About three suffice.

    Raises:
        UsageError: there is neither a target text nor an image, or source and target mean the same.
    """
    share = 0.0 if style_images is None else _image_share(config)
    if share < 1 and not config.target.strip():
        raise UsageError("the target text is empty; write a word or a phrase, or give style images")
    source = config.source.strip()
    own = sample_images(generator, config.seed) if share or not source else torch.empty(0)
    if share < 1 and not source:
        source = guess_source(clip, own, [*config.targets()], config.prompts)
        log.info("the source text is empty; CLIP finds that the generator makes: %s", source)
    if share < 1 and (remark := unreadable_remark(clip, [config.source, *config.targets()])):
        log.warning("%s", remark)
    directions, targets = [], []
    for model in clip:
        direction = target = torch.zeros([], device=model.mean.device)
        if share < 1:
            for text, part in config.targets().items():
                direction = direction + (1 - share) * part * text_direction(model, source, text, config.prompts)
                target = target + (1 - share) * part * unit(model.encode_text([text])[0])
        if share and style_images is not None:
            style = mean_embedding(model, middle_square(style_images))
            direction = direction + share * _difference(model, style, mean_embedding(model, own))
            target = target + share * unit(style)
        directions.append(unit(_nonzero(model, direction)))
        targets.append(target)
    return Goal(tuple(directions), tuple(targets), source)


def _image_share(config: AdaptConfig) -> float:
    if config.image_share is not None:
        return config.image_share
    return 0.5 if config.target.strip() else 1.0


def _difference(model: ClipModel, style: Tensor, own: Tensor) -> Tensor:
    if (style - own).norm() < SAME:
        raise UsageError(f"to {model.name}, the style images look as the generator's own; choose others")
    return unit(style - own)


def _nonzero(model: ClipModel, direction: Tensor) -> Tensor:
    if direction.norm() < SAME:
        raise UsageError(f"to {model.name}, the targets cancel each other out; change their weights")
    return direction


def middle_square(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, S, S] with S = min(H, W), the middle of each."""
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, :, top : top + side, left : left + side]


@torch.no_grad()
def sample_images(generator: Generator, seed: int) -> Tensor:
    """Images of the generator's domain: [SAMPLES, 3, R, R] on the CPU, of untruncated codes."""
    z = torch.randn(SAMPLES, generator.config.z_dim, generator=seeded(seed))
    return generate(generator, generator.mapping(z.to(generator.device)))


@torch.no_grad()
def guess_source(
    clip: ClipEnsemble, images: Tensor, targets: Sequence[str], templates: Sequence[str] | None = None
) -> str:
    """Which of `MEDIA` or `SUBJECTS` fits images best: zero-shot classification by all CLIP models with their weights.

    A style is a step from a medium (photo -> sketch), a species one from a subject (dog -> pig). Which of both the
    targets are, CLIP's text embeddings tell: they are nearer, in the mean, to the media or to the subjects.

    Args:
        clip: the judge.
        images: [N, 3, R, R] in [-1, 1].
        targets: the target texts.
        templates: strings with a "{}" for the phrase; None for the method's own.
    """
    templates = imagenet_templates() if templates is None else templates
    known = [tuple(p for p in group if not unread_words(clip, p)) or group for group in (MEDIA, SUBJECTS)]
    fits = {phrases: torch.zeros(len(phrases)) for phrases in known}
    nearness = dict.fromkeys(fits, 0.0)
    for model in clip:
        goals, seen = phrase_embeddings(model, targets, templates), mean_embedding(model, images)
        for phrases in fits:
            texts = phrase_embeddings(model, phrases, templates)
            fits[phrases] += model.weight * (texts @ seen).cpu()
            nearness[phrases] += model.weight * (texts @ goals.T).mean().item()
    phrases = max(nearness, key=nearness.__getitem__)
    return phrases[int(fits[phrases].argmax())]


def phrase_embeddings(model: ClipModel, phrases: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Unit embeddings [len(phrases), D]: of each phrase, the mean over the templates."""
    return unit(unit(model.encode_text(phrases, templates)).unflatten(0, (len(phrases), -1)).mean(dim=1))
