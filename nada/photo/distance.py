"""Distance of generated images to photos: pixels at several scales, features of CLIP, and LPIPS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.features import feature_distance, image_features
from ..clip.models import ClipEnsemble
from ..lpips.network import Lpips
from ..pictures.convert import to_rgb

LARGEST, SMALLEST = 256, 8  # sides of the largest and the smallest level of the pyramid, in pixels
BATCH = 8  # photos whose features are computed at once


class PhotoDistance:
    """The distance of images to photos, of each image to the photo with its index; smaller is more alike.

    Args:
        photos: [N, 3, H, W] in [-1, 1], of the size of the images to compare.
        weights: {name: weight} of "pyramid", "clip" and "lpips"; distances of weight 0 are not computed.
        clip: CLIP models for "clip".
        lpips: network for "lpips".
    """

    def __init__(
        self, photos: Tensor, weights: dict[str, float], clip: ClipEnsemble | None = None, lpips: Lpips | None = None
    ):
        self.photos = photos
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self._clip, self._lpips = clip, lpips
        with torch.no_grad():
            models = (clip or ()) if "clip" in self.weights else ()
            self._features = [_in_batches(partial(image_features, model), photos) for model in models]
            self._layers = _in_batches(lpips.layers, photos) if lpips and "lpips" in self.weights else []

    def __call__(self, images: Tensor, part: slice = slice(None)) -> dict[str, Tensor]:
        """Return {name: distance of each image, [N]} before the weights; gradients flow back to the images.

        Args:
            images: [N, C, H, W] about in [-1, 1].
            part: slice of the photos that the images belong to.
        """
        images = to_rgb(images)
        found: dict[str, Tensor] = {}
        if "pyramid" in self.weights:
            found["pyramid"] = pyramid_distance(images, self.photos[part])
        if self._clip is not None and self._features:
            total = sum(model.weight for model in self._clip)
            terms = [
                model.weight / total * feature_distance(image_features(model, images), [f[part] for f in features])
                for model, features in zip(self._clip, self._features, strict=True)
            ]
            found["clip"] = reduce(torch.add, terms)
        if self._lpips is not None and self._layers:
            found["lpips"] = self._lpips.distance(self._lpips.layers(images), [layer[part] for layer in self._layers])
        return found

    def weighted(self, distances: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of distances from a call, [N]."""
        return reduce(torch.add, (self.weights[name] * distance for name, distance in distances.items()))


def _in_batches(features: Callable[[Tensor], list[Tensor]], photos: Tensor) -> list[Tensor]:
    """Return the features [N, ...] of photos at each depth, computed for a few photos at a time to save memory."""
    parts = [features(part) for part in photos.split(BATCH)]
    return [torch.cat(depth) for depth in zip(*parts, strict=True)]


def pyramid_distance(images: Tensor, photos: Tensor) -> Tensor:
    """Return the mean absolute difference over scales from 256 px (or the images' size) down to 8 px, [N].

    Args:
        images, photos: [N, 3, H, W].
    """
    difference = images - photos
    shrink = max(1, max(difference.shape[-2:]) // LARGEST)
    difference = F.avg_pool2d(difference, shrink) if shrink > 1 else difference
    levels = [difference.abs().mean((1, 2, 3))]
    while min(difference.shape[-2:]) >= 2 * SMALLEST:
        difference = F.avg_pool2d(difference, 2)
        levels.append(difference.abs().mean((1, 2, 3)))
    return torch.stack(levels).mean(0)
