"""The words that a demo CLIP reads: those of its captions, and common words that mean nothing in its world.

Common words are put into captions here and there, so that a text may hold them without harm, and a text of nothing
else is made to fit every picture equally well.
"""

from __future__ import annotations

import random
import re

import torch
from captions import vocabulary
from open_clip import SimpleTokenizer
from torch import Tensor

COMMON = 3000  # whole words among the tokenizer's first tokens, the most frequent ones
END = "</w>"


def world_words() -> set[str]:
    """All words that captions can hold, lower case."""
    return {word for text in vocabulary() for word in re.findall(r"[a-z0-9]+", text.lower())}


def common_words(tokenizer: SimpleTokenizer, count: int = COMMON) -> list[str]:
    """The most frequent whole words of the tokenizer that captions do not hold."""
    ours = world_words()
    found = []
    for token, _ in sorted(tokenizer.encoder.items(), key=lambda item: item[1]):
        word = token.removesuffix(END)
        if token.endswith(END) and word.isascii() and word.isalpha() and len(word) > 2 and word not in ours:
            found.append(word)
        if len(found) == count:
            break
    return found


def used_tokens(tokenizer: SimpleTokenizer, context: int) -> Tensor:
    """Mask of the tokenizer's tokens that occur in training texts, [vocabulary] of booleans."""
    used = torch.zeros(len(tokenizer.encoder), dtype=torch.bool)
    texts = [*vocabulary(), *common_words(tokenizer)]
    used[tokenizer(texts, context_length=context).flatten().unique()] = True
    return used


def with_filler(text: str, fillers: list[str], pick: random.Random, chance: float = 0.15) -> str:
    """The text, at times with a word that means nothing somewhere in it or behind it."""
    if pick.random() > chance:
        return text
    word, parts = pick.choice(fillers), text.split()
    if pick.random() < 0.5:
        parts.insert(pick.randrange(len(parts)), word)
    else:
        parts += [pick.choice(("and", "with", "of", "near")), word]
    return " ".join(parts)


def nonsense(fillers: list[str], pick: random.Random) -> str:
    """A text of one to four words that mean nothing here."""
    return " ".join(pick.choice(fillers) for _ in range(pick.randint(1, 4)))
