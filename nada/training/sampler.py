"""Draw the random latents, style mixtures and noise of iterations, the same for both generators."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.views import random_crops, random_moves
from ..generators import Generator, MappingNetwork
from ..latents.sampling import draw_latents, mix_latents
from ..seeding import seeded
from .cuda_graphs import Tensors
from .noise_pool import NoisePool


class Sampler:
    """Source of all random draws of a training, from one seed on the CPU, so that a seed means the same on each device.

    Args:
        generator: the base, for the sizes of latents and noise maps.
        seed: random seed.
        views: number of views of each image that CLIP sees; 0 for the images themselves.

    Attributes:
        random: the CPU random generator; its state is part of the state of a run.
    """

    def __init__(self, generator: Generator, seed: int, views: int = 0):
        self.generator, self.views, self.random = generator, views, seeded(seed)
        self.noise = NoisePool(generator, self.random)

    def batch(self, count: int, mixing: float = 0.0) -> Tensors:
        """Draw latents, classes, crossover and noise maps of `count` images, on the generator's device; see `codes`.

        Args:
            count: number of images.
            mixing: probability that the codes of two latents are mixed (StyleGAN section 3.1).
        """
        config = self.generator.config
        z, labels = draw_latents(self.generator, 2 * count, self.random)
        drawn = {"z": z}
        if config.c_dim:
            drawn["label"] = F.one_hot(torch.as_tensor(labels), config.c_dim).to(z)
        crossover = self.generator.num_ws
        if torch.rand([], generator=self.random) < mixing:
            crossover = int(torch.randint(1, crossover, [], generator=self.random))
        drawn["crossover"] = torch.tensor([crossover])
        drawn = {name: tensor.to(self.generator.device) for name, tensor in drawn.items()}
        return drawn | self.noise.draw(count, self.random)

    def moves(self, count: int) -> Tensors:
        """Draw random views of `count` images: {"moves": tensor on the generator's device}, or {} without views."""
        if not self.views:
            return {}
        return {"moves": random_moves(self.views, count, self.random).to(self.generator.device)}

    def crop(self, count: int) -> Callable[[Tensor], Tensor]:
        """Draw a random crop for each view of `count` images; returns the function that cuts them out."""
        return random_crops(count * max(self.views, 1), self.random)

    @staticmethod
    def codes(mapping: MappingNetwork, drawn: Tensors) -> Tensor:
        """Map drawn latents to codes [count, num_ws, w_dim], without truncation.

        Both generators get the same z and the same crossover.
        """
        first, second = mapping(drawn["z"], label=drawn.get("label", 0)).chunk(2)
        return mix_latents(first, second, drawn["crossover"])

    def noise_maps(self, drawn: Tensors) -> Tensors:
        """The drawn noise maps {layer: [count, 1, H, W]}."""
        return {name: drawn[name] for name in self.noise.shapes}
