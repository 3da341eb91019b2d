"""Runs on the command line: stop, resume, pick a snapshot; presets; style images as files."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import QUICK, alive
from PIL import Image

from nada.adapt import Adaptation
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
from nada.training import state
from nada.training.config import AdaptConfig
from nada.training.presets import PRESETS
from nada.training.state import load_state, save_state


@pytest.fixture
def nada(tiny, clip_folder, tmp_path, capsys):
    """Run a command in an empty folder with tiny models; returns its exit code and its JSON or its error."""
    save_generator(tiny, tmp_path / "base.safetensors")
    models = ["--generator", str(tmp_path / "base.safetensors"), "--clip", str(clip_folder), *QUICK]

    def run(command: str, *arguments: object, last: bool = False):
        """`last`: whether the arguments come after the tiny models, and replace them."""
        words = [*map(str, arguments), "--json"]
        if command == "adapt":
            own = ["--device", "cpu", "--quiet", *([] if "--resume" in words else models)]
            words = [*own, *words] if last else [*words, *own]
        words = [command, *words]
        code = main(words)
        out, error = capsys.readouterr()
        return json.loads(out) if out else (code, error)

    return run


TEXTS = ("--source", "photo", "--target", "sketch")


def result(folder: Path, name: str = "photo_to_sketch"):
    return load_generator(folder / f"{name}.safetensors").state_dict()


def assert_equal(a, b):
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def test_a_resumed_run_ends_like_an_undisturbed_one(nada, tmp_path):
    options = ("--layers", 2, "--train", "lora", "--views", 2)
    whole = nada("adapt", *TEXTS, *options, "--iterations", 5, "--out", tmp_path / "whole")
    nada("adapt", *TEXTS, *options, "--iterations", 3, "--out", tmp_path / "parts", "--snapshot-every", 1)
    record = nada("adapt", "--resume", tmp_path / "parts", "--iterations", 5)
    assert_equal(result(tmp_path / "parts"), result(tmp_path / "whole"))
    for key in ("losses", "layers"):
        assert record[key] == whole[key]
    assert record["recipe"] == whole["recipe"]
    assert json.loads((tmp_path / "parts" / "record.json").read_text()) == record
    assert nada("pick", tmp_path / "parts", 3)["iteration"] == 3, "the first result is not lost"


def test_a_killed_run_resumes_from_its_last_state(nada, tmp_path, monkeypatch):
    nada("adapt", *TEXTS, "--iterations", 4, "--out", tmp_path / "whole")
    steps, train_step = [], Adaptation.train_step

    def die_at_the_fourth(run):
        steps.append(run.iteration)
        if len(steps) == 4:
            raise ZeroDivisionError("killed")
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", die_at_the_fourth)
        with pytest.raises(ZeroDivisionError):
            nada("adapt", *TEXTS, "--iterations", 4, "--out", tmp_path / "killed", "--snapshot-every", 2)
    assert list(RunFolder(tmp_path / "killed").states()) == [2]
    code, error = nada("adapt", *TEXTS, "--out", tmp_path / "killed")
    assert (code, "resume it with --resume" in error) == (2, True), "a new run would destroy it"
    read, read_own_file = [], state.read_own_file
    monkeypatch.setattr(state, "read_own_file", lambda path, *rest: read.append(path) or read_own_file(path, *rest))
    record = nada("adapt", "--resume", tmp_path / "killed")
    assert read == [tmp_path / "killed" / "states" / "iteration_00002.safetensors"], "once: it is large"
    assert len(record["losses"]) == 4
    assert_equal(result(tmp_path / "killed"), result(tmp_path / "whole"))


@pytest.mark.parametrize("every", [pytest.param(0, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    "lost",
    [
        "save_generator",
        *(pytest.param(step, marks=pytest.mark.slow) for step in ("save_style", "save_picture", "save_record")),
    ],
)
def test_results_that_were_not_written_are_written_by_resume(nada, tmp_path, monkeypatch, every, lost):
    options = (*TEXTS, "--layers", "all", "--iterations", 3, "--snapshot-every", every)
    whole = nada("adapt", *options, "--out", tmp_path / "whole")

    def die(*_):
        raise KeyboardInterrupt

    run = tmp_path / lost
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, lost, die)
        code, error = nada("adapt", *options, "--out", run)
        assert (code, "--resume" in error) == (130, True), lost
    record = nada("adapt", "--resume", run)
    assert record["recipe"]["iterations_done"] == 3
    assert record["files"].keys() == whole["files"].keys(), lost
    assert {p.name for p in run.rglob("*")} == {p.name for p in (tmp_path / "whole").rglob("*")}, lost
    assert_equal(result(run), result(tmp_path / "whole"))
    code, error = nada("adapt", "--resume", run)
    assert (code, "has done 3 iterations" in error) == (2, True), "and then it is complete"


@pytest.mark.slow
def test_results_being_replaced_are_not_called_finished(nada, tmp_path, monkeypatch):
    """A run that is killed while its results are replaced must be completed, not reported done by its old record."""
    options = (*TEXTS, "--layers", "all", "--iterations")
    nada("adapt", *options, 3, "--out", tmp_path / "whole")
    nada("adapt", *options, 2, "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_style", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nada("adapt", "--resume", tmp_path / "run", "--iterations", 3)
    assert json.loads((tmp_path / "run" / "record.json").read_text()) == {"finished": False}
    assert nada("adapt", "--resume", tmp_path / "run")["recipe"]["iterations_done"] == 3
    assert_equal(result(tmp_path / "run"), result(tmp_path / "whole"))


@pytest.mark.slow
def test_a_run_that_replaces_another_never_mixes_with_it(nada, tmp_path, monkeypatch):
    """At any moment of a kill, the files named in the record exist."""
    nada("adapt", *TEXTS, "--layers", "all", "--iterations", 2, "--out", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    left, unlink = [0], Path.unlink

    def die_later(path, **options):
        if path.suffix == ".safetensors" and not path.name.startswith("."):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        unlink(path, **options)

    for seed in range(1, 5):
        with monkeypatch.context() as patch:
            left[0] = seed - 1
            patch.setattr(Path, "unlink", die_later)
            options = ("--iterations", 2, "--seed", seed, "--snapshot-every", 0, "--overwrite")
            nada("adapt", *TEXTS, "--layers", "all", *options, "--out", tmp_path / "run")
        now = json.loads((tmp_path / "run" / "record.json").read_text())
        assert now == {"finished": False} or all(Path(path).is_file() for path in now["files"].values())
        assert now in ({"finished": False}, record) or now["recipe"]["seed"] == seed
    record = nada("adapt", "--resume", tmp_path / "run", "--iterations", 3)
    assert record["recipe"]["seed"] == 4
    assert not list((tmp_path / "run" / "snapshots").iterdir())


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


def test_resume_refuses_what_it_cannot_do(nada, tmp_path, tiny):
    nada("adapt", *TEXTS, "--iterations", 2, "--out", tmp_path / "run")
    for arguments, words in [
        ((), "give a larger number as --iterations"),
        (("--iterations", 1), "has done 2 iterations"),
        (("--iterations", 0), "iterations is 0"),
        (("--iterations", 4, "--target", "pig"), "--target cannot be combined with --resume"),
        (("--iterations", 4, "--clip", "ViT-B/99"), "no CLIP architecture"),
    ]:
        code, error = nada("adapt", "--resume", tmp_path / "run", *arguments)
        assert code == 2
        assert words in error
        assert error.count("\n") == 1
    with torch.no_grad():
        tiny.synthesis.b4.const.add_(1)
    save_generator(tiny, tmp_path / "base.safetensors")
    code, error = nada("adapt", "--resume", tmp_path / "run", "--iterations", 4)
    assert (code, "another base generator" in error) == (2, True)
    code, error = nada("adapt", "--resume", tmp_path / "nowhere")
    assert (code, "there is no folder" in error) == (2, True)


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
def test_out_of_memory_loses_no_training(nada, tmp_path, monkeypatch):
    options = (*TEXTS, "--layers", "all", "--iterations", 4, "--snapshot-every", 0)
    nada("adapt", *options, "--out", tmp_path / "whole")
    train_step = Adaptation.train_step

    def full(run):
        if run.iteration == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", full)
        code, error = nada("adapt", *options, "--out", tmp_path / "full")
    assert (code, "continues after iteration 3" in error) == (1, True)
    nada("adapt", "--resume", tmp_path / "full")
    assert_equal(result(tmp_path / "full"), result(tmp_path / "whole"))


@pytest.mark.parametrize(("stop", "words"), [(1, "the results are incomplete"), (3, "continues after iteration 2")])
def test_a_second_interrupt_names_the_way_to_resume_where_there_is_one(nada, tmp_path, monkeypatch, stop, words):
    train_step = Adaptation.train_step

    def interrupted(run):
        if run.iteration == stop:
            raise KeyboardInterrupt
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Adaptation, "train_step", interrupted)
        code, error = nada("adapt", *TEXTS, "--iterations", 4, "--snapshot-every", 2, "--out", tmp_path / "run")
    assert (code, words in error, "--resume" in error) == (130, True, stop > 2)
    if stop > 2:
        assert nada("adapt", "--resume", tmp_path / "run")["recipe"]["iterations_done"] == 4


@pytest.mark.parametrize("damage", [pytest.param("numbers", marks=pytest.mark.slow), "cut off"])
def test_resume_never_begins_another_run(nada, tmp_path, damage):
    """Only the states of a run towards pictures know the pictures; a new run would go somewhere else."""
    Image.effect_noise((32, 32), 50).save(tmp_path / "noise.png")
    nada("adapt", *TEXTS, "--style-images", tmp_path / "noise.png", "--iterations", 2, "--out", tmp_path / "run")
    results = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    (path,) = RunFolder(tmp_path / "run").states().values()
    content = path.read_bytes()
    path.write_bytes(content[:-8000] + b"\xff" * 1000 + content[-7000:] if damage == "numbers" else content[:-8000])
    code, error = nada("adapt", "--resume", tmp_path / "run", "--iterations", 4)
    assert (code, "holds no state" in error) == (1, True)
    assert {path: path.read_bytes() for path in results} == results


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


def test_after_a_kill_before_the_first_state_the_same_command_works(nada, tmp_path):
    """A killed process releases its lock, and leaves the record that it had begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("of the user, before the run")
    (folder / "record.json").write_text('{"finished": false}')
    (folder / ".lock").touch()
    (folder / ".nada-x-1.json").touch()
    record = nada("adapt", *TEXTS, "--iterations", 1, "--layers", "all", "--out", folder)
    assert record["recipe"]["iterations_done"] == 1
    assert not (folder / ".lock").exists()
    (folder / "record.json").write_text('{"finished": false}')
    (folder / "photo_to_sketch.safetensors").touch()
    code, error = nada("adapt", *TEXTS, "--iterations", 1, "--out", folder)
    assert (code, "holds an earlier run" in error) == (2, True), "but results without a record are kept"


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


def test_a_run_is_not_resumed_while_another_command_works_in_its_folder(nada, tmp_path):
    nada("adapt", *TEXTS, "--iterations", 1, "--layers", "all", "--out", tmp_path / "run")
    with RunFolder(tmp_path / "run").alone():
        code, error = nada("adapt", "--resume", tmp_path / "run", "--iterations", 2)
        assert (code, "another command works in" in error) == (2, True)
    assert nada("adapt", "--resume", tmp_path / "run", "--iterations", 2)["recipe"]["iterations_done"] == 2


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
