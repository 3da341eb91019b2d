"""Codes say which mapping network they belong to: every command that writes them, and every command that reads them."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import pytest
import torch
from helpers.models import alive, moved
from safetensors.torch import load_file, save_file

import nada
from nada.cli.main import build_parser, main
from nada.latents.files import load_latents
from nada.pictures.convert import to_pil

WORDS = "found with another generator"
READERS = {  # verb -> the options that it needs besides
    "generate": lambda folder, clip: ["--out", str(folder / "images"), "--overwrite"],
    "evaluate": lambda folder, clip: ["--target", "a pig", "--clip", clip, "--base", "none", "--judge", "none"],
}
STEPS = ["--w-iterations", "1", "--plus-iterations", "1"]
WRITERS = {  # verb -> its options, and the file that it writes
    "invert": (
        lambda folder, clip: [str(folder / "photo.png"), "--middle", "--clip", "none", *STEPS],
        "codes.safetensors",
    ),
    "optimize": (
        lambda folder, clip: ["--target", "a pig", "--clip", clip, "--count", "1", "--iterations", "1"],
        "a_pig_codes.safetensors",
    ),
}


@pytest.fixture
def folder(small, tmp_path, monkeypatch) -> Path:
    """A generator, an adaptation of it, and a stranger of the same shape."""
    monkeypatch.setattr("nada.cli.photo.STORE", tmp_path / "states")
    adapted = moved(small, "torgb")
    adapted.mapping.w_avg.add_(1.0)  # formats without an average code estimate it
    for name, model in {"base": small, "adapted": adapted, "stranger": alive(small.config, seed=1)}.items():
        nada.save_generator(model, tmp_path / f"{name}.safetensors")
    to_pil(nada.generate(small, nada.sample_latents(small, 1)))[0].save(tmp_path / "photo.png")
    return tmp_path


@pytest.fixture
def warned(folder, clip_folder, capsys):
    """Read codes with a verb and one of the generators; returns the number of warnings on stderr."""

    def read(verb: str, model: str, codes: Path) -> int:
        common = ["--generator", str(folder / f"{model}.safetensors"), "--latents", str(codes), "--device", "cpu"]
        assert main([verb, *common, *READERS[verb](folder, str(clip_folder))]) == 0
        return capsys.readouterr().err.count(WORDS)

    return read


def verbs_with(option: str) -> set[str]:
    parser = build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {verb for verb, sub in commands.choices.items() if option in sub._option_string_actions}


def test_all_readers_are_tested():
    assert {*READERS} == verbs_with("--latents")


@pytest.mark.parametrize("verb", READERS)
def test_every_reader_warns_of_codes_of_another_generator(folder, small, warned, verb):
    codes = folder / "codes.safetensors"
    nada.save_latents(nada.sample_latents(small, 2), small, codes)
    assert [warned(verb, model, codes) for model in ("base", "adapted", "stranger")] == [0, 0, 1]
    save_file(load_file(codes), codes)
    assert warned(verb, "stranger", codes) == 0, "files without the mark load in silence"


@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("model", ["base", pytest.param("adapted", marks=pytest.mark.slow)])
def test_every_writer_names_the_generator(folder, clip_folder, warned, verb, model):
    options, name = WRITERS[verb]
    common = ["--generator", str(folder / f"{model}.safetensors"), "--device", "cpu", "--quiet"]
    assert main([verb, *options(folder, str(clip_folder)), *common, "--out", str(folder / "out")]) == 0
    codes = folder / "out" / name
    assert [warned("generate", reader, codes) for reader in ("base", "adapted", "stranger")] == [0, 0, 1]


def test_a_mapping_network_that_was_trained_too_is_another_one(small, tmp_path, caplog):
    codes, trained = tmp_path / "codes.safetensors", copy.deepcopy(small)
    nada.save_latents(nada.sample_latents(small, 2), small, codes)
    with torch.no_grad():
        next(iter(trained.parameters_of("mapping").values())).add_(0.1)
    assert torch.equal(load_latents(codes, trained), load_latents(codes, small))
    assert caplog.text.count(WORDS) == 1
