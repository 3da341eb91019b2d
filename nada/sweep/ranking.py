"""Rank jobs by a measure, among those with enough diversity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from ..errors import UsageError
from ..settings import Setting, check_settings

TARGET, ALL = AMONG = ("target", "all")
DIVERSITY = "diversity"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranking:
    """Criteria for comparing jobs.

    Raises:
        UsageError: a value is out of range.
    """

    metric: Annotated[
        str, Setting("Measure of `nada evaluate` to rank by, the highest first, such as quality or 'target rate'.")
    ] = "quality"
    min_diversity: Annotated[
        float,
        Setting(
            "Smallest acceptable diversity; results below it are left out, unless none has enough; then the most "
            "diverse one stays.",
            low=0,
            high=2,
        ),
    ] = 0.0
    among: Annotated[
        str,
        Setting(
            "Jobs to compare with each other: 'target' for those with the same texts, style images and generator, "
            "since measures of different targets are not comparable, or 'all'.",
            choices=AMONG,
        ),
    ] = TARGET

    def __post_init__(self) -> None:
        check_settings(self)

    def best(
        self, candidates: Mapping[str, Mapping[str, float]], groups: Mapping[str, str], count: Callable[[int], int]
    ) -> list[str]:
        """Select the best candidates, and leave out those without a measure; returns names in the order given.

        Args:
            candidates: {name: measures}.
            groups: {name: group within which it is compared}, for `among` = target.
            count: maps the size of a group to the number of candidates to select from it; at least one is selected.

        Raises:
            UsageError: no candidate has a measure.
        """
        wanted = (self.metric, *([DIVERSITY] if self.min_diversity else []))
        known = {measure for measures in candidates.values() for measure in measures}
        if candidates and (unknown := next((measure for measure in wanted if measure not in known), None)):
            raise UsageError(f"no job has a measure {unknown!r}; they have: {', '.join(sorted(known)) or 'none'}")
        pools: dict[str, list[str]] = {}
        for name, measures in candidates.items():
            if lacking := next((measure for measure in wanted if measure not in measures), None):
                log.warning("%s has no measure %r, and is left out of the comparison", name, lacking)
                continue
            pools.setdefault(groups[name] if self.among == TARGET else "", []).append(name)
        taken: set[str] = set()
        for pool in pools.values():
            taken.update(self._ranked(pool, candidates)[: max(1, count(len(pool)))])
        return [name for name in candidates if name in taken]

    def _ranked(self, names: Sequence[str], candidates: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Names with enough diversity, ranked by the measure; if there are none, the single most diverse name."""
        varied = [name for name in names if candidates[name].get(DIVERSITY, 0) >= self.min_diversity]
        others = [name for name in names if name not in varied]
        by_metric = sorted(varied, key=lambda name: -candidates[name][self.metric])
        return by_metric or sorted(others, key=lambda name: -candidates[name][DIVERSITY])[:1]
