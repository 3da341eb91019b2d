"""How a run went, step by step: what its curves and its map of layers are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ..adapt import Adaptation, AdaptStep
from ..pictures.charts import layer_map, plot, stacked


class History:
    """The losses and the trained layers of each step of a run, and its seconds.

    Args:
        run: whose steps are added.
        packed: from `packed` of the same run before it stopped; None at its start.
    """

    def __init__(self, run: Adaptation, packed: Mapping[str, Any] | None = None):
        packed = packed or {}
        self._weights, self._names = run.config.loss_weights, run.config.trained_layers(run.frozen)
        self._losses = list(packed.get("losses", ()))
        self._layers = list(packed.get("layers", ()))
        self._seconds = packed.get("seconds", 0.0)

    def add(self, step: AdaptStep) -> None:
        """Write down a step. Its losses are read later: reading them now would make a GPU wait."""
        self._losses.append(step.losses)
        self._layers.append(list(step.layers))
        self._seconds += step.seconds

    @property
    def losses(self) -> list[dict[str, float]]:
        """{loss: value} of each step, before the weights."""
        self._losses = [{name: float(loss) for name, loss in step.items()} for step in self._losses]
        return self._losses

    def packed(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {"losses": self.losses, "layers": self._layers, "seconds": self._seconds}

    def loss_plot(self) -> Image.Image:
        """What each loss adds to the sum that is minimized: their own values may differ by orders of magnitude."""
        return plot({f"{name} x {weight:g}": self._curve(name, weight) for name, weight in self._weights.items()})

    def layer_map(self) -> Image.Image:
        """Which layers trained when."""
        return layer_map(self._names, self._layers)

    def charts(self) -> Image.Image:
        """Both, one above the other."""
        return stacked([self.loss_plot(), self.layer_map()])

    def _curve(self, name: str, weight: float) -> Sequence[float]:
        return [weight * step[name] for step in self.losses]
