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
LOWEST_FIRST = ("distance to the truth",)  # measures of which the lowest value is the best
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranking:
    """Criteria for comparing jobs.

    Raises:
        UsageError: a value is out of range.
    """

    metric: Annotated[
        str, Setting("Measure of `nada evaluate` to rank by, the best first, such as quality or 'target rate'.")
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
        self,
        candidates: Mapping[str, Mapping[str, float]],
        groups: Mapping[str, str],
        scales: Mapping[str, str],
        count: Callable[[int], int],
    ) -> list[str]:
        """Select the best candidates, and leave out those without a measure; returns their names, ranked in each group.

        Args:
            candidates: {name: measures}.
            groups: {name: group within which it is compared}, for `among` = target.
            scales: {name: how it was measured}; only measures of the same scale are compared.
            count: maps the size of a group to the number of candidates to select from it; at least one is selected.

        Raises:
            UsageError: no candidate has a measure.
        """
        wanted = (self.metric, *([DIVERSITY] if self.min_diversity else []))
        known = {measure for measures in candidates.values() for measure in measures}
        if candidates and (unknown := next((measure for measure in wanted if measure not in known), None)):
            raise UsageError(f"no job has a measure {unknown!r}; they have: {', '.join(sorted(known)) or 'none'}")
        pools: dict[tuple[str, str], list[str]] = {}
        for name, measures in candidates.items():
            if lacking := next((measure for measure in wanted if measure not in measures), None):
                log.warning("%s has no measure %r, and is left out of the comparison", name, lacking)
                continue
            pools.setdefault((groups[name] if self.among == TARGET else "", scales[name]), []).append(name)
        if len({group for group, _ in pools}) < len(pools):
            log.warning(
                "results that were measured by different CLIP models or settings are not compared with each other; to "
                "compare them, give evaluate: {clip: ...} in the sweep file, and run the sweep again"
            )
        return [name for pool in pools.values() for name in self._ranked(pool, candidates)[: max(1, count(len(pool)))]]

    def _ranked(self, names: Sequence[str], candidates: Mapping[str, Mapping[str, float]]) -> list[str]:
        """Names with enough diversity, ranked by the measure; if there are none, the single most diverse name."""
        varied = [name for name in names if candidates[name].get(DIVERSITY, 0) >= self.min_diversity]
        others = [name for name in names if name not in varied]
        sign = 1 if self.metric in LOWEST_FIRST else -1
        by_metric = sorted(varied, key=lambda name: sign * candidates[name][self.metric])
        return by_metric or sorted(others, key=lambda name: -candidates[name][DIVERSITY])[:1]
