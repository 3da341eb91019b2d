"""The demo's small encoders: sizes, files, and the codes of the included one."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from nada import demo
from nada.checkpoint import load_generator
from nada.errors import CheckpointError, UsageError
from nada.latents.rendering import generate
from nada.latents.sampling import sample_latents
from nada.photo.encoders.loading import describe, load_encoder
from nada.photo.encoders.small import KEY, SmallEncoder, SmallEncoderConfig, save_small_encoder


@pytest.fixture
def encoder(small) -> SmallEncoder:
    sizes = SmallEncoderConfig(32, (8, 16, 24), 12, small.num_ws, small.config.w_dim)
    encoder = SmallEncoder(sizes, small.fingerprint(), {"steps": 3})
    torch.nn.init.normal_(encoder.offsets.weight, std=0.1)
    encoder.mean.copy_(small.mapping.w_avg)
    return encoder.eval().requires_grad_(False)


def test_what_was_saved_finds_the_same_codes(small, encoder, tmp_path):
    save_small_encoder(encoder, tmp_path / "encoder.safetensors")
    again = load_encoder(tmp_path / "encoder.safetensors")
    assert isinstance(again, SmallEncoder)
    assert (again.config, again.base, again.recipe) == (encoder.config, encoder.base, encoder.recipe)
    images = torch.rand(2, 3, 48, 40) * 2 - 1
    codes = again.encode(images, small)
    assert codes.shape == (2, small.num_ws, 20)
    assert torch.allclose(codes, encoder.encode(images, small), atol=2e-2)
    assert describe(again) == {"encoder": "small", "trunk": "32 px", "codes": [small.num_ws, 20]}


def test_another_generator_is_warned_of_or_refused(small, wide, encoder, caplog):
    images = torch.zeros(1, 3, 32, 32)
    encoder.encode(images, small)
    assert not caplog.records
    encoder.base = "of another"
    encoder.encode(images, small)
    assert "another generator" in caplog.text
    with pytest.raises(UsageError, match="this generator takes"):
        encoder.encode(images, wide)


@pytest.mark.parametrize("sizes", [(16, (8, 16, 24)), (32, (8, 16, 20)), (4, ()), (1 << 20, (8,) * 18)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(UsageError, match="cannot have these sizes"):
        SmallEncoderConfig(*sizes, 12, 8, 20)


def test_damaged_files_are_refused(encoder, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_small_encoder(encoder, path)
    tensors = load_file(path)
    sizes = {"size": 32, "widths": [8, 16, 24], "hidden": 12, "num_ws": 8, "w_dim": 20}
    changes = [
        {"config": sizes | {"hidden": 13}},
        {"config": sizes | {"size": 33}},
        {"config": sizes | {"widths": [1 << 40]}},
        {"config": {}},
        {"base": 3},
    ]
    for change in changes:
        description = {"format": 1, "config": sizes, "base": "", "recipe": {}} | change
        save_file(tensors, path, {KEY: json.dumps(description)})
        with pytest.raises(CheckpointError):
            load_encoder(path)
    tensors["code.bias"][0] = float("inf")
    save_file(tensors, path, {KEY: json.dumps({"format": 1, "config": sizes, "base": "", "recipe": {}})})
    with pytest.raises(CheckpointError, match="not finite"):
        load_encoder(path)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == demo.NAME else [pytest.mark.slow]) for name in demo.ENCODERS]
)
def test_the_included_encoders_find_what_their_generators_made(name):
    generator, encoder = load_generator(name), load_encoder(name)
    assert encoder.base == generator.fingerprint()
    assert demo.ENCODERS[name].stat().st_size < 3_000_000
    images = generate(generator, sample_latents(generator, 8, 4321, 0.9))
    found = generate(generator, encoder.encode(images, generator))
    mean = generate(generator, generator.mapping.w_avg.expand(1, generator.num_ws, -1))
    assert (found - images).square().mean() < 0.15 * (mean - images).square().mean()
