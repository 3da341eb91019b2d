"""The encoder loader: files of users, and downloads that contain generators too."""

from __future__ import annotations

import pytest
import torch
from helpers.checkpoint_files import encoder_checkpoint, small_generator
from helpers.encoder_files import encoder_contents

from nada import CheckpointError, demo
from nada.published.catalog import ENCODERS
from nada.published.catalog import PUBLISHED as GENERATORS

ENTRY = f"(download) {ENCODERS[0].label}"


def listed(host) -> list[str]:
    (socket,) = host.nodes.NADALoadEncoder.define_schema().inputs
    assert socket.options["default"] == socket.options["options"][0]
    return socket.options["options"]


def test_the_list_names_the_users_files_before_downloads(host):
    assert listed(host) == [*demo.ENCODERS, *(f"(download) {model.label}" for model in ENCODERS)]
    assert {*ENCODERS} <= {*GENERATORS}, "their files hold a generator too"
    folder = host.folder / "models" / "stylegan_encoders"
    folder.mkdir(parents=True)
    torch.save(encoder_checkpoint(small_generator()), folder / "mine.pt")
    assert listed(host)[0] == "mine.pt"
    stamp = host.nodes.NADALoadEncoder.fingerprint_inputs("mine.pt")
    torch.save(encoder_checkpoint(small_generator(seed=2)), folder / "mine.pt")
    assert host.nodes.NADALoadEncoder.fingerprint_inputs("mine.pt") != stamp
    with pytest.raises(CheckpointError, match="no encoder that is known"):  # the helper writes only its first layer
        host.nodes.NADALoadEncoder.execute("mine.pt")
    assert "no encoder that is known" in host.texts[-1]


def test_a_download_is_loaded_and_described(host, monkeypatch):
    def download(model, folder, progress):
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(encoder_contents(small_generator(64), "e4e"), folder / model.file)
        return folder / model.file, ["The SHA-256 is the known one."]

    monkeypatch.setattr(host.load, "download", download)
    before = host.nodes.NADALoadEncoder.fingerprint_inputs(ENTRY)
    with torch.inference_mode():
        encoder = host.nodes.NADALoadEncoder.execute(ENTRY).args[0]
    assert "license" in host.texts[0]
    assert host.texts[-1] == "e4e (IR-SE-50) | codes 10 x 14 | The SHA-256 is the known one."
    assert not any(tensor.is_inference() or tensor.requires_grad for tensor in encoder.state_dict().values())
    assert host.nodes.NADALoadEncoder.fingerprint_inputs(ENTRY) == before, "the next run repeats nothing"
    assert host.nodes.LoadStyleGAN2.execute(ENTRY).args[0].config.resolution == 64, "the same file"


def test_the_included_one_needs_no_file(host):
    assert host.nodes.NADALoadEncoder.fingerprint_inputs("demo") == "demo"
    encoder = host.nodes.NADALoadEncoder.execute("demo").args[0]
    assert host.texts[-1].startswith("small (128 px) | codes ")
    assert not any(tensor.requires_grad for tensor in encoder.parameters())
