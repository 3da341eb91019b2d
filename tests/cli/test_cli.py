"""The command line as users see it: files, sentences and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.checkpoint_files import nvidia_bytes, rosinality_checkpoint, small_generator, torch_bytes
from helpers.ctrl_c import press_ctrl_c
from helpers.models import QUICK
from PIL import Image

from nada.adapt import Adaptation
from nada.checkpoint import load_generator, save_generator
from nada.cli import files, main
from nada.latents.rendering import generate
from nada.latents.sampling import sample_latents
from nada.pictures import grids
from nada.runs.folder import RunFolder
from nada.runs.names import free_path, result_name, slug
from nada.runs.result_folder import STYLE_ENDING
from nada.styles.files import load_style
from nada.training.state import load_state

ROOT = Path(__file__).parents[2]


@pytest.fixture
def base(small, tmp_path) -> Path:
    path = tmp_path / "base.safetensors"
    save_generator(small, path)
    return path


@pytest.fixture
def tiny_base(tiny, tmp_path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_generator(tiny, path)
    return path


@pytest.fixture
def adapt(tiny_base, clip_folder, tmp_path):
    """Run `nada adapt` with tiny defaults; returns its exit code."""

    def run(*more: str, out: str = "run") -> int:
        texts = [] if "--source" in more else ["--source", "photo", "--target", "sketch"]
        arguments = ["--generator", str(tiny_base), "--clip", str(clip_folder), "--out", str(tmp_path / out), "--quiet"]
        return main(["adapt", *arguments, *texts, "--iterations", "4", *QUICK, "--device", "cpu", *more])

    return run


def test_adapt_leaves_everything_that_the_help_promises(adapt, tmp_path, capsys, tiny):
    assert adapt("--snapshot-every", "2", "--layers", "2", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    run = tmp_path / "run"
    assert json.loads((run / "record.json").read_text()) == record
    assert len(record["losses"]) == len(record["layers"]) == 4
    assert all(len(layers) == 2 for layers in record["layers"])
    adapted = load_generator(run / "photo_to_sketch.safetensors")
    assert adapted.metadata["adaptations"] == [record["recipe"]]
    assert record["recipe"]["base"] == tiny.fingerprint() != adapted.fingerprint()
    snapshot = load_style(run / "snapshots" / "iteration_00002.style.safetensors")
    assert snapshot.base["fingerprint"] == tiny.fingerprint()
    assert {p.name for p in (run / "states").iterdir()} == {"iteration_00004.safetensors"}
    for name in ("before_after", "filmstrip", "loss", "layers"):
        assert Image.open(run / f"{name}.png").width > 2 * grids.TILE_MIN
    assert not list(run.glob(".*")), "temporary files were left"


def test_two_runs_write_the_same_generator(adapt, tmp_path):
    assert adapt("--iterations", "2", out="a") == adapt("--iterations", "2", out="b") == 0
    a, b = (load_generator(tmp_path / out / "photo_to_sketch.safetensors") for out in "ab")
    assert a.fingerprint() == b.fingerprint()


@pytest.mark.slow
def test_both_foreign_formats_adapt_to_the_same_pictures(clip_folder, tmp_path):
    generator = small_generator(16)
    (tmp_path / "rosinality.bin").write_bytes(torch_bytes(rosinality_checkpoint(generator)))
    (tmp_path / "nvidia.bin").write_bytes(nvidia_bytes(generator))
    images = []
    for name in ("rosinality", "nvidia"):
        texts = ["--source", "photo", "--target", "sketch", "--iterations", "5", "--layers", "3", "--quiet", *QUICK]
        models = ["--generator", str(tmp_path / f"{name}.bin"), "--clip", str(clip_folder), "--device", "cpu"]
        assert main(["adapt", *models, *texts, "--out", str(tmp_path / name)]) == 0
        adapted = load_generator(tmp_path / name / "photo_to_sketch.safetensors")
        images.append(generate(adapted, sample_latents(adapted, 4)))
    base = generate(generator, sample_latents(generator, 4))
    assert (images[0] - images[1]).abs().max() < 1e-4
    assert (images[0] - base).abs().max() > 0.05, "nothing was adapted"


def test_an_earlier_run_is_not_lost(adapt, tmp_path, capsys):
    assert adapt("--snapshot-every", "2") == 0
    first = (tmp_path / "run" / "photo_to_sketch.safetensors").read_bytes()
    assert adapt() == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "run" / "photo_to_sketch.safetensors").read_bytes() == first
    assert adapt("--overwrite", "--seed", "9", "--snapshot-every", "3") == 0
    assert (tmp_path / "run" / "photo_to_sketch.safetensors").read_bytes() != first
    assert [p.name for p in tmp_path.glob("run/snapshots/*")] == ["iteration_00003.style.safetensors"]


def test_generate_writes_one_picture_per_seed(base, tmp_path, capsys):
    out = tmp_path / "images"
    command = ["generate", "--generator", str(base), "--seed", "7", "--out", str(out), "--device", "cpu"]
    assert main([*command, "--count", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"]["grid"] == str(out / "grid.png")
    assert sorted(p.name for p in out.glob("seed*")) == [f"seed_00000{n}.png" for n in (7, 8, 9)]
    assert Image.open(out / "seed_000007.png").size == (32, 32)
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    (out / "seed_000008.png").write_bytes(b"half")
    assert main([*command, "--count", "2", "--overwrite"]) == 0
    assert [Image.open(out / f"seed_00000{n}.png").size for n in (7, 8, 9)] == [(32, 32)] * 3, "the third one stays"


def test_convert_and_inspect(base, tmp_path, capsys, small):
    state = {"g_ema": {"not": torch.zeros(3)}}
    torch.save(state, tmp_path / "odd.pt")
    assert main(["convert", str(base), str(tmp_path / "copy.safetensors")]) == 0
    assert load_generator(tmp_path / "copy.safetensors").fingerprint() == small.fingerprint()
    assert main(["convert", str(base), str(tmp_path / "copy.safetensors")]) == 2
    assert main(["convert", str(base), str(tmp_path / "loud.SAFETENSORS")]) == 0
    assert load_generator(tmp_path / "loud.SAFETENSORS").fingerprint() == small.fingerprint()
    assert main(["convert", str(base), str(tmp_path / "copy.txt")]) == 2
    assert "must end in .safetensors or .pt" in capsys.readouterr().err
    assert main(["convert", str(base), str(tmp_path / "copy.pt")]) == 2
    assert main(["convert", str(tmp_path / "odd.pt"), str(tmp_path / "odd.safetensors")]) == 1
    assert not (tmp_path / "odd.safetensors").exists()
    capsys.readouterr()
    assert main(["inspect", str(base), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["resolution"] == 32
    assert main(["inspect", str(base)]) == 0
    assert "resolution: 32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--batch", "0"], 2, "batch is 0"),
        (["--layers", "9"], 2, "the most for a 8 px generator is 4"),
        (["--layers", "most"], 2, "'auto', 'all' or a number"),
        (["--source", "photo", "--target", " "], 2, "--target is missing"),
        (["--source", "photo", "--target", "far too " * 30], 2, "tokens long"),
        (["--clip", "ViT-B/99"], 2, "no CLIP architecture"),
        (["--generator", "nowhere.pkl"], None, "nowhere.pkl"),
        (["--generator", __file__], 1, "test_cli.py"),
        (["--device", "abacus"], 2, "abacus"),
        (["--learning-rate", "1e30"], 2, "learning_rate is 1e+30; it must be in 0..100"),
        (["--learning-rate", "1e-300"], 2, "learning_rate is 1e-300; it must be 0, or of a size in 1e-06..1e+06"),
        (["--learning-rate", "nan"], 2, "learning_rate is nan"),
        (["--directional-weight", "1e30"], 2, "directional_weight is 1e+30"),
        (["--clip", "demo:1e-300"], 2, "the weight of 'demo' is 1e-300"),
        (["--clip", "demo:1e30"], 2, "the weight of 'demo' is 1e+30"),
        (["--source", "photo", "--target", "a:1e308|b:1e308"], 2, "the weight of 'a' is 1e+308"),
        (["--source", "photo", "--target", "\udcff"], 2, "target is"),
        (["--iterations", "1" + 20 * "0"], 2, "iterations is 1" + 20 * "0"),
        (["--batch", "99999999999"], 2, "batch is 99999999999; it must be in 1..4096"),
        (["--select-batch", "99999999999"], 2, "select_batch is 99999999999"),
        (["--views", "99999999999"], 2, "views is 99999999999"),
        (["--rank", "99999999999", "--train", "lora"], 2, "rank is 99999999999"),
        (["--seed", "1" + 400 * "0"], 2, "seed is 1"),
        (["--device", "meta"], 2, "the device 'meta' cannot be used here"),
        (["--snapshot-every", "-1"], 2, "snapshot_every is -1"),
        (["--snapshot-every", "9" * 30], 2, "it must be in 0..10000000, 0 for never"),
    ],
)
def test_mistakes_get_a_sentence_and_a_code(adapt, capsys, arguments, code, words):
    result = adapt(*arguments)
    error = capsys.readouterr().err
    assert result == code if code else result in (1, 2)
    assert words in error
    assert "Traceback" not in error
    assert error.count("\n") == 1, error


@pytest.mark.skipif(not hasattr(os, "geteuid") or not Path("/dev/full").exists(), reason="needs a Unix system")
def test_places_that_cannot_be_written(adapt, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert adapt(out="file/run") == 1
    assert capsys.readouterr().err.count("\n") == 1
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.geteuid():  # the superuser can write anywhere
        assert adapt(out="closed/run") == 1
        assert "ermission" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_keeps_the_old_file(adapt, tmp_path, capsys, monkeypatch):
    assert adapt() == 0
    path = tmp_path / "run" / "photo_to_sketch.safetensors"
    before = path.read_bytes()

    def full(file):
        if os.fstat(file).st_size:  # the empty file that tests the folder still fits
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert adapt("--overwrite") == 1
    error = capsys.readouterr().err
    assert error.count("disk is full") == error.count("\n") == 3, "the first snapshot and state, and the result"
    assert path.read_bytes() == before


def test_ctrl_c_finishes_the_step_and_says_where_it_was_kept(adapt, tmp_path, monkeypatch, capsys):
    press_ctrl_c(monkeypatch, Adaptation, 2)
    assert adapt() == 130
    expect_kept(tmp_path / "run", capsys.readouterr().out, done=3)


def expect_kept(run: Path, out: str, done: int) -> None:
    """An interrupted run has its results and a state, and says where."""
    kept = run / "photo_to_sketch.safetensors"
    assert str(kept) in out
    assert "interrupted" in out
    assert load_generator(kept).metadata["adaptations"][-1]["iterations_done"] == done
    assert json.loads((run / "record.json").read_text())["interrupted"] is True
    assert done in RunFolder(run).states()


def start(base: Path, clip_folder: Path, out: Path, *more: str) -> subprocess.Popen:
    texts = ["--source", "photo", "--target", "sketch", "--iterations", "100000", "--snapshot-every", "1"]
    models = ["--generator", str(base), "--clip", str(clip_folder), "--device", "cpu", "--out", str(out)]
    command = [sys.executable, "-m", "nada", "adapt", *models, *texts, *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Wait until a file exists, without a time limit, or until the process ends without it."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_in_a_console_keeps_what_was_trained_and_says_where(tiny_base, clip_folder, tmp_path):
    process = start(tiny_base, clip_folder, tmp_path / "run", "--quiet")
    wait_for(tmp_path / "run" / "states" / "iteration_00003.safetensors", process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert process.returncode == 130, error
    done = list(RunFolder(tmp_path / "run").states())[-1]
    assert 3 <= done < 100000
    expect_kept(tmp_path / "run", out, done)


@pytest.mark.slow
def test_a_killed_run_leaves_only_whole_files_and_can_be_resumed(tiny_base, clip_folder, tmp_path):
    run = tmp_path / "run"
    process = start(tiny_base, clip_folder, run, "--quiet")
    wait_for(run / "states" / "iteration_00002.safetensors", process)
    process.kill()
    process.communicate()
    folder = RunFolder(run)
    for path in folder.snapshot_files().values():
        load_style(path)
    done = [load_state(path).recipe["iterations_done"] for path in folder.states().values()]
    assert done
    assert main(["adapt", "--resume", str(run), "--iterations", str(done[-1] + 1), "--quiet", "--device", "cpu"]) == 0
    assert load_generator(run / "photo_to_sketch.safetensors").metadata["adaptations"][-1]["iterations_done"] > done[-1]
    assert not [path for path in run.rglob(".*") if path.is_file()], "temporary files are left"


def test_names_of_folders_and_files(tmp_path):
    assert slug("3d render in the style of Pixar!") == "3d_render_in_the_style_of_pixar"
    assert slug("???") == "untitled"
    assert slug("\u6c34\u58a8\u753b") == "\u6c34\u58a8\u753b"
    assert slug("a" * 99) == "a" * 60
    for text in ("\u4e00\u5f20" * 99, "a" + "\u4e00\u5f20" * 99, "\u0444\u043e\u0442\u043e " * 99, "\U00020000" * 99):
        longest = f"{result_name({'source': text, 'target': text})}-0123456789ab-2{STYLE_ENDING}"
        assert len(longest.encode()) < 200, "file systems allow 255 bytes, some less"
        assert text.startswith(slug(text).partition("_")[0]), "no letter is cut in two"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").mkdir()
    assert free_path(tmp_path / "run").name == "run-3"
    assert free_path(tmp_path / "new").name == "new"


def test_help_teaches_every_option(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["adapt", "--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    for word in ("--source", "--target", "--layers", "--clip", "--snapshot-every", "ViT-B/32", "else 300"):
        assert word in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "absent.pkl"],
        ["convert", "absent.pkl", "out.pt"],
        ["generate", "--generator", "absent.pkl"],
        ["generate", "--generator", "demo", "--latents", "absent.npz"],
        ["generate", "--generator", "demo", "--style", "absent.safetensors"],
        ["generate", "--generator", "demo", "--mapper", "absent.safetensors"],
        ["adapt", "--generator", "demo", "--style-images", "absent.png"],
        ["adapt", "--resume", "absent"],
        ["evaluate", "--generator", "absent.pkl"],
        ["invert", "absent.png", "--generator", "demo"],
        ["sweep", "absent.yaml"],
    ],
    ids=" ".join,
)
def test_a_missing_file_is_wrong_usage(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "there is no" in (error := capsys.readouterr().err)
    assert "absent" in error
    assert not [*tmp_path.iterdir()]


def test_a_class_needs_a_generator_with_classes(capsys):
    assert main(["generate", "--generator", "demo", "--class", "3"]) == 2
    assert "has no classes" in capsys.readouterr().err


def test_inspect_takes_the_name_of_a_published_model(monkeypatch, base, capsys):
    monkeypatch.setattr(files, "local_model", lambda name: str(base) if name == "ffhq-1024" else name)
    assert main(["inspect", "ffhq-1024", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["resolution"] == 32
