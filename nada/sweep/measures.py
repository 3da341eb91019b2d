"""The measures of `nada evaluate` that a sweep can rank by and show, checked before anything trains."""

from __future__ import annotations

from collections.abc import Sequence

from ..clip.loading import ClipSpec
from ..errors import UsageError
from .jobs import Job, Models
from .plan import Evaluation

OF_CLIP = (
    *("quality", "diversity", "quality of the base", "diversity of the base"),
    *("source found again", "cosine with source"),
)
OF_JUDGE = (
    *("target rate", "rest kept", "checks passed", "distance to the truth", "found again by the judge"),
    *("parameters correlation", "parameters spread kept", "pose correlation", "pose spread kept"),
)
OF_IMAGES = ("intra-cluster LPIPS",)


def check_measures(evaluation: Evaluation, metric: str | None, jobs: Sequence[Job], models: Models) -> None:
    """Check that the CLIP models of an evaluation can be loaded, and that its measures exist.

    Args:
        evaluation: how the jobs are to be measured.
        metric: measure that the jobs are to be ranked by; None if they are not compared.
        jobs: all jobs.
        models: source of their models.

    Raises:
        UsageError: the CLIP models or a measure do not exist, or no job can have the metric.
        NadaError: weights cannot be downloaded or read.
    """
    if evaluation.clip:
        models.clip(evaluation.clip)  # those of the jobs are loaded already, for their ids
    known = [*OF_CLIP, *OF_JUDGE, *OF_IMAGES]
    for spec in dict.fromkeys(evaluation.clip or job.clip for job in jobs):
        names = [part.name for entry in ClipSpec.parse(spec) for part in entry.parts()]
        known += [f"{name} {measure}" for name in names for measure in OF_CLIP if len(names) > 1]
    for measure in (*evaluation.metrics, *([metric] if metric else [])):
        if measure not in known:
            raise UsageError(f"there is no measure {measure!r}; there are: {', '.join(dict.fromkeys(known))}")
    if metric in OF_JUDGE and not any(
        (judge := models.judge(generator)) and judge.meaning(target)
        for generator, target in sorted({(job.generator, job.config.target) for job in jobs})
    ):
        raise UsageError(
            f"no job can be ranked by {metric!r}, which only targets that the demo world's judge knows have; rank by "
            "another measure, such as quality"
        )
