"""Pictures of results: grids, before and after, filmstrips."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from PIL import Image, ImageDraw
from PIL.Image import Resampling
from torch import Tensor

from .convert import to_pil
from .fonts import font_for

TILE_MIN, TILE_MAX = 128, 256  # shown size of one image in pixels, along its longer side
CELL, BOARD = 8, (255, 224)  # checkerboard behind transparent parts: pixels of a cell, and its two greys
GAP, LABEL_HEIGHT = 4, 28
COLUMN_GAP = 3 * GAP  # between pictures side by side
PAPER, INK = (255, 255, 255), (32, 32, 32)


def make_grid(images: Tensor, columns: int | None = None, side: int | None = None) -> Image.Image:
    """Draw images as a grid, row by row; small images are enlarged, large ones reduced.

    Args:
        images: [N, C, H, W] in [-1, 1], of one to four channels; transparent parts are shown on a checkerboard.
        columns: number of columns; None for about as many as rows.
        side: length of an image's longer side in pixels; None for the images' own, between 128 and 256.
    """
    return arranged(tiles_of(images, side), columns)


def arranged(tiles: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Return pictures of equal size as a grid, row by row.

    Args:
        tiles: the pictures, at least one.
        columns: number of columns; None for about as many as rows.
    """
    columns = columns or ceil(len(tiles) ** 0.5)
    across, down = tiles[0].width + GAP, tiles[0].height + GAP
    rows = ceil(len(tiles) / columns)
    grid = Image.new("RGB", (columns * across - GAP, rows * down - GAP), PAPER)
    for i, tile in enumerate(tiles):
        grid.paste(tile, (i % columns * across, i // columns * down))
    return grid


def before_after(before: Tensor, after: Tensor, labels: tuple[str, str]) -> Image.Image:
    """Draw two grids side by side: images of the frozen generator on the left, of the trained one on the right.

    Args:
        before, after: [N, C, H, W] in [-1, 1], images of the same latents.
        labels: labels above the two grids; a label is left out if no font has its letters.
    """
    return side_by_side([_labelled(make_grid(part), text) for part, text in zip((before, after), labels, strict=True)])


def filmstrip(frames: Sequence[tuple[str, Tensor]]) -> Image.Image:
    """Draw a labelled column for each moment of a run; each row follows one latent.

    Args:
        frames: (label, images [N, C, H, W] in [-1, 1]) in the order of time. A label is left out if no font has its
            letters.
    """
    return side_by_side([_labelled(make_grid(images, columns=1), label) for label, images in frames])


def filmstrip_geometry(frames: Sequence[tuple[str, Tensor]]) -> dict[str, int]:
    """Return the sizes of the parts of `filmstrip(frames)` in pixels, for a frontend that draws over the picture.

    Returns:
        "width" and "height" of the picture; its "columns" and "rows"; "tile_width" and "tile_height" of an image;
        "column_gap" and "row_gap" between images; "label_height" above the first row.
    """
    images = frames[0][1]
    (tile_width, tile_height), columns, rows = _tile_size(images), len(frames), len(images)
    return {
        "width": columns * (tile_width + COLUMN_GAP) - COLUMN_GAP,
        "height": LABEL_HEIGHT + rows * (tile_height + GAP) - GAP,
        "columns": columns,
        "rows": rows,
        "tile_width": tile_width,
        "tile_height": tile_height,
        "column_gap": COLUMN_GAP,
        "row_gap": GAP,
        "label_height": LABEL_HEIGHT,
    }


def _tile_size(images: Tensor, side: int | None = None) -> tuple[int, int]:
    """Return width and height in pixels at which images [N, C, H, W] are shown."""
    height, width = images.shape[2:]
    longer = max(height, width)
    scale = (side or min(max(longer, TILE_MIN), TILE_MAX)) / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def tiles_of(images: Tensor, side: int | None = None) -> list[Image.Image]:
    """Return images [N, C, H, W] in [-1, 1] as the pictures of a grid; see `make_grid`."""
    if not len(images):
        raise ValueError("there are no images to show; a picture needs at least one")
    size = _tile_size(images, side)
    return [
        _opaque(picture if picture.size == size else picture.resize(size, Resampling.LANCZOS))
        for picture in to_pil(images)
    ]


def _opaque(picture: Image.Image) -> Image.Image:
    """Return an RGB picture as it is, and an RGBA picture on a checkerboard."""
    if picture.mode == "RGB":
        return picture
    columns, rows = (ceil(side / CELL) for side in picture.size)
    board = Image.new("L", (columns, rows))
    board.putdata([BOARD[(x + y) % 2] for y in range(rows) for x in range(columns)])
    board = board.resize((columns * CELL, rows * CELL), Resampling.NEAREST).crop((0, 0, *picture.size)).convert("RGB")
    board.paste(picture, mask=picture)
    return board


def _labelled(picture: Image.Image, label: str) -> Image.Image:
    taller = Image.new("RGB", (picture.width, picture.height + LABEL_HEIGHT), PAPER)
    taller.paste(picture, (0, LABEL_HEIGHT))
    label = " ".join(label.split())
    if (font := font_for(label)) is None:
        return taller
    draw = ImageDraw.Draw(taller)
    while draw.textlength(label, font) > picture.width and len(label) > 1:
        label = label[:-2].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    draw.text((picture.width / 2, LABEL_HEIGHT / 2), label, INK, font, anchor="mm")
    return taller


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Join pictures from left to right."""
    width = sum(p.width + COLUMN_GAP for p in pictures) - COLUMN_GAP
    row = Image.new("RGB", (width, max(p.height for p in pictures)), PAPER)
    x = 0
    for p in pictures:
        row.paste(p, (x, 0))
        x += p.width + COLUMN_GAP
    return row
