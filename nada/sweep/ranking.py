"""Which jobs are the best: by a measure, among those that are varied enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from ..errors import UsageError
from ..settings import Setting, check_settings

TARGET, ALL = AMONG = ("target", "all")
DIVERSITY = "diversity"


@dataclass(frozen=True)
class Ranking:
    """How jobs are compared.

    Raises:
        UsageError: a value is out of range.
    """

    metric: Annotated[
        str, Setting("Measure of `nada evaluate` to rank by, the highest first, such as quality or 'target rate'.")
    ] = "quality"
    min_diversity: Annotated[
        float, Setting("Smallest Diversity that is good enough; results below it come last.", low=0, high=2)
    ] = 0.0
    among: Annotated[
        str,
        Setting(
            "Jobs to compare with each other: 'target' for those with the same texts and generator, as the measures of "
            "different texts do not compare, or 'all'.",
            choices=AMONG,
        ),
    ] = TARGET

    def __post_init__(self) -> None:
        check_settings(self)

    def best(
        self, candidates: Mapping[str, Mapping[str, float]], groups: Mapping[str, str], count: Callable[[int], int]
    ) -> list[str]:
        """Names of the best candidates, in their order.

        Args:
            candidates: {name: measures}.
            groups: {name: what it is compared within}, for `among` = target.
            count: how many are taken of so many; at least one is.

        Raises:
            UsageError: a candidate lacks a measure.
        """
        pools: dict[str, list[str]] = {}
        for name, measures in candidates.items():
            for needed in (self.metric, *([DIVERSITY] if self.min_diversity else [])):
                if needed not in measures:
                    known = ", ".join(sorted(measures)) or "none"
                    raise UsageError(f"{name} has no measure {needed!r}; it has: {known}")
            pools.setdefault(groups[name] if self.among == TARGET else "", []).append(name)
        taken: set[str] = set()
        for pool in pools.values():
            taken.update(self._ranked(pool, candidates)[: max(1, count(len(pool)))])
        return [name for name in candidates if name in taken]

    def _ranked(self, names: Sequence[str], candidates: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Varied ones by the measure; then, where there are too few, the others by their variety."""
        varied = [name for name in names if candidates[name].get(DIVERSITY, 0) >= self.min_diversity]
        others = [name for name in names if name not in varied]
        by_metric = sorted(varied, key=lambda name: -candidates[name][self.metric])
        return by_metric or sorted(others, key=lambda name: -candidates[name][DIVERSITY])[:1]
