"""Read picture files safely: allowed formats, a limit of pixels, and RGB for all. No other module opens pictures."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from PIL.Image import Resampling
from torch import Tensor

from ..errors import UsageError
from .convert import from_pil

log = logging.getLogger(__name__)
# Formats of ComfyUI's input folder, and no others: Pillow also knows formats that run programs (EPS: Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 1 << 27  # 134 megapixels: more than any camera's pictures have; half a gigabyte in memory
MAX_PROFILE = 1 << 22  # bytes of a color profile; those of printers have 1 MB
PAPER = (255, 255, 255)  # background of transparent pictures


def read_picture(
    source: str | Path | BinaryIO, formats: Sequence[str] = FORMATS, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Read a picture file as 8-bit RGB, rotated by its EXIF orientation, on white where it is transparent.

    16-bit grey is scaled to 8 bits. Of several frames or pages the first is read, and the log says so.

    Args:
        source: path of a file, or an open file. The format is recognized by content, never by name.
        formats: Pillow's names of the formats to accept.
        max_pixels: largest number of pixels; larger pictures are refused before they are decoded.

    Raises:
        UsageError: the file is no such picture, damaged, or too large.
    """
    name = str(source) if isinstance(source, (str, Path)) else "the picture"
    if isinstance(source, (str, Path)) and not (path := Path(source)).is_file():
        fault = f"{name} is not a file" if path.exists() else f"there is no file or folder {name!r}"
        raise UsageError(f"{fault}; give a picture: {', '.join(FORMATS)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; `max_pixels` refuses them
            with _opened(source) as file, Image.open(file, formats=tuple(formats)) as picture:
                _check_size(picture, max_pixels)
                if getattr(picture, "is_animated", False) and picture.format != "MPO":  # a camera's JPEG with a preview
                    log.warning("%s has several frames; the first one is read", name)
                    picture.seek(0)
                picture.load()
                return _on_paper(_in_srgb(_eight_bits(_upright(picture)), picture.info.get("icc_profile")))
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    except Exception as error:  # on damaged data, Pillow's decoders may raise any error
        reason = str(error)[:200] or type(error).__name__
        raise UsageError(
            f"{name} is not a picture that can be read ({reason}); give {', '.join(formats)}, or save it again as PNG"
        ) from error


def _opened(source: str | Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    """Open a picture file: from a path, Pillow maps uncompressed TIFF files, and scrambles those that are rotated."""
    return Path(source).open("rb") if isinstance(source, (str, Path)) else nullcontext(source)


def picture_note(path: Path, key: str) -> str | None:
    """Return the text that a PNG file holds under a key, or None for files that hold none or are no such picture.

    Args:
        path: the file.
        key: keyword of the text chunk.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG",)) as picture:  # reads the header only
                note = picture.info.get(key)
    except Exception:  # on damaged data, Pillow's decoders may raise any error
        return None
    return note if isinstance(note, str) else None


def load_pictures(paths: Sequence[Path], size: tuple[int, int]) -> Tensor:
    """Load pictures in a generator's format: the largest middle part in its shape, resized.

    Args:
        paths: picture files, and folders of pictures, whose hidden files are left out.
        size: height and width of the result in pixels.

    Returns:
        [N, 3, height, width] float32 in [-1, 1], in the order of the paths; files of a folder by name.

    Raises:
        UsageError: a file is not a picture that can be read, or there are no pictures.
    """
    files: list[Path] = []
    for path in paths:
        files += sorted(filter(_looks_like_a_picture, path.iterdir())) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"there are no pictures in {', '.join(map(str, paths))}; give files with {', '.join(ENDINGS)}")
    return torch.stack([_fitted(read_picture(path), size) for path in files])


def _looks_like_a_picture(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Tensor:
    return from_pil(ImageOps.fit(picture, (size[1], size[0]), Resampling.BICUBIC))[0]


def _check_size(picture: Image.Image, max_pixels: int) -> None:
    if picture.width * picture.height > max_pixels:
        size = f"{picture.width} x {picture.height} pixels"
        raise UsageError(f"it has {size}; make it smaller, {max_pixels / 1e6:.0f} megapixels at most")


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert the colors of a picture from its profile to sRGB; with a damaged profile, return it as it is.

    Phones save Display P3, and scanners profiles of their own. Their numbers, taken for sRGB, look pale.
    """
    if not profile or len(profile) > MAX_PROFILE:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return picture
        if picture.has_transparency_data:  # also a transparent color, which the conversion would lose
            picture = picture.convert("LA" if picture.mode in ("1", "L", "LA", "La") else "RGBA")
        elif picture.mode in ("1", "P"):
            picture = picture.convert("L" if picture.mode == "1" else "RGB")
        alpha = picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None
        opaque = picture.convert(picture.mode.removesuffix("A")) if alpha else picture
        converted = ImageCms.profileToProfile(opaque, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if converted is None:
            return picture
        if alpha:
            converted.putalpha(alpha)
        return converted
    except Exception:  # a profile for another kind of picture, or a Pillow without this library
        return picture


def _upright(picture: Image.Image) -> Image.Image:
    """Rotate a picture by its EXIF orientation; with damaged EXIF data, return it as it is."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow's EXIF parser may raise any error on damaged data
        return picture.copy()


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow itself would clip it at 255."""
    if picture.mode == "F":
        raise UsageError("its pixels are floating-point numbers; save it with 8 or 16 bits per channel")
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UsageError("its grey values have more than 16 bits; save it with 8 or 16 bits per channel")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_paper(picture: Image.Image) -> Image.Image:
    """Convert to RGB on white, instead of the colors that may be stored in fully transparent pixels."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*PAPER, 255)), layer).convert("RGB")
