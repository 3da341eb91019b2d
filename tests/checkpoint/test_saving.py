"""Files in this project's own format restore everything, and explain what is wrong with them."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.checkpoint_files import differing, put, small_generator
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from nada.checkpoint import load_generator, save_generator
from nada.errors import CheckpointError, NadaError


@pytest.fixture
def generator():
    return small_generator()


def test_saving_and_loading_gives_everything_back(tmp_path):
    generator = small_generator(conv_clamp=4.0, demod_eps="raw", img_channels=4, mapping_lr_multiplier=0.5)
    generator.metadata = {
        "source": {"format": "nvidia"},
        "notes": ["a"],
        "recipes": [{"source": "foto \u00e9", "n": 1.5}],
    }
    save_generator(generator, tmp_path / "new" / "dogs.safetensors")
    loaded = load_generator(tmp_path / "new" / "dogs.safetensors")
    assert differing(generator, loaded) == []
    assert loaded.config == generator.config
    assert loaded.metadata == generator.metadata
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["dogs.safetensors"]
    assert load_file(tmp_path / "new" / "dogs.safetensors").keys() == generator.state_dict().keys()


def test_a_generator_in_training_can_be_saved(tmp_path, generator):
    generator.requires_grad_(True).train()
    save_generator(generator, tmp_path / "a.safetensors")
    loaded = load_generator(tmp_path / "a.safetensors")
    assert differing(generator, loaded) == []
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_metadata_that_is_not_plain_is_refused_and_writes_nothing(tmp_path, generator):
    generator.metadata = {"seed": torch.ones(1)}
    with pytest.raises(NadaError, match="metadata cannot be saved"):
        save_generator(generator, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_explained_and_the_old_file_stays(tmp_path, generator, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    save_generator(generator, tmp_path / "a")
    monkeypatch.setattr("nada.checkpoint.saving.save_file", full)
    with pytest.raises(NadaError, match="disk is full"):
        save_generator(small_generator(seed=2), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert load_generator(tmp_path / "a").fingerprint() == generator.fingerprint()


@pytest.mark.parametrize(
    "description", ["{", "[]", '{"format": 1, "config": {}}', '{"format": 1, "config": 3, "metadata": {}}']
)
def test_damaged_descriptions(tmp_path, generator, description):
    path = put(tmp_path, save(generator.state_dict(), {"nada": description}))
    with pytest.raises(CheckpointError, match="description"):
        load_generator(path)


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": "64"},
        {"channels": "abc"},
        {"channels": [1e3] * 3},
        {"z_dim": True},
        {"w_dim": 10**9},
        {"typo": 1},
        {"mapping_lr_multiplier": None},
    ],
)
def test_impossible_configurations(tmp_path, generator, change):
    config = {"resolution": 16, "channels": [12, 10, 8], "z_dim": 14, "w_dim": 14, "mapping_layers": 3}
    description = json.dumps({"format": 1, "config": config | change, "metadata": {}})
    with pytest.raises(CheckpointError):
        load_generator(put(tmp_path, save(generator.state_dict(), {"nada": description})))


def test_a_later_format_asks_for_an_update(tmp_path, generator):
    path = put(tmp_path, save(generator.state_dict(), {"nada": '{"format": 2}'}))
    with pytest.raises(CheckpointError, match="update"):
        load_generator(path)
