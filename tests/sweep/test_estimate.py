"""Estimates of the time that a sweep needs."""

from __future__ import annotations

import pytest

from nada.adapt import Adaptation
from nada.sweep.estimate import seconds_of
from nada.training import loop

FIRST, SELECTING, TRAINING = 1000.0, 10.0, 2.0  # seconds


@pytest.fixture
def clock(monkeypatch):
    """A clock that only trainings move on: by their first iteration, their selections of layers, and their steps."""
    now = [0.0]
    train, select = Adaptation.train_layers, Adaptation.select_layers

    def trained(run):
        now[0] += TRAINING + (FIRST if run.iteration == 0 else 0)
        return train(run)

    def selected(run, count):
        now[0] += SELECTING
        return select(run, count)

    monkeypatch.setattr(loop, "time", type("Clock", (), {"perf_counter": staticmethod(lambda: now[0])}))
    monkeypatch.setattr(Adaptation, "train_layers", trained)
    monkeypatch.setattr(Adaptation, "select_layers", selected)


@pytest.mark.parametrize("layers", ["auto", "all"])
@pytest.mark.parametrize("every", [1, 2, 5, 100])
def test_a_selection_of_layers_counts_as_often_as_it_is_made(clock, resolved, models, layers, every):
    jobs = resolved({"target": "sketch", "iterations": 100, "layers": layers, "select_every": every})
    selections = 100 / every if layers == "auto" else 0
    assert seconds_of(jobs, models) == [pytest.approx(100 * TRAINING + selections * SELECTING)]
