"""A command line with small models for the tests of sweeps."""

from __future__ import annotations

import json

import pytest
from helpers.models import QUICK, TINY, alive

from nada.adapt import Adaptation
from nada.checkpoint import save_generator
from nada.cli import main
from nada.sweep.jobs import LoadedModels, resolve


@pytest.fixture
def nada(clip_folder, tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder with tiny models; returns its exit code, its JSON and its messages."""
    save_generator(alive(TINY), tmp_path / "base.safetensors")
    monkeypatch.chdir(tmp_path)
    models = ["--generator", "base.safetensors", "--clip", str(clip_folder), "--device", "cpu", "--quiet"]

    def run(*words: object):
        own = models if words[0] in ("adapt", "sweep") and "best" not in words else []
        settings = QUICK if own and "--resume" not in words else []
        code = main([*map(str, words), *own, *settings, "--json"])
        out, error = capsys.readouterr()
        return code, json.loads(out) if out else {}, error

    return run


@pytest.fixture
def models(clip):
    """Tiny models, the same under every name."""
    return LoadedModels(alive(TINY), clip)


@pytest.fixture
def resolved(models):
    """Function that resolves combinations of settings to jobs of tiny models."""
    shared = {"generator": "base", "clip": "clip", "source": "photo", "batch": 2, "templates": "{}"}
    return lambda *combinations: resolve([shared | settings for settings in combinations], models)


@pytest.fixture
def trained(monkeypatch):
    """Record the targets and seeds of all steps that are trained from now on."""
    steps, train_step = [], Adaptation.train_step

    def noted(run):
        steps.append((run.config.target, run.config.seed))
        return train_step(run)

    monkeypatch.setattr(Adaptation, "train_step", noted)
    return steps
