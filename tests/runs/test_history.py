"""The history of a run: its sums, and the data from which it refuses to continue."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.models import TINY, alive

from nada import AdaptConfig, NadaError, adapt
from nada.runs.history import History


@pytest.fixture(scope="module")
def begun(loaded_clip):
    """A run of two steps that has done one."""
    run = adapt(alive(TINY), loaded_clip, AdaptConfig("photo", "sketch", iterations=2, batch=1, layers="all"))
    next(run)
    return run


def test_seconds_add_up_over_the_parts_of_a_run(tiny, clip):
    run = adapt(tiny, clip, AdaptConfig("photo", "sketch", iterations=2, batch=1, layers="all"))
    history = History(run)
    for step in run:
        history.add(replace(step, seconds=1.5))
    assert history.packed()["seconds"] == 3
    continued = History(run, history.packed())
    assert continued.packed() == history.packed()
    continued.add(replace(step, seconds=0.25))
    assert continued.packed()["seconds"] == 3.25
    assert len(continued.losses) == len(continued.packed()["layers"]) == 3


@pytest.mark.parametrize(
    "packed",
    [
        {"losses": [], "layers": [[]], "seconds": 0.0},
        {"losses": [{}], "layers": [[]], "seconds": 0.0},
        {"losses": [], "layers": [], "seconds": "1"},
        {"losses": []},
        ["losses"],
        {"losses": [{"directional": "x"}], "layers": [[]], "seconds": 0.0},
        {"losses": [{"directional": None}], "layers": [[]], "seconds": 0.0},
        {"losses": [{"directional": 0.5}], "layers": [[1]], "seconds": 0.0},
        {"losses": [{"directional": 0.5}], "layers": ["b4.conv1"], "seconds": 0.0},
        {"losses": [{"directional": 0.5}], "layers": [[]], "seconds": float("nan")},
        {"losses": [{"directional": 0.5}] * 2, "layers": [[]] * 2, "seconds": 0.0},
        None,
    ],
)
def test_what_is_no_history_of_the_run_is_refused(begun, packed):
    with pytest.raises(NadaError, match="damaged"):
        History(begun, packed)
