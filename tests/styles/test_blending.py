"""Blended generators."""

from __future__ import annotations

import pytest
import torch
from helpers.models import alive, moved

from nada import GeneratorConfig, UsageError, blend_generators, generate, sample_latents


def test_every_weight_lies_where_the_share_says(small):
    other = moved(small)
    blended = blend_generators(small, other, 0.3).state_dict()
    second = other.state_dict()
    for name, tensor in small.state_dict().items():
        expected = 0.7 * tensor.double() + 0.3 * second[name].double()
        assert torch.allclose(blended[name].double(), expected, atol=1e-6), name


def test_by_default_it_is_halfway_in_all_layers(small):
    other = moved(small)
    assert blend_generators(small, other).fingerprint() == blend_generators(small, other, 0.5, 4).fingerprint()


def test_the_ends_are_the_generators_themselves(small):
    other, ws = moved(small), sample_latents(small, 2)
    assert blend_generators(small, other, 0.0).fingerprint() == small.fingerprint()
    assert torch.allclose(generate(blend_generators(small, other, 1.0), ws), generate(other, ws), atol=1e-5)


def test_layers_are_swapped_from_a_resolution_on(small):
    other = moved(small)
    with torch.no_grad():
        other.mapping.w_avg.add_(1.0)
    blended, second = blend_generators(small, other, 1.0, from_resolution=16).state_dict(), other.state_dict()
    for name, tensor in small.state_dict().items():
        fine = name.startswith(("synthesis.b16.", "synthesis.b32."))
        assert torch.allclose(blended[name], second[name] if fine else tensor, atol=1e-6), name


def test_the_inputs_stay_and_the_result_can_be_trained(small):
    other, before = moved(small), small.fingerprint()
    with torch.inference_mode():
        blended = blend_generators(small, other, 0.5)
    assert small.fingerprint() == before
    assert not any(tensor.is_inference() for tensor in blended.state_dict().values())
    assert blended.metadata["blends"] == [{"with": other.fingerprint(), "share": 0.5, "from_resolution": 4}]
    assert "blends" not in small.metadata


def test_what_does_not_fit_is_refused(small):
    with pytest.raises(UsageError, match=r"share is 1\.5"):
        blend_generators(small, small, 1.5)
    with pytest.raises(UsageError, match="from_resolution is 64"):
        blend_generators(small, small, 0.5, 64)
    larger = alive(GeneratorConfig(64, (24, 20, 16, 12, 8), z_dim=16, w_dim=20, mapping_layers=2))
    for pair in ((small, larger), (larger, small)):
        with pytest.raises(UsageError, match="different shapes"):
            blend_generators(*pair, 0.5)
