"""The paper's sentences about its rivals, each as a set of comparisons of measured results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean

from . import measures

OTHERS = ("TGAN", "FreezeD", "TGAN+ADA", "MineGAN", "CDC")  # methods with which the paper compares
STYLECLIP = ("StyleCLIP optimization", "StyleCLIP mapper", "StyleCLIP directions")
NADA = "NADA"
MEMORISED = 4 * measures.BY_CHANCE  # share of memorised images from which a result counts as overfitted
COLLAPSED = 0.8  # share of NADA's variety below which a result counts as collapsed
REACHED = 0.5  # target rate from which a target counts as reached
HOLDS, IN_PART = 0.9, 0.5  # shares of true comparisons for each mark

Row = dict[str, float]
Case = tuple[str, str, Row]
"""(method, target, means over seeds): a row of a target's table, or a longer training."""


@dataclass(frozen=True)
class Sentence:
    """A claim of the paper as a set of comparisons."""

    says: str
    means: str
    """Description of the comparison."""
    comparisons: Callable[[list[Case]], Iterable[bool | None]]
    """Function that yields whether each comparison is true; None where there is nothing to compare."""

    def mark(self, cases: list[Case]) -> tuple[str, int, int, int]:
        """Mark ("holds", "holds in part", ...), and numbers of true comparisons, of all, and of those left out."""
        measured = list(self.comparisons(cases))
        found = [true for true in measured if true is not None]
        if not found:
            words = "no comparison" if measured else "not measured yet"
        else:
            share = mean(found)
            words = "holds" if share >= HOLDS else "holds in part" if share >= IN_PART else "does not hold here"
        return words, sum(found), len(found), len(measured) - len(found)


def _against(
    others: tuple[str, ...], true: Callable[[Row, Row], bool], if_reached: bool = True
) -> Callable[[list[Case]], Iterable[bool | None]]:
    """Compare NADA with each of the others on each target.

    Args:
        others: methods to compare with.
        true: function of NADA's measures and the other's.
        if_reached: whether to compare only where both reach the target, since unchanged photos neither overfit nor
            lose variety.
    """

    def comparisons(cases: list[Case]) -> Iterable[bool | None]:
        own = {target: row for method, target, row in cases if method == NADA}
        for method, target, other in cases:
            if method in others and target in own:
                with suppress(KeyError):  # the judge does not know every target
                    both = min(own[target]["target rate"], other["target rate"]) >= REACHED
                    yield true(own[target], other) if both or not if_reached else None

    return comparisons


SENTENCES = (
    Sentence(
        "Methods that see ten images overfit.",
        f"memorised at least {MEMORISED:.0%} of their images",
        _against(OTHERS, lambda nada, other: other["memorised"] >= MEMORISED),
    ),
    Sentence(
        "Methods that see ten images collapse.",
        f"keep less than {COLLAPSED:.0%} of the variety that NADA keeps",
        _against(OTHERS, lambda nada, other: other["variety kept"] < COLLAPSED * nada["variety kept"]),
    ),
    Sentence(
        "MineGAN repeats the training set.",
        f"memorised at least {MEMORISED:.0%} of its images",
        _against(("MineGAN",), lambda nada, other: other["memorised"] >= MEMORISED),
    ),
    Sentence(
        "NADA keeps variety.",
        "keeps more variety than each of them",
        _against(OTHERS, lambda nada, other: nada["variety kept"] > other["variety kept"]),
    ),
    Sentence(
        "NADA has artefacts.",
        "has less precision than each of them",
        _against(OTHERS, lambda nada, other: nada["precision"] < other["precision"]),
    ),
    Sentence(
        "Only NADA reaches targets outside the domain, where StyleCLIP cannot.",
        f"reaches a target rate of {REACHED} where each of StyleCLIP's methods does not",
        _against(
            STYLECLIP, lambda nada, other: nada["target rate"] >= REACHED > other["target rate"], if_reached=False
        ),
    ),
)
