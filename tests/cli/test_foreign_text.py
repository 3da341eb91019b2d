"""Texts from files of strangers are printed as one printable line, and in JSON as valid JSON."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from helpers.checkpoint_files import rosinality_checkpoint, torch_bytes
from helpers.models import moved
from safetensors.torch import load_file, save_file

from nada import Style, load_generator, load_style, save_generator, save_style
from nada.checkpoint.own import KEY, describe
from nada.cli import main
from nada.cli.main import _set_up_logging
from nada.cli.parsing import escaped
from nada.clip.loading import ClipSpec
from nada.errors import CheckpointError, NadaError, UsageError, printable
from nada.files import storable
from nada.latents.sampling import sample_latents
from nada.photo.codes import Codes, load_codes, save_codes
from nada.photo.crop import middle_crop
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig, load_small_encoder, save_small_encoder
from nada.photo.loop import PhotoState, load_photo_state, save_photo_state
from nada.text_edits import LatentMapper, load_mapper, save_mapper

HOSTILE = "x\x1b]0;title\x07\x1b[2J\x1b[Hnada: all is well\nloadable: True\r\x9b31m\u202e\ud800\x00"


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@pytest.fixture
def hostile_generator(small, tmp_path):
    small.metadata = {
        HOSTILE: HOSTILE,
        "notes": [HOSTILE],
        "number": float("nan"),
        "adaptations": [{"source": HOSTILE, "target": HOSTILE}],
        "styles": [{"name": HOSTILE, "strength": 1.0}],
    }
    path = tmp_path / "a.safetensors"
    save_generator(small, path)
    text = HOSTILE.replace("\ud800", r"\ud800")
    assert load_generator(path).metadata["notes"] == [text]
    # An unpaired surrogate, which no file of ours holds, is refused.
    header = {KEY: describe(small)[KEY].replace(r"\\ud800", r"\ud800")}
    save_file(load_file(path), tmp_path / "half.safetensors", header)
    with pytest.raises(CheckpointError, match="surrogates"):
        load_generator(tmp_path / "half.safetensors")
    return path


def test_every_file_written_with_names_that_are_not_utf8_can_be_read(tmp_path, small):
    name, stored = "caf\udce9", r"caf\udce9"
    path = tmp_path / "file"
    note = {name: [name, {"name": name}]}
    expected = {stored: [stored, {"name": stored}]}
    small.metadata = note
    save_generator(small, path)
    assert load_generator(path).metadata == expected
    save_style(Style.between(small, moved(small), name=name), path)
    assert load_style(path).name == "caf"
    ws, crop = sample_latents(small, 1), middle_crop((32, 32))
    save_codes(Codes(ws, (crop,), (name,), small.fingerprint(), note), path)
    assert (load_codes(path).photos, load_codes(path).recipe) == ((stored,), expected)
    save_photo_state(PhotoState({"iterations_done": 0, **note}, {"ws": ws}), path)
    assert load_photo_state(path).recipe == {"iterations_done": 0, **expected}
    mapper = LatentMapper(small.num_ws, small.config.w_dim)
    mapper.metadata = note
    save_mapper(mapper, path)
    assert load_mapper(path).metadata == expected
    config = SmallEncoderConfig(8, (8,), 8, small.num_ws, small.config.w_dim)
    save_small_encoder(SmallEncoder(config, recipe=note), path)
    assert load_small_encoder(path).recipe == expected


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_names_in_descriptions_are_valid_unicode(tmp_path, small):
    path = tmp_path / "\udcff.pt"
    path.write_bytes(torch_bytes(rosinality_checkpoint(small)))
    for source in (path, tmp_path / "caf\udce9.pt"):
        path.replace(source)  # the second time, a converted copy of the same content is found
        path = source
        found = load_generator(source, tmp_path / "copies")
        assert found.metadata["source"]["file"] == storable(source.name)
    for spec in (str(tmp_path / "\udcff"), f"RN50@{path}"):
        (tmp_path / "\udcff").mkdir(exist_ok=True)
        (entry,) = ClipSpec.parse(spec)
        entry.name.encode()


def assert_plain(text: str, forged: str = "loadable: True") -> None:
    assert all(line.isprintable() for line in text.split("\n"))
    assert [line for line in text.split("\n") if line.strip().startswith(forged)] in ([], [forged])


def test_printable():
    assert printable("a dog, 草图 ä") == "a dog, 草图 ä"
    assert printable("a\nb\x1b\u202e\ud800\x9b") == r"a\nb\x1b\u202e\ud800\x9b"
    for kind in (NadaError, UsageError, CheckpointError):
        assert str(kind(f"no {HOSTILE}")).isprintable()
    assert escaped({"a\n": ["\x1b", ("\r", 1.5, None)]}) == {r"a\n": [r"\x1b", [r"\r", 1.5, None]]}


@pytest.mark.parametrize("verb", ["inspect", "convert", "style"])
def test_every_verb_that_shows_metadata_escapes_it(hostile_generator, tmp_path, verb, capsys):
    arguments = {
        "inspect": ["inspect", str(hostile_generator)],
        "convert": ["convert", str(hostile_generator), str(tmp_path / "b.safetensors")],
        "style": ["style", "show", str(tmp_path / "style.safetensors")],
    }[verb]
    base = load_generator(hostile_generator)
    plain = load_generator(hostile_generator)
    plain.metadata = {}
    save_style(Style.between(plain, moved(base)), tmp_path / "style.safetensors")
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert_plain(out)
    assert_plain(err)
    assert r"\x1b[2J" in out
    (tmp_path / "b.safetensors").unlink(missing_ok=True)
    assert main([*arguments, "--json"]) == 0
    text = capsys.readouterr().out
    json.loads(text, parse_constant=refuse_constant)
    assert text.strip().isprintable()


def test_errors_and_log_messages_are_one_line(tmp_path, capsys):
    path = tmp_path / "\x1b[31mred\nnada: fine.safetensors"
    path.write_bytes(b"nothing")
    assert main(["inspect", str(tmp_path / HOSTILE.replace("\x00", "").replace("/", ""))]) == 2
    assert main(["generate", "--generator", str(path), "--out", str(tmp_path / "out")]) == 1
    _set_up_logging("inspect")
    logging.getLogger("nada.x").warning("a file says: %s", HOSTILE)
    err = capsys.readouterr().err
    assert err.count("\n") == 3
    assert_plain(err, "nada: all is well")


def test_names_of_tensors_are_escaped_in_messages(tmp_path, small, capsys):
    path = tmp_path / "a.safetensors"
    save_generator(small, path)
    save_file({**load_file(path), HOSTILE.replace("\ud800", ""): load_file(path)["mapping.w_avg"]}, path)
    assert main(["generate", "--generator", str(path)]) == 1
    assert_plain(capsys.readouterr().err)
