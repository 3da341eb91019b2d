"""`nada models`: the list, a download, and a wrong name."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers.models import moved

from nada import PUBLISHED, Style, save_generator, save_style
from nada.cli import main, shared
from nada.demo import GENERATORS


def test_the_list_names_everything_and_downloads_nothing(monkeypatch, capsys):
    monkeypatch.setattr(shared, "download", lambda *args: pytest.fail("downloaded"))
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert all(f"{model.name} " in text for model in PUBLISHED)
    assert "research and evaluation only" in text
    assert "ViT-B/32" in text
    assert main(["models", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["generators"][0] | {"file": "ffhq-1024.pt"} == result["generators"][0]
    assert {"name", "resolution", "url", "license", "megabytes", "size", "sha256"} <= result["generators"][0].keys()


def test_a_name_downloads_that_one(monkeypatch, capsys, tmp_path):
    def download(model, folder):
        path = folder / model.file
        path.write_bytes(b"x")
        return path, ["verified"]

    monkeypatch.setattr(shared, "download", download)
    assert main(["models", "church-256", "--to", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert str(tmp_path / "church-256.pt") in shown.out
    assert "verified" in shown.out


def test_a_wrong_name_is_wrong_usage(capsys):
    assert main(["models", "ffhq"]) == 2
    assert "`nada models` lists them" in capsys.readouterr().err


def test_a_published_generator_given_by_name_is_downloaded_once(monkeypatch, capsys, tmp_path):
    asked = []

    def download(model, folder):
        asked.append((model.name, folder))
        folder.mkdir(exist_ok=True)
        path = folder / model.file
        shutil.copy(GENERATORS["demo"], path)
        return path, ["verified"]

    monkeypatch.setattr(shared, "download", download)
    monkeypatch.setattr(shared, "DOWNLOADED", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert main(["generate", "--generator", "church-256", "--count", "1", "--out", str(out)]) == 0
    assert asked == [("church-256", tmp_path / "models")]
    assert "license: " in capsys.readouterr().err
    shutil.copy(GENERATORS["demo"], tmp_path / "church-256")  # a file of that name comes first
    assert main(["generate", "--generator", "church-256", "--count", "1", "--out", str(out), "--overwrite"]) == 0
    assert len(asked) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["convert", "church-256", "out.safetensors"],
        ["style", "diff", "church-256", "adapted.safetensors", "out.safetensors"],
        ["style", "diff", "base.safetensors", "church-256", "out.safetensors"],
        ["style", "merge", "church-256", "look.safetensors", "--out", "out.safetensors"],
    ],
    ids=" ".join,
)
def test_every_verb_that_takes_generators_takes_their_published_names(monkeypatch, tmp_path, small, command):
    adapted = moved(small)
    save_generator(small, tmp_path / "base.safetensors")
    save_generator(adapted, tmp_path / "adapted.safetensors")
    save_style(Style.between(small, adapted), tmp_path / "look.safetensors")
    published = "adapted.safetensors" if "base.safetensors" in command else "base.safetensors"
    monkeypatch.setattr(shared, "download", lambda model, folder: (tmp_path / published, []))
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    assert (tmp_path / "out.safetensors").is_file()


def test_an_encoder_given_by_name_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr(shared, "download", lambda model, folder: (folder / model.file, []))
    monkeypatch.setattr(shared, "DOWNLOADED", tmp_path)
    assert shared.local_model("ffhq-1024-e4e") == str(tmp_path / "ffhq-1024-e4e.pt")
    assert shared.local_model("demo") == "demo"
    assert shared.local_model("unknown-1024") == "unknown-1024"
