"""The nodes between latents and images, and the comparison of generators."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nada import UsageError, interpolate_latents, principal_directions, sample_latents


@pytest.fixture
def codes(small):
    return sample_latents(small, 3)


def test_latents_are_mixed_walked_and_edited_as_in_the_library(host, small, codes):
    mixed = host.nodes.NADAMixLatents.execute(codes, codes[:1], 0.0, 0.0, 1.0).args[0]
    assert torch.equal(mixed[:, :8], codes[:, :8])
    walk = host.nodes.NADAInterpolateLatents.execute(codes, 7, True, "lerp", "smooth").args[0]
    assert torch.equal(walk, interpolate_latents(codes, 7, True, "lerp", "smooth"))
    edited = host.nodes.NADAEditLatents.execute(small, codes, host.nodes.latents.PRINCIPAL, 2.0, 1).args[0]
    assert torch.allclose(edited, codes + 2 * principal_directions(small, 2).vectors[1], atol=1e-6)
    assert "% of the variance" in host.texts[-1]


def test_a_saved_direction_is_listed_and_used(host, small, codes):
    folder = host.folder / "models" / "stylegan_directions"
    folder.mkdir(parents=True)
    np.save(folder / "age.npy", np.ones((1, small.config.w_dim)))
    schema = host.nodes.NADAEditLatents.define_schema()
    assert "age.npy" in next(i for i in schema.inputs if i.id == "direction").options["options"]
    moved = host.nodes.NADAEditLatents.execute(small, codes, "age.npy", -1.0, 0, first=0, last=1).args[0]
    assert torch.allclose(moved[:, :2], codes[:, :2] - 1)
    assert torch.equal(moved[:, 2:], codes[:, 2:])
    stamp = host.nodes.NADAEditLatents.fingerprint_inputs(direction="age.npy")
    np.save(folder / "age.npy", np.zeros((1, small.config.w_dim)))
    assert host.nodes.NADAEditLatents.fingerprint_inputs(direction="age.npy") != stamp


def test_generators_are_compared_in_one_picture(host, small, codes):
    one = host.nodes.NADACompareGrid.execute(small, codes, "photo").args[0]
    two = host.nodes.NADACompareGrid.execute(small, codes, "photo", generator_b=None, generator_d=small).args[0]
    assert two.shape[1] == one.shape[1]  # as many rows
    assert two.shape[2] > 2 * one.shape[2]  # and another column
    with pytest.raises(UsageError, match="another generator"):
        host.nodes.NADACompareGrid.execute(small, codes[:, :4], "photo")


def test_what_does_not_match_is_refused(host, codes):
    with pytest.raises(UsageError, match="do not match"):
        host.nodes.NADAMixLatents.execute(codes, codes[:2], 0.0, 0.0, 1.0)
