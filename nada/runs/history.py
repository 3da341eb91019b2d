"""The history of a run, step by step, and its charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..adapt import Adaptation, AdaptStep
from ..checkpoint.metadata import NUMBER, fits
from ..errors import NadaError
from ..pictures.charts import layer_map, plot, stacked

SHAPE = {"losses": [{str: NUMBER}], "layers": [[str]], "seconds": NUMBER}  # of what `packed` gives


class History:
    """The losses and the trained layers of each step of a run, and its seconds.

    Args:
        run: whose steps are added.
        packed: from `packed` of the same run before it stopped; None at its start.

    Raises:
        NadaError: `packed` is not the history of this run.
    """

    def __init__(self, run: Adaptation, packed: Any = None):
        self._weights, self._names = run.config.loss_weights, run.config.trained_layers(run.frozen)
        found = packed or {"losses": [], "layers": [], "seconds": 0.0}
        if not (
            fits(found, SHAPE)
            and len(found["losses"]) == len(found["layers"]) == run.iteration
            and all(self._weights.keys() <= step.keys() for step in found["losses"])
        ):
            raise NadaError("the history of the run is damaged")
        self._losses, self._layers, self._seconds = found["losses"], found["layers"], found["seconds"]

    def add(self, step: AdaptStep) -> None:
        """Record a step. Its losses are read later: reading them now would make a GPU wait."""
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
        """Chart of the weighted losses: their own values may differ by orders of magnitude."""
        return plot({f"{name} x {weight:g}": self._curve(name, weight) for name, weight in self._weights.items()})

    def layer_map(self) -> Image.Image:
        """Chart of which layers trained when."""
        return layer_map(self._names, self._layers)

    def charts(self) -> Image.Image:
        """The loss chart above the layer chart."""
        return stacked([self.loss_plot(), self.layer_map()])

    def _curve(self, name: str, weight: float) -> Sequence[float]:
        return [weight * step[name] for step in self.losses]
