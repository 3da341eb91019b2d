"""Small random models for tests."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from unittest import mock

import torch

from nada.stylegan2 import Generator, GeneratorConfig

TINY = GeneratorConfig(8, (24, 20), z_dim=16, w_dim=20, mapping_layers=2)
# Options of `nada adapt` with small models: a larger batch takes as long, and pictures are made in batches of its size;
# the 80 templates of the paper take longer than a step.
QUICK = ["--batch", "8", "--templates", "{}"]
TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}


def alive(config: GeneratorConfig, seed: int = 0) -> Generator:
    """A random generator without zeros: biases, noise strengths and the average w have an effect too."""
    torch.default_generator.manual_seed(seed)
    generator = Generator(config)
    with torch.no_grad():
        for name, tensor in generator.named_parameters():
            if name.endswith("bias"):
                tensor.add_(torch.randn_like(tensor) * 0.3)
            elif name.endswith("noise_strength"):
                tensor.fill_(0.2)
        generator.mapping.w_avg.copy_(torch.randn(config.w_dim) * 0.3)
    return generator.eval().requires_grad_(False)


def moved(base: Generator, names: str = "", size: float = 0.1, seed: int = 5) -> Generator:
    """A copy in which the synthesis parameters with any of `names` in their names are slightly changed."""
    adapted, rng = copy.deepcopy(base), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in adapted.synthesis.named_parameters():
            if names in name:
                tensor.add_(size * torch.randn(tensor.shape, generator=rng))
    return adapted


def writing_anything() -> AbstractContextManager[object]:
    """A context in which files get numbers that are not finite too, as damage leaves them; our writers refuse them."""
    return mock.patch.object(torch.Tensor, "isfinite", return_value=torch.ones(1, dtype=torch.bool))
