"""Protocols of this package: all that inversion and nodes use of an encoder."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..generators import Generator


class Encoder(Protocol):
    """A network that finds latent codes of pictures in one pass, or in a few."""

    def encode(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the codes of images.

        Args:
            images: [N, 3, H, W] in [-1, 1], aligned as the encoder's training pictures; any size.
            generator: the generator to find codes for: the base, never an adapted one.

        Returns:
            ws [N, num_ws, w_dim], float32, on the generator's device.

        Raises:
            UsageError: the generator's codes have another shape.
        """
