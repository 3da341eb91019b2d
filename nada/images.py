"""Pictures for people: grids, before and after, filmstrips and plots, as PIL images; and pictures as tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.Image import Resampling
from torch import Tensor

from .errors import UsageError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
TILE_MIN, TILE_MAX = 128, 256  # shown size of one image in pixels
GAP, LABEL_HEIGHT, FONT_SIZE = 4, 28, 16
SMALL, ROW = 12, 18
PAPER, INK = (255, 255, 255), (32, 32, 32)
FAINT = (220, 220, 220)
CURVES = ((31, 119, 180), (214, 96, 20), (44, 140, 44), (170, 50, 120), (120, 90, 60))


def to_uint8(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] (clamped here) -> RGB [N, H, W, 3] uint8. Grey is repeated, alpha dropped."""
    rgb = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return ((rgb.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_pil(images: Tensor) -> list[Image.Image]:
    """Images [N, C, H, W] in [-1, 1] -> N RGB pictures."""
    return [Image.fromarray(np.ascontiguousarray(image)) for image in to_uint8(images).numpy()]


def load_pictures(paths: Sequence[Path], side: int) -> Tensor:
    """Pictures as a generator would make them: the square in the middle, resized.

    Args:
        paths: picture files, and folders of them.
        side: of the result in pixels.

    Returns:
        [N, 3, side, side] float32 in [-1, 1], in the order of the paths; those of a folder by name.

    Raises:
        UsageError: a file is not a picture that can be read, or there is none.
    """
    files = []
    for path in paths:
        files += sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"there are no pictures in {', '.join(map(str, paths))}; {', '.join(PICTURES)} are looked for")
    return torch.stack([_load_picture(path, side) for path in files])


def _load_picture(path: Path, side: int) -> Tensor:
    try:
        with Image.open(path) as picture:
            square = ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), (side, side), Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} is not a picture that can be read: {error}") from error
    return torch.from_numpy(np.array(square)).permute(2, 0, 1) / 127.5 - 1


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


def plot(curves: Mapping[str, Sequence[float]], size: tuple[int, int] = (800, 440)) -> Image.Image:
    """Curves over the iterations 1, 2, ..., with axes and a legend.

    Args:
        curves: {name: values}; values that are not finite are left out.
        size: of the picture in pixels.
    """
    picture = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(picture), _font()
    left, top, right, bottom = 64, 20, size[0] - 20, size[1] - 40
    finite = [v for values in curves.values() for v in values if np.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    high = high if high > low else low + 1
    last = max(max(len(values) for values in curves.values()), 2)

    def place(i: float, v: float) -> tuple[float, float]:
        return left + (right - left) * (i - 1) / (last - 1), bottom - (bottom - top) * (v - low) / (high - low)

    for part in range(5):
        value, step = low + (high - low) * part / 4, 1 + (last - 1) * part / 4
        y, x = place(1, value)[1], place(step, low)[0]
        draw.line([(left, y), (right, y)], FAINT)
        draw.text((left - 8, y), f"{value:.3g}", INK, font, anchor="rm")
        draw.text((x, bottom + 10), f"{step:.0f}", INK, font, anchor="ma")
    for n, (name, values) in enumerate(curves.items()):
        color = CURVES[n % len(CURVES)]
        points = [place(i, v) for i, v in enumerate(values, 1) if np.isfinite(v)]
        if len(points) > 1:
            draw.line(points, color, 2)
        draw.text((right - 8, top + 8 + n * (FONT_SIZE + 6)), name, color, font, anchor="rt")
    return picture


def layer_map(names: Sequence[str], chosen: Sequence[Collection[str]], width: int = 800) -> Image.Image:
    """Which layers trained when: one row a layer, the iterations from left to right; the darker, the more often.

    Args:
        names: the layers, from the top down.
        chosen: those that each of the iterations 1, 2, ... trained.
        width: of the picture in pixels.
    """
    trained = np.array([[name in layers for layers in chosen] for name in names], dtype=float)  # [layers, iterations]
    left, top, right = 110, 12, width - 20
    columns = min(len(chosen), right - left)
    shares = np.stack([part.mean(axis=1) for part in np.array_split(trained, columns, axis=1)], axis=1)
    shade = np.array(PAPER) + shares[..., None] * (np.array(CURVES[0]) - np.array(PAPER))
    cells = Image.fromarray(shade.round().astype(np.uint8)).resize((right - left, len(names) * ROW), Resampling.NEAREST)
    bottom = top + cells.height
    picture = Image.new("RGB", (width, bottom + 34), PAPER)
    picture.paste(cells, (left, top))
    draw, font = ImageDraw.Draw(picture), _font()
    for row, (name, share) in enumerate(zip(names, trained.mean(axis=1), strict=True)):
        y = top + row * ROW
        draw.line([(left, y), (right, y)], FAINT)
        draw.text((left - 8, y + ROW / 2), f"{name} {share:.0%}", INK, _font(SMALL), anchor="rm")
    for part in range(5):
        x = left + (right - left) * part / 4
        draw.text((x, bottom + 8), f"{1 + (len(chosen) - 1) * part / 4:.0f}", INK, font, anchor="ma")
    return picture


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures one above the other."""
    column = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    y = 0
    for p in pictures:
        column.paste(p, (0, y))
        y += p.height
    return column


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


def _font(size: int = FONT_SIZE) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)
