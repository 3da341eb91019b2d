"""The training of the demo's encoders: pairs that belong together, resumed where it stopped."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers.scripts import importable
from helpers.stub_comfyui import ROOT

import nada
from nada.photo.encoders.loading import load_encoder


@pytest.fixture
def script(monkeypatch):
    """tools/demo_world/train_encoder.py, which is not part of the package."""
    with importable(ROOT / "tools" / "demo_world"):
        import train_encoder

        monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
        yield train_encoder


def run(script, monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["train_encoder.py", *map(str, arguments)])
    script.main()


def test_a_drawing_belongs_to_the_code_that_it_is_taught_with(script):
    generator = nada.load_generator("demo")
    z = torch.randn(6, generator.config.z_dim)
    drawn = script.drawn_photos(z, "dog", 1, 0.0)
    made = generator.synthesis(generator.mapping(z))
    distances = torch.stack([(drawn - image).square().mean((1, 2, 3)) for image in made])
    assert torch.equal(distances.argmin(1), torch.arange(6))


@pytest.mark.slow
def test_resumes_as_if_it_had_never_stopped(script, monkeypatch, tmp_path):
    options = ["--generator", "demo", "--batch", 4, "--widths", 8, 8, 8, 8, 8, "--hidden", 16, "--codes-alone", 0.5]
    whole, parts, state = (tmp_path / name for name in ("whole.safetensors", "parts.safetensors", "state.pt"))
    run(script, monkeypatch, *options, "--steps", 4, "--out", whole)
    run(script, monkeypatch, *options, "--steps", 4, "--out", parts, "--state", state, "--stop-after", 0)
    assert torch.load(state, weights_only=True)["done"] == 1
    run(script, monkeypatch, *options, "--steps", 4, "--out", parts, "--state", state)
    first, second = (load_encoder(path).state_dict() for path in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
