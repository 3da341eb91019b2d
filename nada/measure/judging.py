"""Measure adapted pictures of the demo world with the judge, with checks of the pictures, and against true drawings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..demo.world import SIZE, SPECIES, STYLES, draw, parameters_from_latents
from ..seeding import seeded
from .demo_judge import Judge, Reading
from .evaluate import Extra, Samples
from .metrics import correlations, found_again, spread_kept
from .picture_checks import distance_to_truth, passed

POSE = ("x", "y", "size", "tilt", "yaw", "pitch")
VERSION = 2  # raise it when measures or true drawings change, so that results are not compared with earlier ones
RECOGNIZED = 0.5  # smallest share of true drawings in which the judge must see what a target rate counts
GRAIN = 1.0  # strength of grain in true drawings
GRAIN_SEED = 0
INSIDE = 0.1  # part of a range at each end that true drawings leave out


@dataclass(frozen=True)
class Goal:
    """The kind of picture that a target text asks for; what it does not ask for is to stay."""

    before: tuple[str, str]
    """Style and species of the source pictures."""
    style: str | None = None
    """Style that the text asks for."""
    species: str | None = None
    """Species that the text asks for."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """{parameter: (lowest, highest value)} that the text asks for, within 0..1; 1 as the highest sets no limit."""

    @classmethod
    def named(cls, before: tuple[str, str], meaning: tuple[str, str]) -> Goal:
        """Return the goal of a phrase that means ("style" or "species", name); see `Judge.meaning`."""
        group, name = meaning
        return cls(before, style=name) if group == "style" else cls(before, species=name)

    @property
    def after(self) -> tuple[str, str]:
        """Style and species of the target pictures."""
        return self.style or self.before[0], self.species or self.before[1]


def measures_for(judge: Judge, target: str) -> Extra:
    """Return `judge_measures` for a target text, as a function that `evaluate` takes as `extra`.

    Args:
        judge: judge of the demo world.
        target: text of the target, one of `judge.words`.

    Returns:
        A function of samples and of a dictionary for the reasons of measures that are left out.
    """
    return partial(judge_measures, judge, target)


def judge_measures(judge: Judge, target: str, samples: Samples, left_out: dict[str, str]) -> dict[str, float]:
    """Measure how many images show the target, and how much of each original individual is kept.

    Args:
        judge: judge of the demo world.
        target: text of the target, one of `judge.words`.
        samples: images of both generators from the same latents.
        left_out: {measure: reason}, to which the reasons of measures that are left out are added.

    Returns:
        The measures of `goal_measures`; empty if the judge does not know the target.
    """
    meaning = judge.meaning(target)
    if meaning is None:
        left_out["target rate"] = f"the judge knows no {target!r}; it knows {', '.join(sorted(judge.words))}"
        return {}
    return goal_measures(judge, Goal.named(kind_of(judge, samples.before), meaning), samples, left_out)


def kind_of(judge: Judge, images: Tensor) -> tuple[str, str]:
    """Return the style and the species of most of the images [N, 3, H, W] in about [-1, 1]."""
    return judge.kind(judge.read(images))


def goal_measures(
    judge: Judge, goal: Goal, samples: Samples, left_out: dict[str, str], true: Tensor | None = None
) -> dict[str, float]:
    """Measure how many images are what a goal asks for, and how much of each original individual is kept.

    Args:
        judge: judge of the demo world.
        goal: the kind of picture to be reached, by the judge's names.
        samples: images of both generators from the same latents.
        left_out: {measure: reason}, to which the reasons of measures that are left out are added.
        true: the samples' `true_drawings`, if they were drawn before; None draws them.

    Returns:
        {name: value}; shares in 0..1, except for correlations and "distance to the truth" (`distance_to_truth`). For
        attributes, the target rate of true drawings says what the judge can see of them; where that is too little, the
        target rate is left out.
    """
    was, now = judge.read(samples.before), judge.read(samples.after)
    right = conditions(judge, goal, now)
    stays = {name for name in ("style", "species") if getattr(goal, name) is None}
    asked = right.keys() - stays
    found = {"target rate": share_of([right[name] for name in asked])}
    if stays:
        found["rest kept"] = share_of([right[name] for name in stays])
    pictures = [(images * 0.5 + 0.5).clamp(0, 1).cpu() for images in (samples.before, samples.after)]
    if ranges := judge.ranges.get(goal.after[0]):
        found["checks passed"] = passed(pictures[1], goal.after[0], ranges).float().mean().item()
    readable = set(judge.readable_parameters(*goal.before)) & set(judge.readable_parameters(*goal.after))
    readable -= {judge.parameter_names.index(name) for name in goal.ranges}
    before, after = (
        judge.in_proportion(seen.parameters, *kind) for seen, kind in ((was, goal.before), (now, goal.after))
    )
    found |= individuals_kept(before, after, sorted(readable), judge.parameter_names)
    if reason := why_no_truth(samples, goal):
        left_out["distance to the truth"] = reason
        return found
    true = true_drawings(samples, goal) if true is None else true
    found["distance to the truth"] = distance_to_truth(pictures[1], pictures[0], true)
    if goal.ranges:
        drawn = conditions(judge, goal, judge.read(true * 2 - 1))
        seen = found["target rate of true drawings"] = share_of([drawn[name] for name in asked])
        if seen < RECOGNIZED:
            del found["target rate"]
            left_out["target rate"] = f"the judge sees {', '.join(goal.ranges)} in only {seen:.0%} of true drawings"
    return found


def conditions(judge: Judge, goal: Goal, reading: Reading) -> dict[str, Tensor]:
    """Return whether each of N pictures has the goal's style, its species, and each parameter that it asks for: [N]."""
    found = {
        "style": reading.styles.argmax(1) == judge.style_names.index(goal.after[0]),
        "species": reading.species.argmax(1) == judge.species_names.index(goal.after[1]),
    }
    for name, (low, high) in goal.ranges.items():
        value = reading.parameters[:, judge.parameter_names.index(name)]
        found[name] = (value >= low) & ((value <= high) | (high == 1))  # estimates can exceed 1
    return found


def share_of(conditions: list[Tensor]) -> float:
    """Share of N pictures for which all conditions [N] hold."""
    return torch.stack(conditions).all(0).float().mean().item()


def individuals_kept(before: Tensor, after: Tensor, readable: list[int], names: tuple[str, ...]) -> dict[str, float]:
    """Measure how much of each individual is kept, from estimates [N, parameters] for its pictures before and after."""
    found = {}
    r, spread = correlations(before, after), spread_kept(before, after)
    for title, indices in (
        ("parameters", readable),
        ("pose", [i for i in readable if names[i] in POSE]),
    ):
        if indices:
            found[f"{title} correlation"] = r[indices].mean().item()
            found[f"{title} spread kept"] = spread[indices].mean().item()
    if readable:
        found["found again by the judge"] = found_again(before[:, readable], after[:, readable])
    return found


def why_no_truth(samples: Samples, goal: Goal) -> str | None:
    """Return the reason why the true drawings of these pictures are not known, or None if they are."""
    if samples.latents is None:
        return "only pictures of random codes with psi 1 and mixing 0 have true drawings"
    if samples.after.shape[-1] != SIZE:
        return f"true drawings have {SIZE} px; these pictures have {samples.after.shape[-1]}"
    if goal.after[0] not in STYLES or goal.after[1] not in SPECIES or goal.before[0] not in STYLES:
        return f"{' '.join(goal.after)} cannot be drawn"
    return None


def true_drawings(samples: Samples, goal: Goal) -> Tensor:
    """Draw the samples' latents as the goal asks, [N, 3, SIZE, SIZE] in 0..1.

    A parameter that the goal asks for is spread over the inside of its range, since drawings change at the ends.
    """
    assert samples.latents is not None
    parameters = parameters_from_latents(samples.latents.float().cpu())
    wanted = {
        name: low + (high - low) * (INSIDE + (1 - 2 * INSIDE) * getattr(parameters, name))
        for name, (low, high) in goal.ranges.items()
    }
    return draw(parameters.replaced(**wanted), goal.after[1], goal.after[0], seeded(GRAIN_SEED), grain=GRAIN)
