"""Intermediate features of CLIP's image towers: a feature vector for each place in a picture."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from ..losses import unit
from .models import ClipModel

DEPTHS = (1 / 3, 2 / 3, 1.0)  # fractions of the tower's blocks after which features are read


def image_features(model: ClipModel, images: Tensor) -> list[Tensor]:
    """Return features at three depths of a CLIP model's image tower, as `embedding_and_features` does."""
    return embedding_and_features(model, images)[1]


def embedding_and_features(model: ClipModel, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return CLIP embeddings of images, and features at three depths of the image tower, from one forward pass.

    Gradients flow back to the images. Features are the patch tokens of a transformer, the feature maps of a ResNet, or
    for any other tower the embedding alone, as one place.

    Args:
        model: the CLIP model.
        images: [N, C, H, W], about in [-1, 1]; see `ClipModel.encode_image`.

    Returns:
        Embeddings [N, E], as `ClipModel.encode_image` returns them, and features [N, places, D] for each depth,
        float32, each place of length 1.
    """
    blocks = _blocks(model.model.visual)
    found: dict[int, Tensor] = {}

    def keep(place: int, output: Tensor) -> None:
        found[place] = output

    with ExitStack() as hooks:
        for place in sorted({max(0, round(depth * len(blocks)) - 1) for depth in DEPTHS}) if blocks else ():
            hook = blocks[place].register_forward_hook(lambda _, __, output, place=place: keep(place, output))
            hooks.callback(hook.remove)
        embedding = model.encode_image(images)
    if not found:
        return embedding, [unit(embedding)[:, None]]
    return embedding, [unit(_by_place(output).float()) for output in found.values()]


def style_features(model: ClipModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return CLIP embeddings [N, E] of images, and features [N, places, D] at two thirds of the tower's depth.

    At that depth features still describe colors and textures, but already whole strokes. DiFa reads the keys of the
    fourth of twelve blocks; with the demo's models, features of the first third led less far to watercolors. Gradients
    flow back to the images.
    """
    embedding, features = embedding_and_features(model, images)
    return embedding, features[len(features) // 2]


def feature_distance(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Return the squared distance of the features of N images, mean over places and depths: [N], each in 0..4."""
    distances = [(a - b).square().sum(-1).mean(-1) for a, b in zip(features, targets, strict=True)]
    return sum(distances[1:], distances[0]) / len(distances)


def _blocks(visual: Any) -> list[nn.Module]:
    """Return the blocks of open_clip's own transformers and ResNets, in order; [] for other towers."""
    if hasattr(visual, "transformer"):
        return [*getattr(visual.transformer, "resblocks", ())]
    return [getattr(visual, name) for name in ("layer1", "layer2", "layer3", "layer4") if hasattr(visual, name)]


def _by_place(output: Tensor) -> Tensor:
    """Rearrange maps [N, D, H, W] or tokens [1 + places, N, D], the class token first, to [N, places, D]."""
    return output.flatten(2).transpose(1, 2) if output.ndim == 4 else output[1:].transpose(0, 1)
