"""Nodes between latents and images, and the comparison of generators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.models import alive, moved

from nada import (
    GeneratorConfig,
    UsageError,
    generate,
    interpolate_latents,
    principal_directions,
    sample_latents,
    save_latents,
)


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


def test_one_of_many_directions_is_chosen_by_its_number(host, small, codes):
    folder = host.folder / "models" / "stylegan_directions"
    folder.mkdir(parents=True)
    vectors = torch.randn(small.config.w_dim, small.config.w_dim)
    torch.save({"ckpt": "550000.pt", "eigvec": vectors}, folder / "factor.pt")
    moved = host.nodes.NADAEditLatents.execute(small, codes, "factor.pt", 2.0, 3).args[0]
    assert torch.allclose(moved, codes + 2 * vectors[:, 3], atol=1e-6)


def test_codes_from_files_are_listed_and_loaded(host, small):
    node = host.nodes.NADALoadLatents

    def listed() -> list[str]:
        return next(i for i in node.define_schema().inputs if i.id == "latents_name").options["options"]

    assert listed() == [host.nodes.latents.NO_FILES]
    assert node.fingerprint_inputs(latents_name=listed()[0]) == listed()[0]
    with pytest.raises(UsageError, match="models/stylegan_latents"):
        node.execute(small, listed()[0])
    folder = host.folder / "models" / "stylegan_latents"
    folder.mkdir(parents=True)
    ws = torch.randn(1, 8, 20)
    np.savez(folder / "projected_w.npz", w=ws.numpy())
    torch.save(torch.randn(3, 8, 20), folder / "e4e.pt")
    assert listed() == ["e4e.pt", "projected_w.npz"]
    with torch.inference_mode():  # as ComfyUI runs every node
        found = node.execute(small, "projected_w.npz").args[0]
    assert torch.equal(found, ws)
    assert not found.is_inference()
    assert host.texts[-1] == "codes for 1 picture"
    assert node.execute(small, "e4e.pt").args[0].shape == (3, 8, 20)
    stamp = node.fingerprint_inputs(latents_name="e4e.pt")
    torch.save(torch.randn(2, 8, 20), folder / "e4e.pt")
    assert node.fingerprint_inputs(latents_name="e4e.pt") != stamp


def test_codes_of_another_generator_are_loaded_with_a_remark(host, small, codes, caplog):
    path = host.folder / "models" / "stylegan_latents" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    save_latents(codes, small, path)
    stranger = alive(small.config, seed=1)
    for generator, expected in ((small, "codes for 3 pictures"), (moved(small), "codes for 3 pictures")):
        host.nodes.NADALoadLatents.execute(generator, path.name)
        assert host.texts[-1] == expected
    assert not caplog.records
    assert torch.equal(host.nodes.NADALoadLatents.execute(stranger, path.name).args[0], codes)
    assert "codes for 3 pictures | the codes were found with another generator" in host.texts[-1]
    assert "found with another generator" in caplog.text


def test_seeds_of_nvidias_scripts(host, small):
    node = host.nodes.SampleLatents
    theirs = node.execute(small, 50, 2, 0.7, seed_from="numpy").args[0]
    assert torch.equal(theirs, sample_latents(small, 2, 50, seed_from="numpy"))
    assert torch.equal(node.execute(small, 50, 2, 0.7).args[0], sample_latents(small, 2, 50))
    last = node.define_schema().inputs[-1]
    assert (last.id, last.options["default"], last.options["optional"]) == ("seed_from", "torch", True)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"img_channels": 1}, (32, 32, 3)),
        ({"img_channels": 4}, (32, 32, 4)),
        ({"start": (4, 2)}, (32, 16, 3)),
        ({"start": (2, 5)}, (16, 40, 3)),
    ],
)
def test_images_of_any_form_reach_comfyui(host, fields, shape):
    generator = alive(GeneratorConfig(32, (8, 8, 8, 8), z_dim=6, w_dim=6, mapping_layers=2, **fields))
    codes = sample_latents(generator, 3)
    images = host.nodes.GenerateImages.execute(generator, codes, "const").args[0]
    assert images.shape == (3, *shape)
    expected = (generate(generator, codes).clamp(-1, 1) + 1) / 2
    assert torch.allclose(images[..., 0], expected[:, 0], atol=1e-6)
    assert torch.allclose(images[..., -1], expected[:, -1], atol=1e-6)
    grid = host.nodes.NADACompareGrid.execute(generator, codes, "a | b", generator_b=generator).args[0]
    assert grid.shape[-1] == 3


def test_generators_are_compared_in_one_picture(host, small, codes):
    one = host.nodes.NADACompareGrid.execute(small, codes, "photo").args[0]
    two = host.nodes.NADACompareGrid.execute(small, codes, "photo", generator_b=None, generator_d=small).args[0]
    assert two.shape[1] == one.shape[1]  # the same rows
    assert two.shape[2] > 2 * one.shape[2]  # and an additional column
    with pytest.raises(UsageError, match="another generator"):
        host.nodes.NADACompareGrid.execute(small, codes[:, :4], "photo")


def test_what_does_not_match_is_refused(host, codes):
    with pytest.raises(UsageError, match="do not match"):
        host.nodes.NADAMixLatents.execute(codes, codes[:2], 0.0, 0.0, 1.0)
