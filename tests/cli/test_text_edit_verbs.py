"""`nada mapper`, `nada optimize`, `nada direction` and `nada generate --mapper`, as users see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.ctrl_c import press_ctrl_c
from PIL import Image, ImageChops
from safetensors.torch import load_file

from nada.checkpoint import load_generator, save_generator
from nada.cli import main
from nada.latents.sampling import sample_latents
from nada.pictures import grids
from nada.text_edits import load_mapper


@pytest.fixture
def base(small, tmp_path) -> Path:
    path = tmp_path / "base.safetensors"
    save_generator(small, path)
    return path


@pytest.fixture
def command(base, clip_folder, tmp_path):
    """Run one of the commands on small models; returns its exit code."""

    def run(name: str, *more: str, out: str = "run") -> int:
        models = ["--generator", str(base), "--clip", str(clip_folder), "--device", "cpu"]
        texts = [] if "--target" in more else ["--target", "a pig"]
        place = ["--out", str(tmp_path / out), "--quiet"]
        return main([name, *models, *texts, *place, "--iterations", "4", *more])

    return run


def test_mapper_leaves_everything_that_the_help_promises(command, tmp_path, capsys, small):
    assert command("mapper", "--json", "--bands", "coarse", "--batch", "1") == 0
    record = json.loads(capsys.readouterr().out)
    run = tmp_path / "run"
    assert json.loads((run / "record.json").read_text()) == record
    assert [set(losses) for losses in record["losses"]] == [{"clip", "l2", "norm"}] * 4
    mapper = load_mapper(record["files"]["mapper"])
    assert mapper.metadata == record["recipe"]
    assert (record["recipe"]["bands"], record["recipe"]["base"]) == ("coarse", small.fingerprint())
    for name in ("before_after", "filmstrip", "loss"):
        assert Image.open(run / f"{name}.png").width > 2 * grids.TILE_MIN
    assert not list(run.glob(".*")), "temporary files were left"
    assert command("mapper") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_generate_takes_the_mapper(command, base, tiny, tmp_path, capsys):
    assert command("mapper", "--learning-rate", "20") == 0
    file = str(tmp_path / "run" / "a_pig_mapper.safetensors")
    plain = ["generate", "--generator", str(base), "--count", "2", "--device", "cpu", "--out"]
    assert main([*plain, str(tmp_path / "none")]) == 0
    for strength in ("0", "1"):
        assert main([*plain, str(tmp_path / strength), "--mapper", f"{file}:{strength}"]) == 0
    pictures = [Image.open(tmp_path / out / "seed_000001.png") for out in ("none", "0", "1")]
    assert not ImageChops.difference(*pictures[:2]).getbbox()
    assert ImageChops.difference(*pictures[1:]).getbbox()
    assert "trained with another" not in capsys.readouterr().err
    save_generator(tiny, tmp_path / "tiny.safetensors")
    other = ["generate", "--generator", str(tmp_path / "tiny.safetensors"), "--mapper", file, "--count", "1"]
    other += ["--out", str(tmp_path / "other")]
    assert main([*other, "--device", "cpu"]) == 2
    assert "this mapper takes [N, 8, 20]" in capsys.readouterr().err
    assert main([*plain, str(tmp_path / "wrong"), "--mapper", str(base)]) == 1
    assert "this is no mapper" in capsys.readouterr().err


def test_optimize_leaves_codes_and_pictures(command, tmp_path, capsys, base):
    assert command("optimize", "--count", "3", "--first-seed", "5", "--psi", "0.5", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    ws = load_file(record["files"]["codes"])["ws"]
    start = sample_latents(load_generator(base), 3, 5, 0.5)
    assert ws.shape == start.shape
    assert 0 < (ws - start).abs().max() < 1
    assert (tmp_path / "run" / "before_after.png").is_file()
    assert record["recipe"]["learning_rate"] == 0.1


@pytest.fixture
def direction(base, clip_folder, tmp_path):
    """Run `nada direction` on small models; returns its exit code."""

    def run(*more: str) -> int:
        models = [
            "--generator",
            str(base),
            "--clip",
            str(clip_folder),
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "run"),
        ]
        texts = ["--source", "photo", "--target", "a pig", "--samples", "2", "--candidates", "5", "--quiet"]
        return main(["direction", *models, *texts, *more])

    return run


def test_direction_leaves_a_style_and_a_picture(direction, base, tmp_path, capsys):
    assert direction("--beta", "0", "--amount", "3", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "run" / "record.json").read_text()) == record
    assert record["files"]["style"] == str(tmp_path / "run" / "photo_to_a_pig.style.safetensors")
    assert record["recipe"]["amount"] == 3
    assert len(record["channels"]) == record["recipe"]["channels"] == 5
    assert Image.open(tmp_path / "run" / "before_after.png").width > 2 * grids.TILE_MIN
    plain = ["generate", "--generator", str(base), "--count", "1", "--device", "cpu", "--out"]
    assert main([*plain, str(tmp_path / "none")]) == 0
    assert main([*plain, str(tmp_path / "edited"), "--style", f"{record['files']['style']}:0.5"]) == 0
    pictures = [Image.open(tmp_path / out / "seed_000000.png") for out in ("none", "edited")]
    assert ImageChops.difference(*pictures).getbbox()


@pytest.mark.slow
def test_direction_tells_what_it_moved(direction, capsys):
    assert direction("--beta", "0") == 0
    text = capsys.readouterr().out
    assert text.startswith("5 style channels in ")
    assert text.count(" channel ") == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--amount", "0"], "amount is 0.0"),
        (["--beta", "2"], "beta is 2.0"),
        (["--beta", "1"], "the largest relevance is"),
        (["--source", "a pig"], "mean the same"),
        (["--samples", "0"], "samples is 0"),
    ],
)
def test_mistakes_of_a_direction_get_a_sentence_and_leave_no_folder(direction, tmp_path, capsys, arguments, words):
    assert direction(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_trained(command, tmp_path, capsys, monkeypatch):
    from nada.text_edits.mapper_training import MapperTraining

    press_ctrl_c(monkeypatch, MapperTraining, 2)
    assert command("mapper") == 130
    assert "interrupted: saved the result after 3 iterations" in capsys.readouterr().out
    kept = load_mapper(tmp_path / "run" / "a_pig_mapper.safetensors")
    assert kept.metadata["iterations_done"] == 3
    assert not torch.equal(kept.networks["coarse"][0].bias, torch.zeros(20))


@pytest.fixture
def adapted_with(small, tmp_path):
    """Write a generator whose recipe names these CLIP models; returns the first words of a command with it."""

    def write(*models: dict) -> list[str]:
        small.metadata = {"adaptations": [{"clip": [*models]}]}
        save_generator(small, tmp_path / "adapted.safetensors")
        generator = ["--generator", str(tmp_path / "adapted.safetensors"), "--device", "cpu", "--quiet"]
        return ["mapper", *generator, "--target", "pig", "--iterations", "1", "--out", str(tmp_path / "run")]

    return write


def test_clip_is_that_of_the_adaptation_unless_given(adapted_with, clip_folder, tmp_path, capsys):
    command = adapted_with({"name": "demo-conv", "weight": 0, "fingerprint": "x"}, {"name": "demo-vit", "weight": 0.5})
    for more, name in (([], "demo-vit"), (["--overwrite", "--clip", f"{clip_folder}:0.5"], clip_folder.name)):
        assert main([*command, *more]) == 0
        (clip,) = load_mapper(tmp_path / "run" / "pig_mapper.safetensors").metadata["clip"]
        assert (clip["name"], clip["weight"]) == (name, 0.5)
    assert not capsys.readouterr().err


@pytest.mark.slow
def test_other_weights_than_those_of_the_adaptation_are_logged(adapted_with, capsys):
    assert main(adapted_with({"name": "demo-vit", "weight": 0.5, "fingerprint": "0" * 64})) == 0
    assert "adapted.safetensors was adapted with other weights of these CLIP models" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "ViT-B-32@/etc/passwd",
        "ViT-B-32@laion2b_s34b_b79k",
        "hf-hub:a/b",
        ".",
        "my clip",
        "demo-vit,x",
        "\x1b[31m",
    ],
)
@pytest.mark.parametrize("place", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_file_names_clip_models_and_opens_none(adapted_with, capsys, monkeypatch, name, place):
    monkeypatch.setattr("nada.cli.text_edits.load_clip", lambda *_: pytest.fail("something was opened"))
    models = [{"name": "demo-vit", "weight": 0.5}, {"name": "demo-conv", "weight": 0.5}]
    models[place]["name"] = name
    assert main(adapted_with(*models)) == 2
    error = capsys.readouterr().err
    assert "--clip ViT-B/32" in error
    assert error.strip().isprintable()


def test_a_recipe_without_models_leaves_the_usual_ones(adapted_with, clip, monkeypatch):
    asked = []
    monkeypatch.setattr("nada.cli.text_edits.load_clip", lambda spec, place: asked.append(spec) or clip)
    assert main(adapted_with()) == 0
    assert asked == ["ViT-B/32,ViT-B/16"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("mapper", ["--bands", "low"], "name some of coarse, middle, fine"),
        ("mapper", ["--bands", "fine"], "none in the band"),
        ("mapper", ["--target", " "], "target text is empty"),
        ("mapper", ["--psi", "2"], "psi is 2.0"),
        ("optimize", ["--count", "0"], "count is 0"),
        ("optimize", ["--learning-rate", "0"], "learning_rate is 0"),
    ],
)
def test_mistakes_get_a_sentence(command, capsys, name, arguments, words):
    assert command(name, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["mapper", "optimize"])
def test_help_teaches_every_option(name, capsys):
    with pytest.raises(SystemExit) as exit:
        main([name, "--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    for word in ("--target", "--l2-weight", "--views", "--clip", "default: 300"):
        assert word in text


SHORT = {
    "mapper": ["--quiet", "--iterations", "1", "--batch", "1"],
    "optimize": ["--quiet", "--iterations", "1", "--count", "1"],
    "direction": ["--quiet", "--source", "photo", "--samples", "1", "--candidates", "2", "--beta", "0"],
    "evaluate": ["--base", "none", "--count", "2", "--seeds", "1"],
}


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=[] if verb == "evaluate" else [pytest.mark.slow]) for verb in SHORT]
)
def test_a_text_that_clip_cannot_read_is_said_by_every_verb(base, clip_folder, tmp_path, capsys, verb):
    models = ["--generator", str(base), "--clip", str(clip_folder), "--device", "cpu", "--target", "素描"]
    out = [] if verb == "evaluate" else ["--out", str(tmp_path / verb)]
    assert main([verb, *models, *SHORT[verb], *out]) == 0
    assert "can hardly read '素描'; write it in English" in capsys.readouterr().err
