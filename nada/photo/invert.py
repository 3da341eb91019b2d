"""Photos beside a generator: squares of its size, how good an inversion is, and a picture of that."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..generators import Generator
from ..pictures.convert import middle, to_rgb
from ..pictures.grids import filmstrip
from .crop import Crop, middle_crop

SHOWN = 16  # photos in a comparison, at most
AMPLIFIED = 4  # times the error in a comparison


def squares(photo: Tensor, crops: Sequence[Crop], generator: Generator) -> Tensor:
    """The squares of a photo as images of a generator's size.

    Of a generator whose images are not square, the middle of the square is taken.

    Args:
        photo: [1, C, H, W] in [-1, 1].
        crops: where they are.
        generator: whose size counts.

    Returns:
        [len(crops), 3, height, width] in [-1, 1].
    """
    height, width = generator.config.image_size
    side = max(height, width)
    rows, columns = middle((side, side), width, height)
    return torch.cat([crop.sample(photo, side) for crop in crops])[..., rows, columns]


def fitting_squares(images: Tensor, generator: Generator) -> Tensor:
    """The middle of pictures that are aligned already, as images of a generator's size.

    Args:
        images: [N, C, H, W] in [-1, 1], of any size.
        generator: whose size counts.

    Returns:
        [N, 3, height, width] in [-1, 1].
    """
    crop = middle_crop((images.shape[-2], images.shape[-1]))
    return torch.cat([squares(image[None], [crop], generator) for image in images])


def as_square(images: Tensor) -> Tensor:
    """Images of a generator as RGB squares to paste back, its edges repeated where the images are not square.

    Args:
        images: [N, C, H, W].

    Returns:
        [N, 3, S, S], S the longer side.
    """
    images = to_rgb(images)
    height, width = images.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    around = (left, side - width - left, top, side - height - top)
    return F.pad(images, around, mode="replicate") if any(around) else images


def inversion_errors(photos: Tensor, images: Tensor) -> Tensor:
    """Root mean square difference of images and photos [N, 3, H, W] in [-1, 1], as a part of the range of 2: [N]."""
    return ((to_rgb(images).clamp(-1, 1) - photos) / 2).square().mean((1, 2, 3)).sqrt()


def comparison(photos: Tensor, images: Tensor) -> Image.Image:
    """One picture: photos, their inversions, and the difference, four times as strong on grey, side by side.

    Args:
        photos, images: [N, 3, H, W] in [-1, 1]; the first 16 are shown.
    """
    photos, images = photos[:SHOWN].cpu(), to_rgb(images[:SHOWN].cpu()).clamp(-1, 1)
    error = AMPLIFIED * (images - photos) / 2
    return filmstrip([("photo", photos), ("inversion", images), (f"error x {AMPLIFIED}", error)])
