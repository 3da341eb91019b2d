"""Tiny networks for the rivals' tests."""

from __future__ import annotations

import pytest
from helpers.models import alive

from benchmarks.rivals.runs import Bench
from nada.checkpoint.discriminators import save_discriminator
from nada.checkpoint.saving import save_generator
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig, save_small_encoder
from nada.stylegan2 import Generator, GeneratorConfig
from nada.stylegan2.discriminator import Discriminator, DiscriminatorConfig


@pytest.fixture
def tiny() -> Generator:
    return alive(GeneratorConfig(16, (8, 8, 6), z_dim=6, w_dim=6, mapping_layers=1))


@pytest.fixture
def discriminator() -> Discriminator:
    return Discriminator(DiscriminatorConfig(16, (8, 8, 6)))


@pytest.fixture
def encoder(tiny) -> SmallEncoder:
    return SmallEncoder(SmallEncoderConfig(16, (8, 8), 8, tiny.num_ws, 6))


@pytest.fixture
def bench(tiny, discriminator, encoder, clip_folder, tmp_path) -> Bench:
    save_generator(tiny, tmp_path / "g.safetensors")
    save_discriminator(discriminator, tmp_path / "d.safetensors")
    save_small_encoder(encoder, tmp_path / "e.safetensors")
    names = (str(tmp_path / "g.safetensors"), str(clip_folder), str(tmp_path / "e.safetensors"))
    return Bench(tmp_path / "runs", *names, tmp_path / "d.safetensors", 6)
