"""`nada models`: the list, a download, and a wrong name."""

from __future__ import annotations

import json

import pytest

from nada import PUBLISHED
from nada.cli import main, models


def test_the_list_names_everything_and_downloads_nothing(monkeypatch, capsys):
    monkeypatch.setattr(models, "download", lambda *args: pytest.fail("downloaded"))
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

    monkeypatch.setattr(models, "download", download)
    assert main(["models", "church-256", "--to", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert str(tmp_path / "church-256.pt") in shown.out
    assert "verified" in shown.out


def test_a_wrong_name_is_wrong_usage(capsys):
    assert main(["models", "ffhq"]) == 2
    assert "`nada models` lists them" in capsys.readouterr().err
