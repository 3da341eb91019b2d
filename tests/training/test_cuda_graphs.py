"""CUDA graphs of a step: compared with eager execution, abandoned on failure, and without effect on the training.

No CUDA device is needed: a traced list of operations stands in for the graph. Like a graph, it repeats exactly the
captured operations, and reads weights and inputs at their addresses.
"""

from __future__ import annotations

import itertools
import logging

import pytest
import torch
from helpers.models import alive
from torch.fx.experimental.proxy_tensor import make_fx

from nada.adapt import adapt
from nada.stylegan2 import GeneratorConfig
from nada.training import cuda_graphs as recording
from nada.training.config import AdaptConfig
from nada.training.cuda_graphs import WARM_UP, Recording


def double(tensors):
    return {"twice": 2 * tensors["x"]}


def take(monkeypatch, ordinary, recorded):
    """Let the eager and the captured function seem to take these seconds."""
    seconds = itertools.cycle([ordinary, recorded])
    monkeypatch.setattr(recording, "_seconds", lambda way, tensors: next(seconds))


def calls(record, count=WARM_UP + 3):
    """Results for inputs 0, 1, 2, ..., and the calls that the function itself answered."""
    kept, asked = Recording(record), []

    def function(tensors):
        asked.append(float(tensors["x"]))
        return double(tensors)

    found = [float(kept(function, {"x": torch.tensor(float(i))})["twice"]) for i in range(count)]
    return found, [x for x, _ in itertools.groupby(asked)]  # timed calls are repeated


def test_the_first_calls_are_ordinary_and_the_others_replayed(monkeypatch):
    take(monkeypatch, 2.0, 1.0)
    found, asked = calls(lambda function, tensors: double)
    assert found == [0, 2, 4, 6, 8, 10]
    assert asked == [0, 1, 2]


def test_slower_recordings_are_not_used(monkeypatch):
    take(monkeypatch, 1.0, 2.0)
    found, asked = calls(lambda function, tensors: double)
    assert found == [0, 2, 4, 6, 8, 10]
    assert asked == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (lambda tensors: {"twice": 2.1 * tensors["x"]}, "other results"),
        (lambda tensors: {"twice": tensors["x"] * torch.nan}, "other results"),
        (lambda tensors: {}["twice"], "'twice'"),
    ],
)
def test_wrong_graphs_are_logged_once_and_not_used(way, words, caplog):
    with caplog.at_level(logging.WARNING, "nada"):
        found, asked = calls(lambda function, tensors: way)
    assert found == [0, 2, 4, 6, 8, 10]
    assert asked == [0, 1, 2, 3, 4, 5]
    (record,) = caplog.records
    assert "without a CUDA graph" in record.message
    assert words in record.message


def test_a_device_without_graphs_trains_as_before(caplog):
    with caplog.at_level(logging.WARNING, "nada"):
        found, _ = calls(None)  # CUDA graphs, of tensors on the CPU
    assert found == [0, 2, 4, 6, 8, 10]
    assert "without a CUDA graph" in caplog.text


def traced(function, tensors):
    """Capture the operations of a function, as a CUDA graph captures its kernels."""
    held = {name: tensor.clone() for name, tensor in tensors.items()}
    operations = make_fx(lambda tensors: function(tensors))(held)
    return torch.no_grad()(lambda new: operations({name: tensor.clone() for name, tensor in new.items()}))


@pytest.mark.parametrize(
    "settings",
    [
        {"views": 2, "mixing": 0.5, "angle_weight": 0.5, "norm_weight": 0.1},
        pytest.param({"layers": 3, "select_batch": 2, "mixing": 0.5}, marks=pytest.mark.slow),
        pytest.param(
            {"layers": 3, "select_batch": 2, "select_steps": 2, "train": "lora", "train_torgb": True},
            marks=pytest.mark.slow,
        ),
        pytest.param({"train_mapping": True, "train_const": True}, marks=pytest.mark.slow),
        pytest.param({"train": "stylespace", "precision": "half", "classes": 3}, marks=pytest.mark.slow),
    ],
)
def test_a_recorded_run_is_the_ordinary_one(clip, monkeypatch, settings):
    """Codes, mixtures, views, layers and weights change at each step, with a single graph."""
    settings = dict(settings)
    classes = settings.pop("classes", 0)
    base = alive(GeneratorConfig(16, (12, 12, 10), 12, 12, mapping_layers=2, c_dim=classes))
    config = AdaptConfig(**{"source": "photo", "target": "sketch", "iterations": 5, "layers": "all"} | settings)
    take(monkeypatch, 2.0, 1.0)
    ordinary, recorded = adapt(base, clip, config), adapt(base, clip, config)
    recorded.recordings = {name: Recording(traced) for name in ("scores", "gradients")}
    for step, other in zip(ordinary, recorded, strict=True):
        assert step.layers == other.layers
        assert float(other.loss) == pytest.approx(float(step.loss), rel=1e-4)
        assert other.losses.keys() == step.losses.keys()
    assert recorded.recordings["gradients"]._replay, "nothing was recorded"
    if config.layers != "all":
        assert recorded.recordings["scores"]._replay
    moved = 0.0
    for name, tensor in base.state_dict().items():
        end, other_end = (run.trained.state_dict()[name] for run in (ordinary, recorded))
        moved += float((end - tensor).abs().sum())
        assert torch.allclose(end, other_end, rtol=1e-3, atol=1e-4 * float(tensor.abs().max() + 1)), name
    assert moved > 0


def test_a_run_without_the_recording_it_wanted_computes_no_more_than_it_needs(small, clip):
    run = adapt(small, clip, AdaptConfig("photo", "sketch", layers=2, select_batch=2))
    run.recordings = {name: Recording() for name in ("scores", "gradients")}  # CUDA graphs, on the CPU
    free, plain = [], run.trainer.trainable.free
    run.trainer.trainable.free = lambda names: free.append(names) or plain(names)
    steps = [next(run) for _ in range(WARM_UP + 1)]
    assert free[:-1] == WARM_UP * [run.config.trained_layers(small)]
    assert free[-1] == steps[-1].layers


def test_smaller_chunks_are_captured_again(tiny, clip, monkeypatch):
    take(monkeypatch, 2.0, 1.0)
    run = adapt(tiny, clip, AdaptConfig("photo", "sketch", iterations=9, layers="all"))
    run.recordings = {"gradients": Recording(lambda function, tensors: function)}
    for _ in range(WARM_UP):
        next(run)
    before = run.recordings["gradients"]
    assert before._replay
    assert run.spare_memory()
    assert run.recordings["gradients"] is not before
    assert not run.recordings["gradients"]._replay


def test_there_are_no_recordings_without_a_cuda_device(small, clip):
    assert adapt(small, clip, AdaptConfig("photo", "sketch", cuda_graphs=True)).recordings == {}
