"""After a failure of the device, the remaining jobs train in a new process; a job that fails twice is recorded."""

from __future__ import annotations

import pytest
import torch

from nada.adapt import Adaptation
from nada.sweep import local
from nada.sweep.jobs import Models

pytestmark = pytest.mark.slow
FAILURE = "CUDA error: an illegal memory access was encountered"


def failing(monkeypatch, fails):
    step = Adaptation.train_step

    def train_step(run):
        if fails(run):
            raise RuntimeError(FAILURE)
        return step(run)

    monkeypatch.setattr(Adaptation, "train_step", train_step)


OPTIONS = ("sweep", "--target", "sketch", "glass", "--source", "photo", "--iterations", 4, "--out", "s")


def test_the_rest_trains_in_a_fresh_process(nada, monkeypatch):
    """Patches of this process have no effect in the new one."""
    failing(monkeypatch, lambda run: run.iteration == 2)
    code, result, error = nada(*OPTIONS)
    assert (code, result["jobs"]) == (0, {"done": 2})
    assert error.count("train in a new process") == 1


def test_a_job_whose_device_fails_twice_is_left_out(nada, monkeypatch):
    failing(monkeypatch, lambda run: run.config.target == "sketch")

    def attempt(engine, jobs, until):  # in this process too, where steps fail
        try:
            local._work(jobs, local.Worker(engine.models, engine.orders, engine.watch), 1, until)
        except local.DeviceLost as error:
            return error

    monkeypatch.setattr(local.LocalEngine, "_in_fresh_process", attempt)
    code, result, _ = nada(*OPTIONS)
    assert (code, result["jobs"]) == (1, {"done": 1, "failed": 1})
    assert list(result["failed"].values()) == [FAILURE]


def test_models_are_sent_to_another_process_by_their_names():
    import pickle

    models = pickle.loads(pickle.dumps(Models(local.groups, torch.device("cpu"))))
    assert (models.load, models.device) == (local.groups, torch.device("cpu"))
