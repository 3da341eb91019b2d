"""Texts from files of strangers are printed as one printable line, and in JSON as valid JSON."""

from __future__ import annotations

import json
import logging

import pytest
from helpers.models import moved
from safetensors.torch import load_file, save_file

from nada import Style, load_generator, save_generator, save_style
from nada.cli import main
from nada.cli.main import _set_up_logging
from nada.cli.parsing import escaped
from nada.errors import CheckpointError, NadaError, UsageError, printable

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
    # An unpaired surrogate is refused; everything else loads.
    with pytest.raises(CheckpointError):
        load_generator(path)
    text = HOSTILE.replace("\ud800", "")
    small.metadata = json.loads(json.dumps(small.metadata).replace(r"\ud800", ""))
    save_generator(small, path)
    assert load_generator(path).metadata["notes"] == [text]
    return path


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
    save_style(Style.between(base, moved(base)), tmp_path / "style.safetensors")
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
    assert main(["inspect", str(tmp_path / HOSTILE.replace("\x00", "").replace("/", ""))]) == 1
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
