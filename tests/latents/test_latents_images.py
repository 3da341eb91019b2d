"""Latents, and generating images in chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.models import alive

from nada.errors import NadaError, UsageError
from nada.latents.rendering import generate, generate_samples
from nada.latents.sampling import mix_latents, sample_latents
from nada.seeding import SOURCES, sample_z
from nada.stylegan2 import GeneratorConfig

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    RuntimeError("could not create a primitive"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {str(error)[:20]}")
@pytest.mark.parametrize("noise", ["const", "random"])
def test_less_memory_gives_the_same_images(small, noise, error, monkeypatch):
    codes = sample_latents(small, 5)
    whole = generate(small, codes, noise, seed=3)
    sizes, shown, forward = [], [], small.synthesis.forward

    def short_of_memory(ws, *rest, **options):
        sizes.append(len(ws))
        if len(ws) > 1:
            raise error
        return forward(ws, *rest, **options)

    monkeypatch.setattr(small.synthesis, "forward", short_of_memory)
    assert torch.allclose(generate(small, codes, noise, 3, 8, shown.append), whole, atol=1e-5)
    assert sizes == [5, 2, 1, 1, 1, 1, 1]
    assert shown == [1] * 5


def test_only_a_lack_of_memory_is_retried_and_not_for_ever(small, monkeypatch):
    tried = []
    for error, count in ((ValueError("broken"), 1), (RuntimeError("broken"), 1), (MemoryError(), 3)):

        def broken(ws, *rest, error=error, **options):
            tried.append(len(ws))
            raise error

        tried.clear()
        monkeypatch.setattr(small.synthesis, "forward", broken)
        with pytest.raises(type(error)):
            generate(small, sample_latents(small, 4))
        assert tried == [4, 2, 1][:count]


@pytest.mark.parametrize("psi", [float("nan"), float("inf"), -1e30])
def test_odd_psi_is_refused(small, psi):
    with pytest.raises(UsageError, match=r"psi is .*; it must be in -10\.\.10"):
        sample_latents(small, 1, 0, psi)


def test_no_images_of_odd_codes_or_odd_weights(small):
    codes = sample_latents(small, 2)
    with pytest.raises(NadaError, match="codes are not finite"):
        generate(small, codes * float("inf"))
    with torch.no_grad():
        small.synthesis.b8.torgb.bias.fill_(float("inf"))
    with pytest.raises(NadaError, match="images are not finite"):
        generate(small, codes)


def test_all_bits_of_a_seed_count(small):
    seeds = (0, 1 << 32, 1 << 40, (1 << 64) - 1)
    codes = [sample_latents(small, 1, seed) for seed in seeds]
    for i in range(4):
        assert not any(torch.equal(codes[i], other) for other in codes[i + 1 :])


def test_classes_are_chosen_by_number():
    generator = alive(GeneratorConfig(8, (8, 8), z_dim=6, w_dim=6, mapping_layers=2, c_dim=3))
    codes = [sample_latents(generator, 2, label=i) for i in range(3)]
    assert not torch.allclose(codes[0], codes[1], atol=1e-3)
    labels = torch.tensor([2, 1])
    assert torch.allclose(
        sample_latents(generator, 2, label=labels), torch.stack([codes[2][0], codes[1][1]]), atol=1e-6
    )
    with pytest.raises(UsageError, match="classes 0 to 2"):
        sample_latents(generator, 1, label=3)


def test_each_latent_is_that_of_its_seed(small):
    many = sample_latents(small, 5, seed=10)
    assert torch.allclose(many[3:4], sample_latents(small, 1, seed=13), atol=1e-6)
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(13))
    assert torch.allclose(many[3:4], small.mapping(z, 0.7), atol=1e-6)
    assert not torch.allclose(many[3], many[2], atol=1e-2)
    assert sample_latents(small, 2, seed=2**64 - 1).shape == (2, 8, 20)


@pytest.mark.parametrize("seed", [0, 50, 2**32 - 1])
def test_seeds_of_nvidias_scripts(small, seed):
    """NVIDIA's scripts draw z as np.random.RandomState(seed).randn(1, z_dim)."""
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, 16)).float()
    assert torch.equal(sample_z(seed, 16, "numpy"), z)
    ours = sample_latents(small, 1, seed, seed_from="numpy")
    assert torch.allclose(ours, small.mapping(z, 0.7), atol=1e-6)
    assert not torch.allclose(ours, sample_latents(small, 1, seed), atol=1e-2)


def test_seeds_of_64_bits_are_folded_for_both_sources():
    for source in SOURCES:
        draws = [sample_z(seed, 4, source) for seed in (0, 1, 1 << 32, 1 << 40, (1 << 64) - 1, -1)]
        assert torch.equal(draws[-2], draws[-1])
        for i, draw in enumerate(draws[:-1]):
            assert not any(torch.equal(draw, other) for other in draws[i + 1 : -1])


def test_many_latents_of_numpy_seeds_are_those_of_each_seed(small):
    many = sample_latents(small, 3, seed=85, seed_from="numpy")
    assert torch.allclose(many[2:], sample_latents(small, 1, seed=87, seed_from="numpy"), atol=1e-6)


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_pieces_make_the_same_images(small, noise):
    ws = sample_latents(small, 5)
    whole = generate(small, ws, noise, seed=3, batch=5)
    assert torch.allclose(whole, generate(small, ws, noise, seed=3, batch=2), atol=1e-5)
    assert whole.shape == (5, 3, 32, 32)


def test_random_noise_belongs_to_the_seed_of_the_image(small):
    ws = sample_latents(small, 1).expand(3, -1, -1)
    images = generate(small, ws, "random", seed=4)
    assert not torch.equal(images[0], images[1])
    assert torch.allclose(images[2:], generate(small, ws[:1], "random", seed=6), atol=1e-5)


def test_mixing_takes_each_side_from_its_parent(small):
    a, b = sample_latents(small, 1, 0), sample_latents(small, 1, 1)
    mixed = mix_latents(a, b, 3)
    assert torch.equal(mixed[:, :3], a[:, :3])
    assert torch.equal(mixed[:, 3:], b[:, 3:])


def test_wrong_arguments_are_refused(small):
    with pytest.raises(UsageError, match="count is 0"):
        sample_latents(small, 0)
    with pytest.raises(UsageError, match="batch is 0"):
        generate(small, sample_latents(small, 1), batch=0)
    with pytest.raises(UsageError, match="torch, numpy"):
        sample_latents(small, 1, seed_from="tensorflow")
    with pytest.raises(UsageError, match="const, random, none"):
        generate(small, sample_latents(small, 1), noise="white")


def test_one_noise_map_serves_all_images(small):
    ws, noise = sample_latents(small, 5), small.synthesis.sample_noise(1)
    each = {name: maps.expand(5, -1, -1, -1) for name, maps in noise.items()}
    assert torch.equal(generate(small, ws, noise, batch=2), generate(small, ws, each, batch=2))


def test_classes_are_one_for_all_or_one_for_each():
    generator = alive(GeneratorConfig(8, (8, 8), z_dim=6, w_dim=6, mapping_layers=2, c_dim=3))
    with pytest.raises(UsageError, match="3 labels for 4 latents"):
        sample_latents(generator, 4, label=torch.tensor([0, 1, 2]))


def test_samples_are_mapped_by_the_generator_itself(small):
    assert torch.equal(generate_samples(small, 3, 5, 0.5), generate(small, sample_latents(small, 3, 5, 0.5)))
