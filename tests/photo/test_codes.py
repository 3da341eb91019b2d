"""Files of photo codes: complete, refused when damaged, and readable as latent codes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nada.errors import CheckpointError, UsageError
from nada.latents.files import load_latents, mapping_fingerprint
from nada.latents.rendering import generate
from nada.latents.sampling import sample_latents
from nada.photo.codes import KEY, Codes, fitted_noise, load_codes, save_codes
from nada.photo.crop import middle_crop, square_crop

CROPS = (middle_crop((40, 60)), square_crop((20.5, 30.25), 18.0, (40, 60), roll=7.0))


@pytest.fixture
def codes(small) -> Codes:
    noise = small.synthesis.sample_noise(2, torch.Generator().manual_seed(1))
    recipe = {"w_iterations": 3}
    known = small.fingerprint(), recipe, noise, mapping_fingerprint(small)
    return Codes(sample_latents(small, 2), CROPS, ("me.jpg", ""), *known)


def test_what_was_saved_comes_back(small, codes, tmp_path):
    save_codes(codes, tmp_path / "codes.safetensors")
    again = load_codes(tmp_path / "codes.safetensors")
    assert torch.equal(again.ws, codes.ws)
    assert again.crops == CROPS
    assert (again.photos, again.base, again.recipe) == (codes.photos, codes.base, codes.recipe)
    assert again.mapping == codes.mapping
    assert all(torch.equal(maps, again.noise[name]) for name, maps in codes.noise.items())
    assert torch.equal(load_latents(tmp_path / "codes.safetensors", small), codes.ws)


def test_each_image_has_its_own_noise(small, codes):
    together = generate(small, codes.ws, codes.noise, batch=1)
    second = {name: maps[1:] for name, maps in codes.noise.items()}
    assert torch.allclose(together[1:], generate(small, codes.ws[1:], second), atol=1e-5)
    assert not torch.allclose(together, generate(small, codes.ws), atol=1e-3)


def test_each_code_needs_its_square(codes):
    with pytest.raises(UsageError, match="squares"):
        Codes(codes.ws, CROPS[:1], ("me.jpg",), codes.base)


@pytest.mark.parametrize(
    ("name", "maps", "words"),
    [
        ("b8.conv0", torch.zeros(2, 1, 3, 3), r"\[2, 1, 3, 3\], and this generator takes \[2, 1, 8, 8\]"),
        ("b8.conv0", torch.zeros(2, 1, 1, 1), r"takes \[2, 1, 8, 8\]"),
        ("b8.conv0", torch.zeros(2, 2, 8, 8), r"takes \[2, 1, 8, 8\]"),
        ("another", torch.zeros(2, 1, 8, 8), "takes none of that name"),
    ],
)
def test_noise_of_another_generator_is_refused(small, codes, tmp_path, name, maps, words):
    path = tmp_path / "codes.safetensors"
    save_codes(replace(codes, noise={name: maps}), path)
    with pytest.raises(CheckpointError, match=words):
        fitted_noise(path, small, 2)


def test_noise_of_fewer_images_than_codes_is_refused(small, codes, tmp_path):
    save_codes(codes, tmp_path / "codes.safetensors")
    assert fitted_noise(tmp_path / "codes.safetensors", small, 2).keys() == codes.noise.keys()
    with pytest.raises(CheckpointError, match=r"takes \[3, 1, "):
        fitted_noise(tmp_path / "codes.safetensors", small, 3)


@pytest.mark.parametrize("value", [None, [], "none", 99])
@pytest.mark.parametrize("name", ["crops", "photos", "base", "recipe", "format"])
def test_noise_in_a_damaged_file_is_missed_and_not_left_out(small, codes, tmp_path, name, value):
    path = tmp_path / "codes.safetensors"
    save_codes(codes, path)
    with safe_open(path, "pt") as file:
        description = {**json.loads(file.metadata()[KEY]), name: value}
    save_file(load_file(path), path, {KEY: json.dumps(description)})
    if (name, value) == ("base", "none"):
        assert fitted_noise(path, small, 2).keys() == codes.noise.keys(), "any text may name a base"
        return
    with pytest.raises(CheckpointError):
        fitted_noise(path, small, 2)


@pytest.mark.parametrize("ending", [".npz", ".npy", ".pt", ".safetensors"])
def test_files_of_other_projects_have_no_fitted_noise(small, codes, tmp_path, ending):
    path, ws = tmp_path / f"codes{ending}", codes.ws
    {
        ".npz": lambda: np.savez(path, w=ws.numpy()),
        ".npy": lambda: np.save(path, ws.numpy()),
        ".pt": lambda: torch.save({"latent": ws}, path),
        ".safetensors": lambda: save_file({"ws": ws}, path),
    }[ending]()
    assert fitted_noise(path, small, 2) == {}


def damaged(name: str, value: object):
    def damage(tensors, description):
        description[name] = value

    return damage


def without_codes(tensors, description):
    del tensors["ws"]


def not_finite(tensors, description):
    tensors["ws"][0, 0, 0] = float("nan")


def flat_noise(tensors, description):
    tensors["noise.b8.conv0"] = torch.zeros(2)


def too_few(tensors, description):
    tensors["ws"] = tensors["ws"][:1]


@pytest.mark.parametrize(
    "damage",
    [
        damaged("crops", "none"),
        damaged("crops", [{"square": [1, 2], "photo": [40, 60]}] * 2),
        damaged("photos", [1, 2]),
        damaged("base", None),
        damaged("format", 99),
        without_codes,
        not_finite,
        flat_noise,
        too_few,
    ],
)
def test_damaged_files_are_refused(codes, tmp_path, damage):
    path = tmp_path / "codes.safetensors"
    tensors = {"ws": codes.ws.clone().contiguous()}
    description = {"format": 1, "base": codes.base, "recipe": {}, "photos": ["", ""]}
    description["crops"] = [crop.to_json() for crop in CROPS]
    damage(tensors, description)
    save_file(tensors, path, {KEY: json.dumps(description)})
    with pytest.raises(CheckpointError):
        load_codes(path)
