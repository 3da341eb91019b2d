"""Labels are written in a font that has their letters, or left out, but never shown as boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import ImageFont

from nada.pictures import fonts
from nada.pictures.grids import LABEL_HEIGHT, before_after, filmstrip

IMAGES = -torch.ones(1, 3, 128, 128)


@pytest.fixture(autouse=True)
def nothing_remembered():
    for cache in (fonts.font_for, fonts._system_font):
        cache.cache_clear()
    yield
    for cache in (fonts.font_for, fonts._system_font):
        cache.cache_clear()


@pytest.fixture
def only_pillows_font(monkeypatch):
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())


def ink(picture) -> list[bool]:
    """Whether there is a label above each of two columns."""
    header = np.asarray(picture)[:LABEL_HEIGHT]
    half = header.shape[1] // 2
    return [bool((part < 255).any()) for part in (header[:, :half], header[:, half:])]


@pytest.mark.parametrize("text", ["素描", "photo 素描", "эскиз", "Léger", "😀", "스케치", "a\x07b"])
def test_a_label_without_a_font_is_left_out(only_pillows_font, text, caplog):
    assert ink(before_after(IMAGES, IMAGES, ("photo", text))) == [True, False]
    assert ink(filmstrip([(text, IMAGES), ("50", IMAGES)])) == [False, True]
    assert len(caplog.messages) == 1, "once is enough"
    assert repr(text) in caplog.text
    assert fonts.unwritable_remark(["photo", text]) == caplog.messages[0]


def test_letters_of_ascii_are_always_there(only_pillows_font):
    text = "".join(map(chr, range(32, 127)))
    assert fonts.font_for(text).getname() == fonts.default_font().getname()
    assert fonts.unwritable_remark([text, "two\u00a0words\n\tand more", "", "photo -> sketch"]) == ""
    assert ink(before_after(IMAGES, IMAGES, ("sketch " * 40, "b\u00a0c"))) == [True, True], "an ellipsis can be written"


def test_a_font_of_the_system_helps_out(monkeypatch):
    """Pillow's own font writes the letters that it has, and another font those that it lacks."""
    names, truetype = [], ImageFont.truetype

    def some(font, *size, **options):
        if not isinstance(font, str):  # Pillow's own
            return truetype(font, *size, **options)
        names.append(font)
        if font == "lost.ttf":
            raise OSError("cannot open resource")
        return truetype("DejaVuSans.ttf", *size)

    try:
        truetype("DejaVuSans.ttf", 16)
    except OSError:
        pytest.skip("this machine has no DejaVu Sans")
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ("lost.ttf", "found.ttf"))
    monkeypatch.setattr(ImageFont, "truetype", some)
    assert fonts.font_for("photo").getname()[0] == "Aileron"
    assert not names, "they are looked for only when they are needed"
    assert fonts.font_for("эскиз, Léger").getname()[0] == "DejaVu Sans"
    assert fonts.font_for("素描") is None
    assert names == ["lost.ttf", "found.ttf"], "each is looked for once"
    assert ink(before_after(IMAGES, IMAGES, ("素描", "эскиз"))) == [False, True]
