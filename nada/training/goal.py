"""The goal of an adaptation: directions and targets in CLIP space, from texts and style images."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..clip.alphabet import unread_words, unreadable_remark
from ..clip.directions import SAME, text_direction
from ..clip.embedding import mean_embedding
from ..clip.features import style_features
from ..clip.models import ClipEnsemble, ClipModel
from ..clip.prompts import imagenet_templates
from ..errors import NadaError, UsageError
from ..generators import Generator
from ..latents.rendering import generate
from ..latents.sampling import draw_latents
from ..losses import unit
from ..pictures.convert import middle
from ..seeding import seeded
from .config import AdaptConfig

log = logging.getLogger(__name__)
STYLES = 16  # largest number of style images in the style loss, whose cost grows with it
SAMPLES = 16  # number of images that represent the generator's domain, as in the authors' code
# Subjects of published generators, and media, from which a missing source text is chosen.
SUBJECTS = (
    "human face", "person", "dog", "cat", "wild animal", "horse", "bird", "animal", "car", "church", "building",
    "landscape", "bedroom", "flower", "food",
)  # fmt: skip
MEDIA = (
    "photo", "painting", "portrait painting", "drawing", "sketch", "cartoon", "anime character", "3d render", "texture",
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """The goal of an adaptation in CLIP space, with one entry for each CLIP model.

    Attributes:
        directions: unit vectors [D], for the directional losses.
        targets: vectors [D], for the selection of layers and the global loss.
        source: the source text, given or found.
        styles: features [M, places, F] of the style images, for the style loss; empty without it.
    """

    directions: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    source: str
    styles: tuple[Tensor, ...] = ()

    def packed(self) -> dict[str, Any]:
        """Pack the goal, without styles, losslessly as JSON-serializable data: a few kilobytes for a recipe."""
        return {
            "source": self.source,
            "directions": [_pack(x) for x in self.directions],
            "targets": [_pack(x) for x in self.targets],
        }

    @classmethod
    @torch.inference_mode(False)
    def unpacked(cls, packed: dict[str, Any], styles: tuple[Tensor, ...] = ()) -> Goal:
        """Unpack the goal from a recipe; the inverse of `packed`.

        Args:
            packed: result of `packed`, also if it was read back from JSON.
            styles: features of the style images, which are not packed.

        Raises:
            NadaError: the data is damaged.
        """
        try:
            directions, targets = (tuple(map(_unpack, packed[key])) for key in ("directions", "targets"))
            return cls(directions, targets, str(packed["source"]), styles)
        except (KeyError, TypeError, ValueError) as error:
            raise NadaError(
                f"the goal in this recipe is damaged ({error}); give texts or style images again"
            ) from error

    def refuse_other_models(self, clip: ClipEnsemble) -> None:
        """Check that the goal fits these CLIP models.

        Raises:
            UsageError: it was made for other CLIP models.
        """
        sizes = [model.encode_text(["photo"]).shape[1] for model in clip]
        if any([len(vector) for vector in vectors] != sizes for vectors in (self.directions, self.targets)):
            made_for = ", ".join(str(len(direction)) for direction in self.directions)
            raise UsageError(
                f"the goal was made for CLIP models with embeddings of size {made_for}, but these have {sizes}; use "
                "the same models"
            )
        for model, style in zip(clip, self.styles, strict=False):
            width = style_of(model, torch.zeros(1, 3, *model.size)).shape[2]
            if style.shape[2] != width:
                raise UsageError(f"the goal has features of {style.shape[2]} numbers, but {model.name} has {width}")

    def to(self, device: torch.device) -> Goal:
        """Return the goal on a device."""
        directions, targets, styles = (
            tuple(x.to(device) for x in vectors) for vectors in (self.directions, self.targets, self.styles)
        )
        return Goal(directions, targets, self.source, styles)


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
    """Compute the goal from the texts of a configuration, and from style images if there are any.

    From texts: the weighted sum of the directions from the source text to each target text. From images: the direction
    from the mean embedding of the generator's own images to that of the style images (StyleGAN-NADA appendix C). With
    both: their sum weighted by `image_share`.

    Args:
        generator: the base.
        clip: the CLIP models, on the same device.
        config: configuration with texts, templates, `image_share` and seed.
        style_images: [N, 3, H, W] in [-1, 1], any size; CLIP sees the largest middle part in the shape of the
            generator's images. About three suffice.

    Raises:
        UsageError: there is neither a target text nor an image, or source and target mean the same.
    """
    if style_images is not None:
        style_images = middle_of_shape(style_images, generator.config.image_size)
    share = 0.0 if style_images is None else _image_share(config)
    if share < 1 and not config.target.strip():
        raise UsageError("the target text is empty; write one, or give style images and an image_share of 1")
    source = config.source.strip()
    own = sample_images(generator, config.seed) if share or not source else torch.empty(0)
    if share < 1 and not source:
        source = guess_source(clip, own, [*config.targets()], config.prompts)
        log.info("the source text is empty; the phrase that CLIP chose for the generator's images: %s", source)
    if share < 1 and (remark := unreadable_remark(clip, [config.source, *config.targets()])):
        log.warning("%s", remark)
    directions, targets, styles = [], [], []
    for model in clip:
        direction = target = torch.zeros([], device=model.mean.device)
        if share < 1:
            for text, part in config.targets().items():
                direction = direction + (1 - share) * part * text_direction(model, source, text, config.prompts)
                target = target + (1 - share) * part * unit(model.encode_text([text])[0])
        if share and style_images is not None:
            style = mean_embedding(model, style_images)
            direction = direction + share * _difference(model, style, mean_embedding(model, own))
            target = target + share * unit(style)
        directions.append(unit(_nonzero(model, direction)))
        targets.append(target)
        if config.style_weight and style_images is not None:
            styles.append(style_of(model, style_images))
    return Goal(tuple(directions), tuple(targets), source, tuple(styles))


@torch.no_grad()
def style_of(model: ClipModel, style_images: Tensor) -> Tensor:
    """Features [M, places, F] of style images for the style loss; M is at most `STYLES`.

    Args:
        model: a CLIP model.
        style_images: [N, 3, H, W] in [-1, 1], any size. Of more than `STYLES` images, some are taken at equal
            distances.
    """
    taken = torch.linspace(0, len(style_images) - 1, min(STYLES, len(style_images))).round().long()
    images = style_images[taken].to(model.mean.device)
    return torch.cat([style_features(model, image[None])[1] for image in images])


def _image_share(config: AdaptConfig) -> float:
    if config.image_share is not None:
        return config.image_share
    return 0.5 if config.target.strip() else 1.0


def _difference(model: ClipModel, style: Tensor, own: Tensor) -> Tensor:
    if (style - own).norm() < SAME:
        raise UsageError(f"to {model.name}, the style images look like the generator's own; choose others")
    return unit(style - own)


def _nonzero(model: ClipModel, direction: Tensor) -> Tensor:
    if direction.norm() < SAME:
        raise UsageError(f"to {model.name}, the targets cancel each other out; change their weights")
    return direction


def middle_of_shape(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Crop images [N, C, H, W] to the largest middle part whose sides have the ratio of a generator's.

    CLIP sees images that are not square squeezed, those of the generator as well as these.

    Args:
        images: the images.
        shape: height and width of the generator's images.
    """
    height, width = images.shape[2:]
    scale = min(height / shape[0], width / shape[1])
    rows, columns = middle((height, width), max(1, round(scale * shape[1])), max(1, round(scale * shape[0])))
    return images[:, :, rows, columns]


@torch.no_grad()
def sample_images(generator: Generator, seed: int) -> Tensor:
    """Sample images of the generator's domain, of all classes and without truncation: [SAMPLES, 3, R, R] on the CPU."""
    z, label = draw_latents(generator, SAMPLES, seeded(seed))
    return generate(generator, generator.mapping(z, label=label))


@torch.no_grad()
def guess_source(
    clip: ClipEnsemble, images: Tensor, targets: Sequence[str], templates: Sequence[str] | None = None
) -> str:
    """Choose the source phrase that fits images best, by zero-shot classification with all CLIP models.

    A style starts from a medium (photo -> sketch), another species from a subject (dog -> pig). So the phrase is taken
    from `MEDIA` or from `SUBJECTS`, whichever group's text embeddings are closer on average to those of the targets.

    Args:
        clip: the CLIP models.
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
    """Unit embeddings [len(phrases), D] of phrases, each averaged over the templates."""
    return unit(unit(model.encode_text(phrases, templates)).unflatten(0, (len(phrases), -1)).mean(dim=1))
