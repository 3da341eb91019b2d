"""`nada invert` and `nada photo`: from picture files to codes, and to pictures in a style."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
import torch
from helpers.models import moved
from PIL import Image

import nada
from nada.cli import main
from nada.latents.sampling import sample_latents
from nada.photo.codes import load_codes
from nada.photo.faces import Face
from nada.photo.project import Projection
from nada.photo.tune import Tuning
from nada.pictures.convert import to_pil
from nada.styles.style import Style

STEPS = ["--w-iterations", "3", "--plus-iterations", "2", "--clip", "none", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def no_states_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("nada.cli.photo.STORE", tmp_path / "states")


@pytest.fixture
def files(small, tmp_path) -> Path:
    """A generator, a style of it, and two photos: a face in a landscape, and a face that is aligned already."""
    nada.save_generator(small, tmp_path / "base.safetensors")
    nada.save_style(Style.between(small, moved(small, "torgb", 0.3)), tmp_path / "look.style.safetensors")
    face, other = to_pil(small.synthesis(sample_latents(small, 2, 3, 1.0)))
    landscape = Image.new("RGB", (120, 80), (90, 140, 60))
    landscape.paste(face.resize((48, 48)), (36, 16))
    landscape.save(tmp_path / "me.png")
    other.save(tmp_path / "other.jpg", quality=95)
    return tmp_path


def no_work(self):
    raise AssertionError("this should have been refused before")


def base(files: Path) -> list[str]:
    return ["--generator", str(files / "base.safetensors"), *STEPS]


def test_inverts_photos_into_codes_that_generate_reads(files, small, capsys):
    photos = [str(files / "me.png"), str(files / "other.jpg")]
    out = files / "out"
    assert main(["invert", *photos, "--middle", *base(files), "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [entry["photo"] for entry in record["codes"]] == photos
    assert all(0 < entry["error"] < 1 for entry in record["codes"])
    codes = load_codes(out / "codes.safetensors")
    assert codes.ws.shape == (2, small.num_ws, 20)
    assert codes.photos == ("me.png", "other.jpg")
    assert codes.crops[0].side == 80
    assert codes.base == small.fingerprint()
    with Image.open(out / "inversion.png") as picture:
        assert picture.width > picture.height
    options = ["--latents", str(out / "codes.safetensors"), "--out", str(files / "images")]
    assert main(["generate", "--generator", str(files / "base.safetensors"), *options]) == 0
    assert len([*(files / "images").glob("code_*.png")]) == 2
    assert main(["invert", *photos, "--middle", *base(files), "--out", str(out)]) == 2, "nothing is overwritten"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_codes_of_a_photo_whose_name_is_not_utf8_can_be_read(files):
    photo = (files / "other.jpg").rename(files / "caf\udce9.jpg")
    assert main(["invert", str(photo), "--middle", *base(files), "--out", str(files / "out")]) == 0
    assert load_codes(files / "out" / "codes.safetensors").photos == (r"caf\udce9.jpg",)


def test_shows_a_photo_in_a_style_and_leaves_the_rest_of_it(files, capsys):
    out = files / "result.png"
    square = ["--square", "60,40,48", "--region", "square"]
    style = ["--style", str(files / "look.style.safetensors")]
    assert main(["photo", str(files / "me.png"), *square, *style, *base(files), "--out", str(out)]) == 0
    assert "inverted in" in capsys.readouterr().out
    with Image.open(out) as result, Image.open(files / "me.png") as photo:
        assert result.size == photo.size
        assert result.crop((0, 0, 30, 80)).tobytes() == photo.crop((0, 0, 30, 80)).tobytes()
        assert result.crop((50, 30, 70, 50)).tobytes() != photo.crop((50, 30, 70, 50)).tobytes()
    assert main(["photo", str(files / "me.png"), *square, *style, *base(files), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_likeness_is_a_style(files, small):
    out, likeness = files / "result.png", files / "me.style.safetensors"
    options = ["--tune", "4", "--save-likeness", str(likeness), "--square-only", "--out", str(out)]
    assert main(["photo", str(files / "other.jpg"), "--middle", *base(files), *options]) == 0
    style = nada.load_style(likeness)
    assert style.name == "other"
    assert style.base["fingerprint"] == small.fingerprint()
    with Image.open(out) as result:
        assert result.size == (32, 32)


def test_fitted_noise_is_left_with_the_codes_and_used(files, small):
    out = files / "out"
    assert main(["invert", str(files / "other.jpg"), "--middle", *base(files), "--fit-noise", "--out", str(out)]) == 0
    codes = load_codes(out / "codes.safetensors")
    assert set(codes.noise) == set(small.synthesis.noise_shapes)
    common = ["generate", "--generator", str(files / "base.safetensors"), "--latents", str(out / "codes.safetensors")]
    assert main([*common, "--out", str(files / "images")]) == 0
    assert main([*common, "--noise", "none", "--out", str(files / "plain")]) == 0
    expected = to_pil(nada.generate(small, codes.ws, codes.noise))[0]
    with Image.open(files / "images" / "code_000000.png") as found:
        assert found.tobytes() == expected.tobytes()
    with Image.open(files / "plain" / "code_000000.png") as plain:
        assert plain.tobytes() != expected.tobytes()


def test_what_was_done_is_not_repeated(files, monkeypatch, capsys):
    arguments = ["invert", str(files / "other.jpg"), "--middle", *base(files), "--json"]
    assert main([*arguments, "--out", str(files / "first")]) == 0
    monkeypatch.setattr(Projection, "train_step", lambda self: pytest.fail("projected again"))
    assert main([*arguments, "--out", str(files / "second")]) == 0
    first, second = (load_codes(files / name / "codes.safetensors") for name in ("first", "second"))
    assert torch.equal(first.ws, second.ws)


def test_ctrl_c_keeps_the_codes_so_far_and_the_same_command_resumes(files, monkeypatch, capsys):
    step, steps = Projection.train_step, []

    def interrupted(self):
        steps.append(self.iteration)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Projection, "train_step", interrupted)
    arguments = ["invert", str(files / "other.jpg"), "--middle", *base(files), "--json"]
    assert main([*arguments, "--out", str(files / "first")]) == 130
    record = json.loads(capsys.readouterr().out)
    assert record["interrupted"]
    assert load_codes(files / "first" / "codes.safetensors").recipe["iterations_done"] == 2
    assert main([*arguments, "--out", str(files / "second")]) == 0
    assert steps == [0, 1, 2, 3, 4]


@pytest.fixture
def interrupt(monkeypatch):
    """Interrupt commands at the first iteration of a loop, until the test calls the function that is returned."""

    def at(loop):
        step = loop.train_step

        def interrupted(self):
            signal.raise_signal(signal.SIGINT)
            return step(self)

        monkeypatch.setattr(loop, "train_step", interrupted)
        return lambda: monkeypatch.setattr(loop, "train_step", step)

    return at


@pytest.mark.parametrize(
    ("verb", "loop"),
    [("invert", Projection), *(pytest.param("photo", loop, marks=pytest.mark.slow) for loop in (Projection, Tuning))],
)
def test_an_interrupted_command_is_resumed_by_itself_and_its_results_replaced_by_no_other(
    files, interrupt, capsys, verb, loop, monkeypatch
):
    monkeypatch.chdir(files)
    photo = [verb, "other.jpg", "--middle", *base(files)]
    more = ["--tune", "3", "--save-likeness", "me.style.safetensors"] if verb == "photo" else []
    options = [*more, "--out", "out.png" if verb == "photo" else "out"]
    outputs = ["out.png", "me.style.safetensors"] if verb == "photo" else ["out/codes.safetensors", "out/record.json"]
    proceed = interrupt(loop)
    for _ in range(2):  # interrupted twice in the same place
        assert main([*photo, *options]) == 130
        assert "the same command resumes it" in capsys.readouterr().out
    proceed()
    written = {name: Path(name).read_bytes() for name in outputs if Path(name).exists()}
    assert written
    assert main([verb, "me.png", *photo[2:], *options]) == 2, "another photo's results"
    assert main([*photo, *options, "--learning-rate", "0.02"]) == 2, "other settings"
    assert {name: Path(name).read_bytes() for name in written} == written
    assert main([*photo, *options]) == 0
    assert all(Path(name).read_bytes() != content for name, content in written.items())
    fresh = [*more, "--out", "fresh.png" if verb == "photo" else "fresh"]
    fresh = [word.replace("me.style", "fresh.style") for word in fresh]
    assert main([*photo, *fresh]) == 0
    assert Path(outputs[0].replace("out", "fresh")).read_bytes() == Path(outputs[0]).read_bytes()
    assert main([*photo, *options]) == 2, "a finished result is not replaced"


def test_an_interrupted_inversion_is_replaced_in_the_folder_that_it_chose(files, interrupt, monkeypatch):
    monkeypatch.chdir(files)
    command = ["invert", "other.jpg", "--middle", *base(files)]
    proceed = interrupt(Projection)
    assert main(command) == 130
    assert main(["invert", "me.png", *command[2:]]) == 130
    proceed()
    assert main(command) == 0
    assert sorted(path.name for path in files.glob("nada-invert*")) == ["nada-invert", "nada-invert-2"]
    assert main(command) == 0
    assert (files / "nada-invert-3").is_dir(), "a finished result is not replaced"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-optimize"], "--no-optimize needs --encoder"),
        (["--save-likeness", "x.safetensors"], "needs --tune"),
        (["--out", "x.jpg"], "end in .png"),
        (["--tune", "1", "--save-likeness", "x.png"], "end in .safetensors"),
        (["--tune", "1", "--no-optimize", "--encoder", "demo", "--clip", "nothing"], "no CLIP architecture"),
        (["--w-iterations", "0", "--plus-iterations", "0"], "both 0"),
        (["--w-iterations", "9" * 20], "it must be in 0.."),
        (["--feather", "nan"], "0..0.5"),
        (["--style", "absent.safetensors"], "there is no file"),
        (["--style", "look.style.safetensors:nan"], "strength is nan"),
        (["--out", "me.png/x.png"], "not a folder"),
        (["--out", "x" * 300 + ".png"], "too long"),
        (["--tune", "1", "--save-likeness", "me.png/x.safetensors"], "not a folder"),
    ],
)
def test_wrong_usage_is_explained_before_any_work(files, capsys, arguments, words, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setattr(Projection, "train_step", no_work)
    assert main(["photo", str(files / "other.jpg"), "--middle", *base(files), *arguments]) in (1, 2)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("frames", ["nan", "-1", "1e300"])
def test_wrong_smoothing_is_explained_before_any_work(files, capsys, frames, monkeypatch):
    monkeypatch.setattr(Projection, "train_step", no_work)
    out = files / "out"
    assert main(["invert", str(files / "me.png"), *base(files), "--smooth", frames, "--out", str(out)]) == 2
    assert "it must be in 0..100 frames" in capsys.readouterr().err
    assert not out.exists()


def test_several_faces_in_a_photo_are_not_smoothed_into_each_other(files, capsys, monkeypatch):
    two = [Face(((x, 30), (x + 12, 30), (x, 42), (x + 12, 42))) for x in (40, 60)]
    monkeypatch.setattr("nada.cli.photo.find_faces", lambda photo, detector: two)
    monkeypatch.setattr(Projection, "train_step", no_work)
    out = str(files / "out")
    assert main(["invert", str(files / "me.png"), *base(files), "--face", "all", "--smooth", "1", "--out", out]) == 2
    assert "choose one by --face" in capsys.readouterr().err


def test_errors_name_the_photo(files, capsys):
    photos = [str(files / name) for name in ("me.png", "other.jpg")]
    assert main(["invert", *photos, *base(files), "--square", "100,60,20", "--out", str(files / "out")]) == 2
    error = capsys.readouterr().err
    assert f"{photos[1]}: the square around 100,60 lies outside the photo of 32 x 32 pixels" in error


def test_running_out_of_memory_for_good_loses_nothing(files, monkeypatch):
    steps, train_step = [], Projection.train_step

    def short(run):
        if len(steps) == 4:
            raise MemoryError
        steps.append(run.iteration)
        return train_step(run)

    command = ["invert", str(files / "other.jpg"), "--middle", *base(files), "--out", str(files / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(Projection, "train_step", short)
        assert main(command) == 1
    monkeypatch.setattr(Projection, "train_step", lambda run: steps.append(run.iteration) or train_step(run))
    assert main(command) == 0
    assert steps == [0, 1, 2, 3, 4]


def test_a_likeness_is_tuned_with_the_noise_that_it_is_shown_with(files, monkeypatch):
    tuned = []
    monkeypatch.setattr(Tuning, "train_step", lambda run: tuned.append(run.noise) or no_work(run))
    with pytest.raises(AssertionError):
        main(["photo", str(files / "other.jpg"), "--middle", *base(files), "--fit-noise", "--tune", "2"])
    (noise,) = tuned
    assert all(len(maps) == 1 and maps.ndim == 4 for maps in noise.values())
