"""Texts and words that CLIP models cannot read: warnings for the user."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .models import ClipEnsemble, ClipModel


def mostly_unreadable(text: str) -> bool:
    """Whether more than half of a text's letters are not Latin.

    The tokenizer of OpenAI's CLIP splits most other letters into single bytes, which English captions gave no meaning.
    Digits, punctuation and emoji do not count.
    """
    letters = [c for c in text if c.isalpha()]
    return 2 * sum("LATIN" in unicodedata.name(c, "") for c in letters) < len(letters)


def unread_words(clip: Iterable[ClipModel], text: str) -> list[str]:
    """Return the words of a text that a CLIP model ignores, in order: no caption of its training had them."""
    return [word for word in re.findall(r"\w+", text) if any(model.ignores(word) for model in clip)]


def unreadable_remark(clip: ClipEnsemble, texts: Iterable[str]) -> str:
    """Return a sentence on the texts and words that CLIP models cannot read, or "" if they can read all.

    Args:
        clip: the models; those with a tokenizer of their own, such as multilingual ones, are not checked.
        texts: as the user wrote them, without prompt templates.
    """
    english, texts = [model for model in clip if model.reads_english], [*texts]
    foreign = [text for text in texts if mostly_unreadable(text)]
    remarks = []
    if english and foreign:
        names, quoted = " and ".join(model.name for model in english), ", ".join(map(repr, foreign))
        remarks.append(f"{names} learned from English and can hardly read {quoted}; write it in English")
    readable = [text for text in texts if text not in foreign]
    ignored = {model.name: [word for text in readable for word in unread_words([model], text)] for model in english}
    if words := dict.fromkeys(word for found in ignored.values() for word in found):
        names, quoted = " and ".join(name for name, found in ignored.items() if found), ", ".join(map(repr, words))
        remarks.append(f"{names} never learned {quoted} and will ignore it; use other words or another CLIP model")
    return "; ".join(remarks)
