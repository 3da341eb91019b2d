"""Fixtures of the tests of trainings."""

from __future__ import annotations

import pytest
from torch import Tensor

from nada.training.trainable import Trainable


@pytest.fixture
def stepped(monkeypatch) -> dict[str, Tensor]:
    """Gradients {name: gradient} of the latest step of a training, which clears them."""
    found: dict[str, Tensor] = {}
    step = Trainable.step

    def noted(self, optimizer, gradients, layers):
        found.clear()
        found.update({name: value.clone() for name, value in gradients.items() if "." in name})  # no losses
        step(self, optimizer, gradients, layers)

    monkeypatch.setattr(Trainable, "step", noted)
    return found
