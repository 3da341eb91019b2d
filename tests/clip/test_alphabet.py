"""Texts that CLIP cannot read."""

from __future__ import annotations

import pytest

from nada.clip.alphabet import mostly_unreadable, unread_words, unreadable_remark


@pytest.mark.parametrize("text", ["一只狗的素描", "犬", "собака", "σκύλος", "강아지", "كلب", "कुत्ता", "皮克斯动画 3D"])
def test_other_alphabets_are_unreadable(text):
    assert mostly_unreadable(text)


@pytest.mark.parametrize("text", ["a sketch", "café crème", "Żółć", "Pixar 皮克", "🐶", "8 x 8", "", "ＳＫＥＴＣＨ"])
def test_latin_letters_and_signs_are_readable(text):
    assert not mostly_unreadable(text)


def test_unread_words_are_named_in_order():
    assert unread_words("a 狗 in the style of 梵高, 1889") == ["狗", "梵高,"]


def test_the_remark_quotes_what_cannot_be_read(clip, monkeypatch):
    assert unreadable_remark(clip, ["photo", "sketch"]) == ""
    remark = unreadable_remark(clip, ["photo", "素描"])
    assert "'素描'" in remark
    assert "photo" not in remark
    assert next(iter(clip)).name in remark


def test_multilingual_models_are_not_judged(clip, monkeypatch):
    monkeypatch.setattr(next(iter(clip)), "tokenize", lambda texts: texts)
    assert unreadable_remark(clip, ["素描"]) == ""
