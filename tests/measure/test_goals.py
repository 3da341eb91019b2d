"""Goals that ask for attributes: their true drawings have them, and the judge counts only what it can see."""

from __future__ import annotations

import pytest
import torch

from nada.demo.drawing.parameters import GLASSES_FROM, HAT_FROM, SECOND_EARS_FROM
from nada.demo.world import NAMES, draw, parameters_from_latents
from nada.measure import judging
from nada.measure.demo_judge import Reading, load_judge
from nada.measure.evaluate import Samples
from nada.measure.judging import Goal, conditions, goal_measures, true_drawings
from nada.seeding import seeded

DOG = ("photo", "dog")
RANGES = {
    "glasses": (GLASSES_FROM, 1.0), "hat": (HAT_FROM, 1.0), "ear_kind": (SECOND_EARS_FROM, 1.0), "coat": (0.8, 1.0),
    "yaw": (0.0, 0.3),
}  # fmt: skip


def samples(count: int) -> Samples:
    z = torch.randn(count, len(NAMES), generator=seeded(11))
    photos = draw(parameters_from_latents(z), "dog", "photo", seeded(0)) * 2 - 1
    return Samples(photos, photos, z)


@pytest.mark.parametrize("name", RANGES)
def test_true_drawings_have_what_the_goal_asks_for(name, monkeypatch):
    """Nobody among the generator's individuals wears a hat, so that the end of a range would be no hat either."""
    drawn = []
    monkeypatch.setattr(judging, "draw", lambda p, *_, **__: drawn.append(getattr(p, name).flatten()))
    low, high = RANGES[name]
    true_drawings(samples(4), Goal(DOG, ranges={name: (low, high)}))
    (values,) = drawn
    assert ((values > low) & (values < high)).all()
    assert len({*values.tolist()}) == 4, "individuals still differ"


def test_estimates_beyond_the_end_of_the_scale_count():
    judge = load_judge()
    reading = Reading(torch.eye(11)[:3], torch.eye(8)[:3], torch.full((3, len(NAMES)), 1.2))
    found = conditions(judge, Goal(DOG, ranges={"coat": (0.8, 1.0), "yaw": (0.0, 0.3)}), reading)
    assert found["coat"].all()
    assert not found["yaw"].any()


def test_an_attribute_that_the_judge_cannot_see_is_left_out():
    judge, left_out = load_judge(), {}
    found = goal_measures(judge, Goal(DOG, ranges={"glasses": RANGES["glasses"]}), samples(12), left_out)
    assert "target rate" not in found
    assert "glasses in only" in left_out["target rate"]
    assert found["target rate of true drawings"] < judging.RECOGNIZED
    found = goal_measures(judge, Goal(DOG, ranges={"coat": (0.6, 1.0)}), samples(12), left_out)
    assert 0 <= found["target rate"] < found["target rate of true drawings"] <= 1


def test_true_drawings_that_are_known_are_not_drawn_again(monkeypatch):
    judge, goal = load_judge(), Goal(DOG, style="sketch")
    given = samples(4)
    found = goal_measures(judge, goal, given, {})
    true = true_drawings(given, goal)
    monkeypatch.setattr(judging, "draw", lambda *_, **__: pytest.fail("drawn again"))
    assert goal_measures(judge, goal, given, {}, true) == found
