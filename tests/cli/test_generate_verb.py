"""`nada generate` with codes and seeds of other projects, and images that are not square."""

from __future__ import annotations

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import alive
from PIL import Image

from nada.checkpoint import save_generator
from nada.cli import main
from nada.latents.rendering import generate
from nada.latents.sampling import sample_latents
from nada.pictures.convert import to_uint8
from nada.runs.result_folder import ResultFolder
from nada.stylegan2 import GeneratorConfig


@pytest.fixture
def make(small, tmp_path):
    """Run `nada generate` on a generator; returns its exit code."""

    def run(*more: str, generator=small) -> int:
        save_generator(generator, tmp_path / "base.safetensors")
        command = ["generate", "--generator", str(tmp_path / "base.safetensors"), "--device", "cpu"]
        return main([*command, "--out", str(tmp_path / "out"), *more])

    return run


def test_of_two_commands_into_one_folder_the_second_replaces_nothing(make, tmp_path, capsys, monkeypatch):
    """Two processes check the folder before either has written."""
    prepare = ResultFolder.prepare

    def overtaken(folder):
        monkeypatch.setattr(ResultFolder, "prepare", prepare)
        assert make("--count", "1", "--psi", "1") == 0
        prepare(folder)

    monkeypatch.setattr(ResultFolder, "prepare", overtaken)
    assert make("--count", "1", "--psi", "0") == 1
    assert "seed_000000.png exists: another program" in capsys.readouterr().err
    first = pixels(tmp_path / "out" / "seed_000000.png")
    assert make("--count", "1", "--psi", "1", "--overwrite") == 0
    assert np.array_equal(first, pixels(tmp_path / "out" / "seed_000000.png"))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_codes_from_a_file(make, tmp_path, small, capsys):
    ws = sample_latents(small, 2, 5)
    np.savez(tmp_path / "projected_w.npz", w=ws.numpy())
    assert make("--latents", str(tmp_path / "projected_w.npz"), "--count", "7", "--json") == 0
    assert json.loads(capsys.readouterr().out)["latents"] == str(tmp_path / "projected_w.npz")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["code_000000.png", "code_000001.png", "grid.png"]
    for i, image in enumerate(to_uint8(generate(small, ws)).numpy()):
        assert np.array_equal(pixels(tmp_path / "out" / f"code_00000{i}.png"), image)


def test_images_beyond_the_grid_are_not_kept_in_memory(make, monkeypatch):
    kept, alive_at_the_end = [], []

    def generate(model, ws, *_, **options):
        images = np.zeros((len(ws), 3, 32, 32), np.float32)
        kept.append(weakref.ref(images))  # the tensor's memory is the array's
        return torch.from_numpy(images)

    def make_grid(images):
        alive_at_the_end.extend(ref() is not None for ref in kept[:-1])
        return Image.new("RGB", (len(images), 1))

    module = "nada.cli.generate."
    for name, value in (("GRID", 3), ("generate", generate), ("make_grid", make_grid)):
        monkeypatch.setattr(module + name, value)
    assert make("--count", "8", "--batch", "2") == 0
    assert alive_at_the_end == [True, True, False]


def test_codes_for_another_generator(make, tmp_path, capsys):
    torch.save(torch.zeros(1, 18, 512), tmp_path / "w.pt")
    assert make("--latents", str(tmp_path / "w.pt")) == 1
    assert "w.pt: the file holds array [1, 18, 512]; codes for this generator are" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert make("--latents", str(tmp_path / "absent.npy")) == 2


def test_seeds_of_nvidias_scripts(make, tmp_path, small):
    assert make("--seed", "50", "--count", "1", "--psi", "1", "--seed-from", "numpy") == 0
    z = torch.from_numpy(np.random.RandomState(50).randn(1, 16)).float()
    expected = to_uint8(small(z)).numpy()[0]
    assert np.abs(pixels(tmp_path / "out" / "seed_000050.png").astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("fields", "mode", "size"),
    [
        ({}, "RGB", (32, 32)),
        ({"img_channels": 1}, "RGB", (32, 32)),
        ({"img_channels": 4}, "RGBA", (32, 32)),
        ({"start": (4, 2)}, "RGB", (16, 32)),
        ({"start": (4, 8), "img_channels": 4}, "RGBA", (64, 32)),
    ],
)
def test_pictures_keep_form_and_alpha(make, tmp_path, fields, mode, size):
    generator = alive(GeneratorConfig(32, (8, 8, 8, 8), z_dim=6, w_dim=6, mapping_layers=2, **fields))
    assert make("--count", "2", generator=generator) == 0
    picture = Image.open(tmp_path / "out" / "seed_000001.png")
    assert (picture.mode, picture.size) == (mode, size)
    images = to_uint8(generate(generator, sample_latents(generator, 2))).numpy()
    assert np.array_equal(np.asarray(picture), images[1])
    grid = Image.open(tmp_path / "out" / "grid.png")
    assert grid.mode == "RGB"
    assert (grid.width - 4) / 2 / grid.height == size[0] / size[1]


def test_the_middle_of_each_image(make, tmp_path, capsys):
    assert make("--count", "2", "--crop", "32x24") == 0
    assert make("--count", "2", "--out", str(tmp_path / "whole")) == 0
    assert np.array_equal(
        pixels(tmp_path / "out" / "seed_000000.png"), pixels(tmp_path / "whole/seed_000000.png")[4:28]
    )
    assert make("--crop", "64x24", "--out", str(tmp_path / "wide")) == 2
    assert "the images have 32 x 32 pixels; 64 x 24 cannot be cut out" in capsys.readouterr().err
    assert not (tmp_path / "wide").exists()
    with pytest.raises(SystemExit):
        make("--crop", "wide")
    assert "write WIDTHxHEIGHT, such as 512x384" in capsys.readouterr().err
