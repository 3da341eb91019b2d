"""Runs on the command line: their folders, snapshots, presets, and style images as files."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import TEXTS, assert_equal
from helpers.models import alive
from PIL import Image

from nada.checkpoint import load_generator, save_generator
from nada.cli import main
from nada.cli.main import build_parser
from nada.errors import NadaError, UsageError
from nada.pictures import grids
from nada.pictures.charts import layer_map
from nada.pictures.reading import load_pictures
from nada.runs.folder import RunFolder
from nada.styles.files import load_style
from nada.styles.style import apply_style
from nada.training.config import AdaptConfig
from nada.training.presets import PRESETS
from nada.training.state import load_state, save_state


@pytest.mark.slow
def test_of_two_runs_into_one_folder_the_second_is_refused(nada, tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.claimed():
        code, error = nada("adapt", *TEXTS, "--iterations", 1, "--out", tmp_path / "run")
        assert (code, "another command works in" in error, "--resume" in error) == (2, True, False)
    assert not (tmp_path / "run").exists(), "the first saved nothing, and leaves nothing"
    nada("adapt", *TEXTS, "--iterations", 1, "--layers", "all", "--out", tmp_path / "run")
    assert nada("adapt", *TEXTS, "--iterations", 1, "--out", tmp_path / "run")[0] == 2


@pytest.mark.slow
def test_overwriting_leaves_nothing_of_the_earlier_run(nada, tmp_path):
    options = (*TEXTS, "--layers", "all", "--out", tmp_path / "run")
    nada("adapt", *options, "--iterations", 3, "--snapshot-every", 1)
    nada("adapt", *options, "--iterations", 2, "--snapshot-every", 2, "--overwrite")
    folder = RunFolder(tmp_path / "run")
    assert list(folder.snapshot_files()) == [2]
    assert list(folder.states()) == [2]
    (tmp_path / "run" / "of_the_user.safetensors").write_bytes(b"")
    earlier = {path.name for path in (tmp_path / "run").glob("*.safetensors")}
    nada("adapt", *options, "--target", "fox", "--iterations", 1, "--overwrite")
    found = {path.name for path in (tmp_path / "run").glob("*.safetensors")}
    assert found & earlier == {"of_the_user.safetensors"}
    assert len(found) == 3


def test_a_snapshot_is_a_style_of_its_base(nada, tmp_path):
    nada("adapt", *TEXTS, "--layers", "all", "--iterations", 2, "--snapshot-every", 1, "--out", tmp_path / "run")
    style = tmp_path / "run" / "snapshots" / "iteration_00001.style.safetensors"
    shown = nada(
        "generate",
        "--generator",
        tmp_path / "base.safetensors",
        "--style",
        style,
        "--count",
        1,
        "--out",
        tmp_path / "images",
    )
    assert shown["styles"] == [str(style)]
    picked = nada("pick", tmp_path / "run", 1)
    base, adapted = load_generator(tmp_path / "base.safetensors"), load_generator(picked["file"])
    assert_equal(apply_style(base, load_style(style)).state_dict(), adapted.state_dict())


@pytest.mark.slow
def test_what_is_damaged_in_a_run_folder_is_a_sentence(nada, tmp_path):
    nada("adapt", *TEXTS, "--iterations", 2, "--out", tmp_path / "run")
    (path,) = RunFolder(tmp_path / "run").states().values()
    state = load_state(path)
    for name, value in (("snapshot_every", "x"), ("generator", 5), ("clip", ["demo"])):
        save_state(replace(state, notes={**state.notes, name: value}), path)
        code, error = nada("adapt", "--resume", tmp_path / "run", "--iterations", 3)
        assert (code, "the notes in the state" in error) == (1, True)
    save_state(replace(state, recipe={**state.recipe, "batch": "x"}), path)
    assert nada("adapt", "--resume", tmp_path / "run", "--iterations", 3)[0] == 2
    for record in ({"generator": 5}, [], "x", 10**400):
        (tmp_path / "run" / "record.json").write_text(json.dumps(record))
        assert "does not say where its base generator is" in nada("pick", tmp_path / "run", 2)[1]


@pytest.mark.slow
def test_every_moment_of_the_filmstrip_can_be_picked(nada, tmp_path, tiny):
    nada("adapt", *TEXTS, "--iterations", 7, "--out", tmp_path / "run")
    assert list(RunFolder(tmp_path / "run").snapshot_files()) == [1, 2, 4, 5, 6, 7]
    picked = nada("pick", tmp_path / "run", 5)
    assert Path(picked["file"]) == tmp_path / "run" / "photo_to_sketch_at_5.safetensors"
    assert load_generator(picked["file"]).metadata["adaptations"][-1]["iterations_done"] == 5
    assert "exists" in nada("pick", tmp_path / "run", 5)[1]
    assert nada("pick", tmp_path / "run", 5, "--overwrite") == picked
    assert "there are: 1, 2, 4, 5, 6, 7" in nada("pick", tmp_path / "run", 3)[1]
    save_generator(alive(tiny.config, seed=3), tmp_path / "base.safetensors")
    assert "started from another generator" in nada("pick", tmp_path / "run", 4)[1]


@pytest.mark.slow
def test_the_filmstrip_has_room_for_six(nada, tmp_path):
    for every, columns in ((1, 6), (3, 4), (0, 2)):
        nada("adapt", *TEXTS, "--iterations", 9, "--out", tmp_path / f"{every}", "--snapshot-every", every)
        width = Image.open(tmp_path / f"{every}" / "filmstrip.png").width
        assert width == columns * (grids.TILE_MIN + grids.COLUMN_GAP) - grids.COLUMN_GAP


def test_style_images_from_files(nada, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 255, (50, 70, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("not a picture")
    record = nada("adapt", "--style-images", folder, "--iterations", 2, "--layers", 3, "--out", tmp_path / "run")
    assert record["style_images"] == [str(folder)]
    assert record["recipe"]["goal"]["directions"]
    assert (tmp_path / "run" / "style_images.safetensors").is_file()
    assert len(nada("adapt", "--resume", tmp_path / "run", "--iterations", 3)["losses"]) == 3
    code, error = nada("adapt", "--style-images", folder / "notes.txt", "--out", tmp_path / "other")
    assert (code, "is not a picture" in error) == (2, True)
    assert "no pictures in" in nada("adapt", "--style-images", tmp_path, "--out", tmp_path / "other")[1]


def test_pictures_are_cropped_to_the_middle_and_scaled_as_generators_do(tmp_path):
    tall = np.zeros((30, 10, 3), dtype=np.uint8)
    tall[10:20] = 255
    Image.fromarray(tall).save(tmp_path / "tall.png")
    (picture,) = load_pictures([tmp_path / "tall.png"], (10, 10))
    assert picture.shape == (3, 10, 10)
    assert torch.equal(picture, torch.ones(3, 10, 10))


def test_a_preset_fills_what_is_not_given(nada, tmp_path):
    record = nada("adapt", "--preset", "pig", "--iterations", 1, "--layers", "all", "--out", tmp_path / "pig")
    recipe = record["recipe"]
    assert (recipe["source"], recipe["target"], recipe["iterations"], recipe["layers"]) == ("dog", "pig", 1, "all")
    assert "--target is missing" in nada("adapt", "--preset", "style", "--out", tmp_path / "other")[1]


def test_every_preset_has_reasons(nada):
    for name, preset in PRESETS.items():
        assert preset.why.endswith(".")
        assert preset.evidence
        assert name == name.lower()
    listed = nada("presets")
    assert set(listed) == set(PRESETS)
    assert listed["sketch"]["settings"]["target"] == "sketch"


@pytest.mark.parametrize("name", PRESETS)
def test_the_options_of_a_preset_can_be_pasted(capsys, name):
    assert main(["presets", name]) == 0
    options = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  --")]
    found = vars(build_parser().parse_args(["adapt", *shlex.split(" ".join(options))]))
    assert PRESETS[name].settings.items() <= found.items()


def test_presets_are_described_in_words(capsys):
    assert main(["presets"]) == 0
    listed = capsys.readouterr().out
    assert "photo -> sketch" in listed
    kinds = [line for line in listed.splitlines() if line.endswith(":")]
    assert len(kinds) == len(set(kinds)) == len({preset.kind for preset in PRESETS.values()})
    assert main(["presets", "plastic-puppet"]) == 0
    assert "--layers 5" in capsys.readouterr().out


def test_the_layer_map_shows_what_trained_when():
    picture = np.array(layer_map(["low", "high"], [{"low"}] * 300 + [{"high"}] * 100, width=530))
    left, middle, right = (picture[20, x].sum() for x in (115, 300, 505))
    assert left == middle < right, "the upper row is dark for three quarters of the time"
    assert picture[40, 115].sum() > picture[40, 505].sum()


def test_boolean_settings_can_be_switched_both_ways(nada, tmp_path):
    record = nada("adapt", *TEXTS, "--iterations", 1, "--train-torgb", "--no-train-const", "--out", tmp_path / "run")
    assert (record["recipe"]["train_torgb"], record["recipe"]["train_const"]) == (True, False)
    assert "b8.torgb" in record["layers"][0]


def test_a_configuration_comes_back_from_a_recipe():
    config = AdaptConfig("photo", "sketch", layers="b8", train="lora", batch=3)
    assert AdaptConfig.from_recipe({**config.__dict__, "clip": [], "iterations_done": 3}) == config
    with pytest.raises(UsageError, match="has no target"):
        AdaptConfig.from_recipe({"source": "photo"})


def test_a_run_never_replaces_what_it_starts_from_under_a_guessed_name_or_a_fixed_one(nada, tiny, tmp_path):
    options = ("--target", "sketch", "--iterations", 1, "--layers", "all")
    name = Path(nada("adapt", *options, "--out", tmp_path / "a")["files"]["generator"]).name
    assert name != "sketch.safetensors", "the source is guessed"
    models, pictures = tmp_path / "models", tmp_path / "pictures"
    models.mkdir(), pictures.mkdir()
    save_generator(tiny, models / name)
    Image.new("RGB", (20, 16), "red").save(pictures / "loss.png")
    for words in (
        ("--generator", models / name, "--out", models),
        ("--style-images", pictures / "loss.png", "--out", pictures),
        ("--style-images", pictures, "--out", pictures),
    ):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        code, error = nada("adapt", *options, *words, last=True)
        assert (code, "would be replaced by the results" in error) == (2, True)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("way", ["generator", "renamed", "pictures", "name"])
def test_a_run_never_replaces_what_it_starts_from(nada, tiny, tmp_path, way):
    folder, options = tmp_path / "run", ("--iterations", 1, "--layers", "all", "--out", tmp_path / "run")
    if way != "name":
        nada("adapt", *TEXTS, *options)
    inputs = {"generator": folder / "photo_to_sketch.safetensors", "pictures": folder}
    match way:
        case "generator" | "renamed":
            more = ("--target", "fox" if way == "renamed" else "sketch", "--overwrite", "--source", "photo")
            words = ("--generator", inputs["generator"], *more)
        case "pictures":
            words = (*TEXTS, "--style-images", folder, "--overwrite")
        case _:
            folder.mkdir()
            save_generator(tiny, folder / "photo_to_sketch.safetensors")
            words = ("--generator", inputs["generator"], *TEXTS)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, error = nada("adapt", *options, *words, last=True)
    assert (code, "would be replaced by the results" in error) == (2, True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_if_the_disk_is_full_the_small_style_is_saved(nada, tmp_path, monkeypatch):
    def full(*_):
        raise NadaError("the disk is full")

    monkeypatch.setattr(RunFolder, "save_generator", full)
    options = ("--iterations", 1, "--layers", "all", "--snapshot-every", 0, "--out", tmp_path / "run")
    code, error = nada("adapt", *TEXTS, *options)
    assert (code, error.splitlines()[-1]) == (1, "nada: the disk is full")
    assert load_style(tmp_path / "run" / "photo_to_sketch.style.safetensors").name == "sketch"
