"""The history of a run: losses and trained layers of each iteration, and their charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..adapt import Adaptation, AdaptStep
from ..checkpoint.metadata import NUMBER, fits
from ..errors import NadaError
from ..pictures.charts import layer_map, plot, stacked

SHAPE = {"losses": [{str: NUMBER}], "layers": [[str]], "seconds": NUMBER}  # result of `packed`


class History:
    """Losses and trained layers of each iteration of a run, and its total seconds.

    Args:
        run: the run whose iterations are added.
        packed: result of `packed` when the same run was stopped; None for a new run.

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
        """Add an iteration. Its losses stay tensors until they are needed, as reading them now would stall a GPU."""
        self._losses.append(step.losses)
        self._layers.append(list(step.layers))
        self._seconds += step.seconds

    @property
    def losses(self) -> list[dict[str, float]]:
        """{loss: value} of each iteration, unweighted."""
        self._losses = [{name: float(loss) for name, loss in step.items()} for step in self._losses]
        return self._losses

    def packed(self) -> dict[str, Any]:
        """The whole history as JSON-serializable data."""
        return {"losses": self.losses, "layers": self._layers, "seconds": self._seconds}

    def loss_plot(self) -> Image.Image:
        """Chart of the losses times their weights, as unweighted values may differ by orders of magnitude."""
        return plot({f"{name} x {weight:g}": self._curve(name, weight) for name, weight in self._weights.items()})

    def layer_map(self) -> Image.Image:
        """Chart of the layers that were trained in each iteration."""
        return layer_map(self._names, self._layers)

    def charts(self) -> Image.Image:
        """The loss chart above the layer chart."""
        return stacked([self.loss_plot(), self.layer_map()])

    def _curve(self, name: str, weight: float) -> Sequence[float]:
        return [weight * step[name] for step in self.losses]
