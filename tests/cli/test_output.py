"""Output on consoles with few characters, into closed pipes and onto full disks. The work is kept in each case."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from helpers.models import QUICK

from nada.checkpoint import load_generator, save_generator
from nada.cli import main
from nada.errors import NadaError, is_out_of_memory
from nada.files import cache_folder
from nada.runs.folder import RunFolder
from nada.training.trainer import Trainer

EDITS = ("mapper", "optimize", "direction")
OUT_OF_MEMORY = (  # messages of CUDA, cuBLAS, cuDNN, oneDNN, Apple's GPUs, DirectML and CPUs
    "CUDA out of memory. Tried to allocate 20.00 MiB", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "GET was unable to find an engine to execute this computation", "FIND was unable to find an engine to execute this",
    "could not create a primitive", "MPS backend out of memory", "Invalid buffer size: 16.00 GiB",
    "Could not allocate tensor with 999 bytes. There is not enough GPU video memory available!",
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: 99 bytes",
)  # fmt: skip
unix = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")


@pytest.fixture
def command(tiny, clip_folder, tmp_path):
    """Run a verb with tiny models into a folder; returns its exit code."""
    save_generator(tiny, tmp_path / "base.safetensors")

    def run(verb: str, out: Path, *more: str) -> int:
        generator = ["--generator", str(tmp_path / "base.safetensors"), "--device", "cpu", "--out", str(out)]
        texts = ["--clip", str(clip_folder), "--target", "sketch"]
        own = {"generate": ["--count", "2"]}
        own["adapt"] = [*texts, "--iterations", "2", *QUICK]
        own["direction"] = [*texts, "--source", "photo", "--samples", "1", "--candidates", "2", "--beta", "0"]
        return main([verb, *generator, *own.get(verb, [*texts, "--iterations", "2"]), *more])

    return run


def closed_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", encoding="utf-8")


def full_disk() -> io.TextIOWrapper:
    return open("/dev/full", "w", encoding="utf-8")


def result(out: Path, verb: str) -> Path:
    name = {"adapt": "*sketch.safetensors", "mapper": "*mapper.safetensors", "optimize": "*codes.safetensors"}
    name["direction"] = "*.style.safetensors"
    (path,) = out.glob(name.get(verb, "grid.png"))
    return path


@pytest.mark.parametrize(
    "encoding", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("cp1252", "latin-1")), "ascii", "utf-8"]
)
@pytest.mark.parametrize("name", ["\u8349\u56fe", pytest.param("\udcff", marks=unix)])
@pytest.mark.parametrize("json_wanted", [False, True])
def test_any_console_shows_any_path(command, tmp_path, monkeypatch, encoding, name, json_wanted):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert command("generate", tmp_path / name, *["--json"] * json_wanted) == 0
    shown = console.buffer.getvalue().decode(encoding)
    assert "grid.png" in shown
    if json_wanted:
        assert json.loads(shown)["folder"] == str(tmp_path / name)


@unix
@pytest.mark.parametrize(
    "verb", ["generate", *(pytest.param(verb, marks=pytest.mark.slow) for verb in ("adapt", *EDITS))]
)
@pytest.mark.parametrize(("stream", "code"), [(closed_pipe, 0), (full_disk, 1)])
def test_the_work_is_kept_when_its_result_cannot_be_shown(command, tmp_path, monkeypatch, capsys, verb, stream, code):
    with stream() as console:
        monkeypatch.setattr(sys, "stdout", console)
        assert command(verb, tmp_path / "out", *["--quiet"] * (verb != "generate")) == code
    assert ("cannot be printed: No space left" in capsys.readouterr().err) == bool(code)
    assert result(tmp_path / "out", verb).stat().st_size


@unix
@pytest.mark.parametrize("stream", [pytest.param(closed_pipe, marks=pytest.mark.slow), full_disk])
def test_messages_may_get_lost(command, tmp_path, monkeypatch, stream):
    """A progress bar, for example, in `2>&1 | head`."""
    with stream() as console:
        monkeypatch.setattr(sys, "stderr", console)
        assert command("adapt", tmp_path / "out") == 0
        assert command("generate", tmp_path / "images", "--psi", "nan") == 2
    assert result(tmp_path / "out", "adapt").stat().st_size


@unix
def test_help_that_cannot_be_shown(monkeypatch):
    with full_disk() as console:
        monkeypatch.setattr(sys, "stdout", console)
        assert main(["--help"]) == 1
    with closed_pipe() as console:
        monkeypatch.setattr(sys, "stdout", console)
        with pytest.raises(SystemExit, match="0"):
            main(["--help"])


def test_no_console_at_all(command, tmp_path, monkeypatch):
    """A program without a console, as on Windows."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert command("generate", tmp_path / "out") == 0
    assert command("generate", tmp_path / "other", "--psi", "nan") == 2


@unix
def test_a_run_in_a_folder_whose_name_is_not_utf8_resumes(command, tmp_path):
    out = tmp_path / "\udcff"
    assert command("adapt", out, "--quiet") == 0
    assert RunFolder(out).record()["finished"]
    assert main(["adapt", "--resume", str(out), "--iterations", "3", "--quiet", "--device", "cpu"]) == 0
    assert load_generator(result(out, "adapt")).metadata["adaptations"][-1]["iterations_done"] == 3


@unix
@pytest.mark.slow
def test_a_run_of_a_file_whose_name_is_not_utf8_resumes_with_the_file(command, tmp_path, capsys):
    base = tmp_path / "\udcff.safetensors"
    os.link(tmp_path / "base.safetensors", base)
    assert command("adapt", tmp_path / "out", "--generator", str(base), "--quiet") == 0
    resume = ["adapt", "--resume", str(tmp_path / "out"), "--iterations", "3", "--quiet", "--device", "cpu"]
    assert main(resume) == 2
    assert "there is no file" in capsys.readouterr().err
    for more in ([], ["--iterations", "4"]):
        assert main([*resume, *more, "--generator", str(base)]) == 0


@pytest.mark.parametrize(
    ("every", "kept"),
    [("1", [2]), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("2", [2]), ("0", [])))],
)
def test_a_training_that_ends_in_nan_leaves_its_last_good_state(command, tmp_path, monkeypatch, capsys, every, kept):
    step, taken = Trainer.step, []

    def diverge(trainer, gradients):
        step(trainer, gradients)
        taken.append(1)
        if len(taken) == 3:
            with torch.no_grad():
                trainer.generator.synthesis.b8.conv0.weight[0] = float("nan")

    monkeypatch.setattr(Trainer, "step", diverge)
    out = tmp_path / "out"
    assert command("adapt", out, "--iterations", "3", "--snapshot-every", every, "--quiet") == 1
    assert "not finite" in capsys.readouterr().err
    assert list(RunFolder(out).states()) == kept
    assert set(RunFolder(out).snapshot_files()) <= {1, 2}
    assert not list(out.glob("*.safetensors"))


@pytest.mark.parametrize("verb", ["adapt", "mapper", "optimize", "direction", "generate"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        pytest.param(
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99 bytes"), marks=pytest.mark.slow
        ),
    ],
)
def test_out_of_memory_is_a_sentence(command, tmp_path, monkeypatch, capsys, verb, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("nada.stylegan2.synthesis.Synthesis.forward", broken)
    assert command(verb, tmp_path / "out", *["--quiet"] * (verb != "generate")) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("nada: there is not enough memory; use a smaller")


def test_defects_are_not_taken_for_a_lack_of_memory():
    for message in OUT_OF_MEMORY:
        assert is_out_of_memory(RuntimeError(message)), message
    assert not any(map(is_out_of_memory, (RuntimeError("broken"), ValueError("out of memory"), NadaError("broken"))))


@pytest.mark.parametrize("arguments", [["--count", "99999999999"], ["--psi", "inf"], ["--seed", "1" + 400 * "0"]])
def test_absurd_numbers_of_images_are_refused(command, tmp_path, capsys, arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nada.cli.generate.generate", lambda *_, **__: pytest.fail("images were made"))
        assert command("generate", tmp_path / "out", *arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_caches_without_a_home_folder(monkeypatch):
    def homeless(*_, **__):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(Path, "expanduser", homeless)  # Python 3.10's own does not call the function above
    for place in (homeless, lambda *_, **__: Path("~/.cache/stylegan-nada")):
        monkeypatch.setattr("platformdirs.user_cache_path", place)
        assert cache_folder() == Path(".cache", "stylegan-nada")
