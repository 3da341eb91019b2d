"""Styles on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.checkpoint_files import rosinality_checkpoint, torch_bytes
from helpers.models import alive
from PIL import Image

from nada import GeneratorConfig, apply_style, load_generator, load_style, save_generator
from nada.cli import main
from nada.cli.shared import split_spec


@pytest.fixture(autouse=True)
def small_tiles():
    """Keep the usual sizes: previews have them."""


@pytest.fixture
def files(small, tmp_path, monkeypatch):
    """A base, its adaptation as published by others (without the average w), and a working folder."""
    monkeypatch.chdir(tmp_path)
    save_generator(small, "base.safetensors")
    adapted = alive(small.config, seed=0)
    with torch.no_grad():
        for parameter in adapted.synthesis.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    Path("ukiyoe.pt").write_bytes(torch_bytes(rosinality_checkpoint(adapted, latent_avg=False, noises=False)))
    return tmp_path


def run(*arguments: str, code: int = 0) -> None:
    assert main([*arguments]) == code


def test_a_published_checkpoint_becomes_a_style_and_a_generator_again(files, capsys, small):
    run("style", "diff", "base.safetensors", "ukiyoe.pt", "s.safetensors", "--dtype", "float32", "--json")
    result = json.loads(capsys.readouterr().out)
    assert (result["name"], result["kind"], result["recipe"]) == ("ukiyoe", "weights", None)
    assert result["bytes"] == Path("s.safetensors").stat().st_size > result["number_bytes"]
    assert not [n for n in load_style("s.safetensors").deltas if "noise_const" in n or n.startswith("mapping")]
    run("style", "merge", "base.safetensors", "s.safetensors:0.5", "s.safetensors:0.5", "--out", "m.safetensors")
    assert "ukiyoe x 0.5" in capsys.readouterr().out
    merged, adapted = load_generator("m.safetensors"), load_generator("ukiyoe.pt")
    for name, parameter in merged.synthesis.named_parameters():
        assert torch.allclose(parameter, adapted.synthesis.get_parameter(name), atol=1e-6)
    assert torch.equal(merged.mapping.w_avg, small.mapping.w_avg)


def test_show_tells_and_writes_the_picture(files, capsys):
    run("style", "diff", "base.safetensors", "ukiyoe.pt", "s.safetensors", "--name", "waves", "--rank", "2")
    capsys.readouterr()
    run("style", "show", "s.safetensors", "--preview", "p.png")
    text = capsys.readouterr().out
    assert "name: waves" in text
    assert "resolution: 32" in text
    assert Image.open("p.png").size == (512, 254)


def test_no_file_is_lost_to_a_preview(files, capsys):
    run("style", "diff", "base.safetensors", "ukiyoe.pt", "s.safetensors")
    before = Path("s.safetensors").read_bytes()
    Path("mine.png").write_bytes(b"mine")
    for place, words in (("mine.png", "add --overwrite"), ("s.safetensors", "must end in .png")):
        assert main(["style", "show", "s.safetensors", "--preview", place]) == 2
        assert words in capsys.readouterr().err
    assert (Path("s.safetensors").read_bytes(), Path("mine.png").read_bytes()) == (before, b"mine")
    run("style", "show", "s.safetensors", "--preview", "mine.png", "--overwrite")
    assert Image.open("mine.png").size == (512, 254)


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "base.safetensors", "new.safetensors"],
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in (
                ["convert", "same.safetensors", "new.pt"],
                ["style", "diff", "base.safetensors", "ukiyoe.pt", "new.safetensors"],
                ["style", "merge", "base.safetensors", "s.safetensors", "--out", "new.safetensors"],
                ["style", "show", "s.safetensors", "--preview", "new.png"],
            )
        ),
    ],
)
def test_what_another_program_wrote_meanwhile_is_not_replaced(files, small, capsys, monkeypatch, words):
    save_generator(alive(replace(small.config, z_dim=20)), "same.safetensors")  # as long as w, as rosinality has it
    run("style", "diff", "base.safetensors", "ukiyoe.pt", "s.safetensors")
    new, exists = Path(words[-1]), Path.exists
    new.write_bytes(b"theirs")
    monkeypatch.setattr(Path, "exists", lambda path: path != new and exists(path))  # as before the work
    assert main(words) == 1
    assert "another program has written it" in capsys.readouterr().err
    assert new.read_bytes() == b"theirs"
    assert main([*words, "--overwrite"]) == 0
    assert new.read_bytes() != b"theirs"


def test_adapt_leaves_a_style_that_equals_its_generator(files, clip_folder, small):
    texts = ["--source", "photo", "--target", "sketch", "--iterations", "3", "--batch", "1", "--layers", "all"]
    texts += ["--snapshot-every", "0"]
    run("adapt", "--generator", "base.safetensors", "--clip", str(clip_folder), *texts, "--out", "run", "--quiet")
    style = load_style("run/photo_to_sketch.style.safetensors")
    assert style.name == "sketch"
    assert style.preview
    adapted = load_generator("run/photo_to_sketch.safetensors")
    assert style.recipe == adapted.metadata["adaptations"][0]
    assert json.loads(Path("run/record.json").read_text())["files"]["style"].endswith(".style.safetensors")
    for name, tensor in apply_style(small, style).state_dict().items():
        assert torch.allclose(tensor, adapted.state_dict()[name], atol=1e-4)


def test_generate_with_styles(files, capsys):
    run("style", "diff", "base.safetensors", "ukiyoe.pt", "s.safetensors")
    run("generate", "--generator", "base.safetensors", "--count", "1", "--out", "a")
    half = ["--style", "s.safetensors:0.5"]
    run("generate", "--generator", "base.safetensors", "--count", "1", "--out", "b", *half, *half)
    run("generate", "--generator", "ukiyoe.pt", "--count", "1", "--out", "c", "--noise", "none", "--psi", "1")
    run("generate", "--generator", "base.safetensors", "--style", "s.safetensors", "--count", "1", "--out", "d",
        "--noise", "none", "--psi", "1")  # fmt: skip
    pictures = {name: Image.open(f"{name}/seed_000000.png").tobytes() for name in "abcd"}
    assert pictures["a"] != pictures["b"]
    off = max(abs(one - other) for one, other in zip(pictures["c"], pictures["d"], strict=True))
    assert off <= 1, "the adaptation and its style make the same picture"


def test_mistakes_get_a_sentence_and_leave_files_alone(files, capsys):
    save_generator(alive(GeneratorConfig(16, (8, 8, 8), z_dim=16, w_dim=20, mapping_layers=2)), "other.safetensors")
    run("style", "diff", "base.safetensors", "ukiyoe.pt", "s.safetensors")
    capsys.readouterr()
    for arguments, code, words in [
        (("diff", "base.safetensors", "ukiyoe.pt", "s.safetensors"), 2, "exists"),
        (("diff", "base.safetensors", "ukiyoe.pt", "s.pt"), 2, "must end in .safetensors"),
        (("diff", "base.safetensors", "other.safetensors", "o.safetensors"), 2, "different shapes (32 and 16 px)"),
        (("diff", "base.safetensors", "base.safetensors", "o.safetensors"), 2, "same weights"),
        (("diff", "s.safetensors", "ukiyoe.pt", "o.safetensors"), 1, "this is a style"),
        (("merge", "other.safetensors", "s.safetensors", "--out", "o.safetensors"), 2, "32 px"),
        (("merge", "base.safetensors", "s.safetensors:3", "--out", "o.safetensors"), 2, "strength is 3"),
        (("merge", "base.safetensors", "ukiyoe.pt", "--out", "o.safetensors"), 1, "not a style"),
        (("show", "nowhere.safetensors"), 2, "nowhere.safetensors"),
    ]:
        run("style", *arguments, code=code)
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error
    assert not Path("o.safetensors").exists()


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("a.safetensors", ("a.safetensors", 1.0)),
        ("a.safetensors:0.5", ("a.safetensors", 0.5)),
        ("a:-1", ("a", -1.0)),
        (r"C:\styles\a.safetensors", (r"C:\styles\a.safetensors", 1.0)),
        (r"C:\styles\a.safetensors:2", (r"C:\styles\a.safetensors", 2.0)),
    ],
)
def test_strengths_after_file_names(spec, parts):
    assert split_spec(spec) == parts
