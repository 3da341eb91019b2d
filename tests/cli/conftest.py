"""Run commands with tiny models."""

from __future__ import annotations

import json

import pytest
from helpers.models import QUICK

from nada.checkpoint import save_generator
from nada.cli import main


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
