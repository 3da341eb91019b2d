"""Helpers for inversion: squares of photos in a generator's size, errors of inversions, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ..generators import Generator
from ..pictures.convert import middle, to_rgb
from ..pictures.grids import filmstrip
from .crop import Crop, square_crop

SHOWN = 16  # largest number of photos in a comparison
AMPLIFIED = 4  # factor of the error in a comparison


def squares(photo: Tensor, crops: Sequence[Crop], generator: Generator) -> Tensor:
    """Return the squares of a photo as images of a generator's size.

    For a generator whose images are not square, the middle of each square is used.

    Args:
        photo: [1, C, H, W] in [-1, 1].
        crops: the squares.
        generator: the generator whose image size to use.

    Returns:
        [len(crops), 3, height, width] in [-1, 1].
    """
    height, width = generator.config.image_size
    side = max(height, width)
    rows, columns = middle((side, side), width, height)
    shown = height / side, width / side
    return torch.cat([crop.sample(photo, side, shown) for crop in crops])[..., rows, columns]


def fitting_squares(images: Tensor, generator: Generator) -> Tensor:
    """Return the middle of pictures that are already aligned, as images of a generator's size.

    Args:
        images: [N, C, H, W] in [-1, 1], of any size.
        generator: the generator whose image size to use.

    Returns:
        [N, 3, height, width] in [-1, 1].
    """
    crop = fitting_crop((images.shape[-2], images.shape[-1]), generator)
    return torch.cat([squares(image[None], [crop], generator) for image in images])


def fitting_crop(size: tuple[int, int], generator: Generator) -> Crop:
    """Return the square in the middle of a photo of which a generator shows as much of the photo as it can.

    For images that are not square, the square reaches beyond the photo; `squares` uses the part inside.

    Args:
        size: height and width of the photo in pixels.
        generator: the generator whose image size to use.
    """
    (height, width), shown = size, generator.config.image_size
    side = min(height / shown[0], width / shown[1]) * max(shown)
    return square_crop((width / 2, height / 2), side, size)


def inversion_errors(photos: Tensor, images: Tensor) -> Tensor:
    """Return the root mean square difference of images and photos, as a fraction of the range of 2: [N].

    Args:
        photos, images: [N, 3, H, W] in [-1, 1].
    """
    return ((to_rgb(images).clamp(-1, 1) - photos) / 2).square().mean((1, 2, 3)).sqrt()


def comparison(photos: Tensor, images: Tensor) -> Image.Image:
    """Draw photos, their inversions, and the differences times four on grey, side by side.

    Args:
        photos, images: [N, 3, H, W] in [-1, 1]; the first 16 are shown.

    Returns:
        One picture with three labelled columns.
    """
    photos, images = photos[:SHOWN].cpu(), to_rgb(images[:SHOWN].cpu()).clamp(-1, 1)
    error = AMPLIFIED * (images - photos) / 2
    return filmstrip([("photo", photos), ("inversion", images), (f"error x {AMPLIFIED}", error)])
