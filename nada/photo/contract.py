"""Interfaces between the parts of this room, so that each works with any other that fulfils them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..generators import Generator


class Encoder(Protocol):
    """A network that finds latent codes of pictures at one look, or at a few."""

    def encode(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the codes of images.

        Args:
            images: [N, 3, H, W] in [-1, 1], aligned as the encoder's training pictures were; any size.
            generator: whose codes are wanted: the base, never an adapted one.

        Returns:
            ws [N, num_ws, w_dim], float32, on the generator's device.

        Raises:
            UsageError: the generator's codes have another shape.
        """
