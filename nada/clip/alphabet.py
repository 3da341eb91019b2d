"""Texts that English CLIP models cannot read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from .models import ClipEnsemble


def unread_words(text: str) -> list[str]:
    """Words of a text that are mostly written in letters other than Latin ones, in order."""
    return [word for word in text.split() if mostly_unreadable(word)]


def mostly_unreadable(text: str) -> bool:
    """Whether more than half of a text's letters are not Latin.

    The tokenizer of OpenAI's CLIP cuts most of those into single bytes, which its English captions gave no meaning.
    Digits, punctuation and emoji do not count.
    """
    letters = [c for c in text if c.isalpha()]
    return 2 * sum("LATIN" in unicodedata.name(c, "") for c in letters) < len(letters)


def unreadable_remark(clip: ClipEnsemble, texts: Iterable[str]) -> str:
    """A sentence on the texts that a CLIP model with OpenAI's tokenizer cannot read, or "" if it can read all.

    Args:
        clip: the models; those with a tokenizer of their own, such as multilingual ones, are not judged.
        texts: as the user wrote them, without prompt templates.
    """
    english = [model.name for model in clip if model.reads_english]
    unread = [repr(text) for text in texts if mostly_unreadable(text)]
    if not english or not unread:
        return ""
    return f"{' and '.join(english)} learned from English and can hardly read {', '.join(unread)}; write it in English"
