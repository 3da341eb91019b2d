"""After a failure of the device, the remaining jobs train in a new process; a job that fails twice is recorded."""

from __future__ import annotations

import pytest
import torch

from nada.adapt import Adaptation
from nada.sweep import local
from nada.sweep.jobs import Job, Models
from nada.sweep.state import Orders
from nada.sweep.work import DeviceLost, Watch
from nada.training.config import AdaptConfig

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


def test_results_of_stopped_jobs_are_saved_on_the_cpu_if_the_device_fails(tmp_path, monkeypatch):
    """The device fails at the second job; each job is saved once, none is left out, and the CPU keeps its models."""
    jobs = [Job(f"{number:064x}", "base", "clip", AdaptConfig("photo", "sketch", seed=number)) for number in range(4)]
    saved, device = [], torch.device("meta")

    def save_stopped(worker, job):
        if job is jobs[1] and worker.models.device == device:
            raise DeviceLost(job, FAILURE)
        saved.append((job, worker.models))

    monkeypatch.setattr(local.Worker, "save_stopped", save_stopped)
    engine = local.LocalEngine(Models(lambda name: None, device), Orders(tmp_path), Watch())
    engine.save_stopped(jobs)
    assert engine.lost
    assert [job for job, _ in saved] == jobs
    assert [models.device.type for _, models in saved] == ["meta", "cpu", "cpu", "cpu"]
    assert len({id(models) for _, models in saved}) == 2


def test_models_are_sent_to_another_process_by_their_names():
    import pickle

    models = pickle.loads(pickle.dumps(Models(local.groups, torch.device("cpu"))))
    assert (models.load, models.device) == (local.groups, torch.device("cpu"))
