"""Pictures for people: grids, before and after, filmstrips."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling
from torch import Tensor

from .convert import to_pil

TILE_MIN, TILE_MAX = 128, 256  # shown size of one image in pixels
GAP, LABEL_HEIGHT, FONT_SIZE = 4, 28, 16
PAPER, INK = (255, 255, 255), (32, 32, 32)


def make_grid(images: Tensor, columns: int | None = None) -> Image.Image:
    """One picture of images [N, 3, R, R], row by row; small ones are enlarged, large ones reduced.

    Args:
        images: in [-1, 1].
        columns: None for about a square.
    """
    tiles = _tiles(images)
    columns = columns or ceil(len(tiles) ** 0.5)
    step = tiles[0].width + GAP
    rows = ceil(len(tiles) / columns)
    grid = Image.new("RGB", (columns * step - GAP, rows * step - GAP), PAPER)
    for i, tile in enumerate(tiles):
        grid.paste(tile, (i % columns * step, i // columns * step))
    return grid


def before_after(before: Tensor, after: Tensor, labels: tuple[str, str]) -> Image.Image:
    """The frozen generator's images on the left, the trained one's of the same latents at the same places on the right.

    Args:
        before, after: [N, 3, R, R] in [-1, 1].
        labels: written above the halves.
    """
    return _side_by_side([_labelled(make_grid(part), text) for part, text in zip((before, after), labels, strict=True)])


def filmstrip(frames: Sequence[tuple[str, Tensor]]) -> Image.Image:
    """One labelled column a moment; each row follows one latent.

    Args:
        frames: (label, images [N, 3, R, R] in [-1, 1]) in the order of time.
    """
    return _side_by_side([_labelled(make_grid(images, columns=1), label) for label, images in frames])


def _tiles(images: Tensor) -> list[Image.Image]:
    if not len(images):
        raise ValueError("there are no images to show; a picture needs at least one")
    pictures = to_pil(images)
    side = min(max(pictures[0].width, TILE_MIN), TILE_MAX)
    if pictures[0].width == side:
        return pictures
    return [p.resize((side, side), Resampling.LANCZOS) for p in pictures]


def _labelled(picture: Image.Image, label: str) -> Image.Image:
    taller = Image.new("RGB", (picture.width, picture.height + LABEL_HEIGHT), PAPER)
    taller.paste(picture, (0, LABEL_HEIGHT))
    draw, font = ImageDraw.Draw(taller), _font()
    while draw.textlength(label, font) > picture.width and len(label) > 1:
        label = label[:-2].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    draw.text((picture.width / 2, LABEL_HEIGHT / 2), label, INK, font, anchor="mm")
    return taller


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    gap = 3 * GAP
    width = sum(p.width + gap for p in pictures) - gap
    row = Image.new("RGB", (width, max(p.height for p in pictures)), PAPER)
    x = 0
    for p in pictures:
        row.paste(p, (x, 0))
        x += p.width + gap
    return row


def _font(size: int = FONT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
