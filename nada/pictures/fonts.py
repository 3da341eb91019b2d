"""Fonts for labels in pictures, chosen by the letters that they have."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_SIZE = 16
# Fonts of Windows, macOS and Linux that have more letters than Pillow's own font, which has only ASCII.
SYSTEM_FONTS: tuple[str, ...] = (
    *("msyh.ttc", "PingFang.ttc", "STHeiti Light.ttc", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc"),
    *("arial.ttf", "Arial Unicode.ttf", "DejaVuSans.ttf"),
)
NO_LETTER = "\uffff"  # no character has this code: a font draws it like every letter that is missing in the font

log = logging.getLogger(__name__)


def default_font(size: int = FONT_SIZE) -> Font:
    """Return Pillow's own font, which is the same on every machine."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=1024)
def font_for(label: str) -> Font | None:
    """Return the first font with all letters of a label, Pillow's own or one of the system.

    Returns:
        The font, or None if no font has all letters; the log says so once for each label.
    """
    for font in _fonts():
        if all(_has(font, letter) for letter in set(label) if not letter.isspace()):
            return font
    log.warning(_remark([label]))
    return None


def unwritable_remark(labels: Iterable[str]) -> str:
    """Return a sentence on labels that are left out of pictures because no font has their letters, or ""."""
    unwritable = [label for label in labels if font_for(label) is None]
    return _remark(unwritable) if unwritable else ""


def _remark(labels: list[str]) -> str:
    return f"no font here has the letters of {', '.join(map(repr, labels))}; pictures are without this label"


def _fonts() -> Iterator[Font]:
    yield default_font()
    yield from (font for name in SYSTEM_FONTS if (font := _system_font(name)))


@cache
def _system_font(name: str) -> Font | None:
    try:
        return ImageFont.truetype(name, FONT_SIZE)
    except OSError:
        return None


def _has(font: Font, letter: str) -> bool:
    return _drawn(font, letter) != _drawn(font, NO_LETTER)


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
