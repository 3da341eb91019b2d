"""Presets fit generators of all sizes, not only those of the authors."""

from __future__ import annotations

import pytest
import torch

from nada.stylegan2 import Generator, GeneratorConfig
from nada.training.config import AdaptConfig
from nada.training.presets import PRESETS

SIZES = (64, 256, 512, 1024)
TEXTS = {"source": "photo", "target": "sketch"}


@pytest.fixture(scope="module")
def generators():
    """{resolution: a generator of the published widths, without memory for its weights}."""
    widths = (512, 512, 512, 512, 512, 256, 128, 64, 32)
    with torch.device("meta"):
        return {size: Generator(GeneratorConfig(size, widths[: size.bit_length() - 2])) for size in (8, *SIZES)}


def config_of(name: str, generator: Generator) -> AdaptConfig:
    return AdaptConfig.for_generator(generator, **TEXTS | PRESETS[name].settings_for(generator))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_every_size(generators, name):
    for size, generator in generators.items():
        config = config_of(name, generator)
        count, layers = config.layer_count(generator), config.trained_layers(generator)
        assert layers, size
        assert count is None or 1 <= count < len(layers), size
        assert config.effective_learning_rate(generator) > 0


@pytest.mark.parametrize("name", ["pig", "new-species", *(n for n, p in PRESETS.items() if p.kind == "animal")])
def test_another_species_trains_the_authors_two_thirds(generators, name):
    counts = [config_of(name, generators[size]).layer_count(generators[size]) for size in SIZES]
    assert counts == [6, 9, 10, 12]


@pytest.mark.parametrize("name", ["small-shape-change", "plastic-puppet"])
def test_a_number_of_layers_shrinks_with_the_generator(generators, name):
    counts = [config_of(name, generators[size]).layer_count(generators[size]) for size in (8, *SIZES)]
    assert counts == [1, 3, 4, 4, 5]
    assert PRESETS[name].settings["layers"] == 5, "the preset itself is not changed"
