"""Tiny networks for the rivals' tests."""

from __future__ import annotations

import pytest
from helpers.models import alive

from nada.stylegan2 import Generator, GeneratorConfig
from nada.stylegan2.discriminator import Discriminator, DiscriminatorConfig


@pytest.fixture
def tiny() -> Generator:
    return alive(GeneratorConfig(16, (8, 8, 6), z_dim=6, w_dim=6, mapping_layers=1))


@pytest.fixture
def discriminator() -> Discriminator:
    return Discriminator(DiscriminatorConfig(16, (8, 8, 6)))
