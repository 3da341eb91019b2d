"""Texts and words that CLIP models cannot read."""

from __future__ import annotations

import pytest
import torch

from nada.clip.alphabet import mostly_unreadable, unread_words, unreadable_remark
from nada.clip.loading import load_clip


@pytest.mark.parametrize("text", ["一只狗的素描", "犬", "собака", "σκύλος", "강아지", "كلب", "कुत्ता", "皮克斯动画 3D"])
def test_other_alphabets_are_unreadable(text):
    assert mostly_unreadable(text)


@pytest.mark.parametrize("text", ["a sketch", "café crème", "Żółć", "Pixar 皮克", "🐶", "8 x 8", "", "ＳＫＥＴＣＨ"])
def test_latin_letters_and_signs_are_readable(text):
    assert not mostly_unreadable(text)


def test_words_that_no_caption_had_are_named_in_order(clip):
    model = next(iter(clip))
    weight = model.model.token_embedding.weight
    assert unread_words(clip, "a zebra") == []
    with torch.no_grad():
        for word in ("zebra", "xylophone"):
            weight[model.tokenize.encode(word)[-1]] = 0
    model.__dict__.pop("_empty_tokens")
    assert unread_words(clip, "Zebra, 2 xylophones and a xylophone!") == ["Zebra", "xylophone"]
    remark = unreadable_remark(clip, ["zebra", "a zebra", "素描"])
    assert remark.count("'zebra'") == 1
    assert "素描" in remark
    assert model.name in remark


def test_the_demo_says_which_words_it_never_learned():
    demo = load_clip("demo")
    assert unreadable_remark(demo, ["photo", "3d render in the style of Pixar"]) == ""
    assert "demo-conv and demo-vit never learned 'zebra'" in unreadable_remark(demo, ["a zebra"])


def test_the_remark_quotes_what_cannot_be_read(clip, monkeypatch):
    assert unreadable_remark(clip, ["photo", "sketch"]) == ""
    remark = unreadable_remark(clip, ["photo", "素描"])
    assert "'素描'" in remark
    assert "photo" not in remark
    assert next(iter(clip)).name in remark


def test_multilingual_models_are_not_checked(clip, monkeypatch):
    monkeypatch.setattr(next(iter(clip)), "tokenize", lambda texts: texts)
    assert unreadable_remark(clip, ["素描"]) == ""
