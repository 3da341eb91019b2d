"""Generators written in rosinality's format have the names, shapes and bits of its own files."""

from __future__ import annotations

import pytest
import torch
from helpers.checkpoint_files import rosinality_checkpoint, small_generator

from nada import NadaError, UsageError, load_generator, save_generator
from nada.checkpoint import save_rosinality
from nada.cli import main


@pytest.mark.parametrize("resolution", [4, 8, 64])
def test_names_shapes_and_bits_are_rosinalitys(tmp_path, resolution):
    generator = small_generator(resolution, z_dim=14)
    notes = save_rosinality(generator, tmp_path / "g.pt")
    written = torch.load(tmp_path / "g.pt", weights_only=True)
    expected = rosinality_checkpoint(generator)
    assert written.keys() == expected.keys() == {"g_ema", "latent_avg"}
    assert torch.equal(written["latent_avg"], expected["latent_avg"])
    assert written["g_ema"].keys() == expected["g_ema"].keys()
    for name, tensor in expected["g_ema"].items():
        assert written["g_ema"][name].shape == tensor.shape, name
        assert torch.equal(written["g_ema"][name], tensor), name
    again = load_generator(tmp_path / "g.pt")
    assert again.fingerprint() == generator.fingerprint()
    assert len(notes) == 1
    assert "unusual widths" in notes[0]


def test_tensors_of_a_generator_in_training_are_plain(tmp_path):
    generator = small_generator(8, z_dim=14).requires_grad_(True)
    save_rosinality(generator, tmp_path / "g.pt")
    written = torch.load(tmp_path / "g.pt", weights_only=True)["g_ema"]
    assert not any(isinstance(tensor, torch.nn.Parameter) or tensor.requires_grad for tensor in written.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"architecture": "resnet"},
        {"architecture": "orig"},
        {"c_dim": 3},
        {"img_channels": 4},
        {"start": (4, 2)},
        {"z_dim": 16},
        {"mapping_lr_multiplier": 1.0},
    ],
    ids=str,
)
def test_what_the_format_cannot_express_is_refused(tmp_path, fields):
    generator = small_generator(16, **fields)
    with pytest.raises(UsageError, match=next(iter(fields))):
        save_rosinality(generator, tmp_path / "g.pt")
    assert not list(tmp_path.iterdir())


def test_what_gets_lost_is_said(tmp_path):
    generator = small_generator(16, conv_clamp=256.0, demod_eps="raw")
    notes = " ".join(save_rosinality(generator, tmp_path / "g.pt"))
    assert "activations pass 256" in notes
    assert "demodulation" in notes


def test_convert_writes_both_formats(tmp_path, capsys):
    generator = small_generator(16)
    save_generator(generator, tmp_path / "a.safetensors")
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "b.pt")]) == 0
    assert "unusual widths" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "b.pt"), str(tmp_path / "c.safetensors")]) == 0
    assert load_generator(tmp_path / "c.safetensors").fingerprint() == generator.fingerprint()
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "d.ckpt")]) == 2


def test_a_diverged_generator_replaces_no_good_file(tmp_path):
    generator = small_generator(8, z_dim=14)
    save_rosinality(generator, tmp_path / "g.pt")
    good = (tmp_path / "g.pt").read_bytes()
    generator.synthesis.b8.conv1.weight.data[0, 0] = float("nan")
    with pytest.raises(NadaError, match=r"was not written: .*b8\.conv1\.weight"):
        save_rosinality(generator, tmp_path / "g.pt")
    assert (tmp_path / "g.pt").read_bytes() == good
