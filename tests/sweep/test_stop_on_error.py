"""A job that fails, whatever the error is: its reason is kept, and with --stop-on-error it ends the sweep."""

from __future__ import annotations

import signal

import pytest

from nada.adapt import Adaptation
from nada.errors import NadaError, UsageError
from nada.sweep import local, ray_engine
from nada.sweep.local import LocalEngine
from nada.sweep.state import PENDING, Orders, failure, status
from nada.sweep.work import Watch

ERRORS = [  # with the sentence that should be kept
    (UsageError("it does not fit"), "it does not fit"),
    (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    (MemoryError(), "MemoryError"),
]
RARER = [
    (NadaError("it has diverged"), "it has diverged"),
    (RuntimeError("CUDA out of memory"), "CUDA out of memory"),
    (KeyError("missing"), "KeyError: 'missing'"),
    (RuntimeError(), "RuntimeError: "),
]


@pytest.fixture
def jobs(resolved):
    """Two jobs in lock-step, the second of which fails, and one after them."""
    settings = [{"target": target, "iterations": 1} for target in ("sketch", "glass")]
    return resolved(*settings, {**settings[0], "seed": 1})


@pytest.fixture(
    params=[*ERRORS, *(pytest.param(entry, marks=pytest.mark.slow) for entry in RARER)], ids=lambda entry: entry[1]
)
def sentence(request, monkeypatch):
    """Let the job of "glass" fail; the sentence that should be kept."""
    error, sentence = request.param
    step = Adaptation.train_step

    def failing(run):
        if run.config.target == "glass":
            raise error
        return step(run)

    monkeypatch.setattr(Adaptation, "train_step", failing)
    monkeypatch.setattr(Adaptation, "spare_memory", lambda run: False)
    return sentence


class Pipe:
    """Stands in for the connection of a new process to its parent, which never asks it to stop."""

    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(message)

    def recv(self):
        return False


def trained_here(models, orders, jobs):
    with pytest.raises(NadaError) as raised:
        LocalEngine(models, orders, Watch(), 2).train(jobs)
    return str(raised.value)


def trained_in_a_new_process(models, orders, jobs):
    pipe = Pipe()
    local._child(pipe, jobs, models, orders, 2, None)
    kind, message = pipe.sent[-1]
    assert kind == "failed"
    return message


def trained_on_ray(models, orders, jobs):
    remote = ray_engine.Remote(models.load, models.device, orders, 1)
    remote.worker.models = models
    return remote.train(jobs[:2], None)


@pytest.mark.parametrize("train", [trained_here, trained_in_a_new_process, trained_on_ray])
def test_the_sweep_stops_with_the_reason_and_no_other_job_is_marked(
    models, jobs, sentence, train, tmp_path, monkeypatch
):
    monkeypatch.setattr(signal, "signal", lambda *given: None)  # a new process ignores Ctrl-C
    orders = Orders(tmp_path, stop_on_error=True)
    assert train(models, orders, jobs).endswith(sentence)
    assert [failure(orders.folder(job)) for job in jobs] == ["", sentence, ""]
    assert status(orders.folder(jobs[2]), 1) == PENDING, "no further job begins"


@pytest.mark.slow
def test_without_it_the_others_train(models, jobs, sentence, tmp_path):
    orders = Orders(tmp_path)
    LocalEngine(models, orders, Watch(), 2).train(jobs)
    assert [failure(orders.folder(job)) for job in jobs] == ["", sentence, ""]
    assert [status(orders.folder(job), 1) for job in jobs] == ["done", "failed", "done"]


def test_a_wrong_usage_keeps_its_exit_code_and_other_errors_name_the_job(nada, monkeypatch):
    for error, code in ((UsageError("it does not fit"), 2), (KeyError("missing"), 1)):
        monkeypatch.setattr(Adaptation, "train_step", lambda run, error=error: (_ for _ in ()).throw(error))
        found, _, told = nada("sweep", "--target", "sketch", "--source", "photo", "--out", "s", "--stop-on-error")
        assert found == code
    assert "-photo_to_sketch failed: KeyError: 'missing'" in told.splitlines()[-1]
