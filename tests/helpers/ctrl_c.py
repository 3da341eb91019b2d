"""Ctrl-C in the middle of a training, without a process of its own."""

from __future__ import annotations

import signal

import pytest

from nada.training.loop import TrainingLoop


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, loop: type[TrainingLoop], iteration: int) -> None:
    """Send SIGINT to this process at the beginning of the step that follows an iteration."""
    train_step = loop.train_step

    def pressed(run):
        if run.iteration == iteration:
            signal.raise_signal(signal.SIGINT)
        return train_step(run)

    monkeypatch.setattr(loop, "train_step", pressed)
