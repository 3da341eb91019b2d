"""Cancel reaches ComfyUI as its own exception, of either kind, and is never taken for a failure."""

from __future__ import annotations

import pytest
import torch
from helpers.stub_comfyui import Cancelled, OldCancelled

from nada import sample_latents

TRAINING = {"iterations": 6, "batch": 8, "learning_rate": 0.0, "preview_images": 1, "preview_every": 0}
ADAPT = {"source": "photo", "target": "sketch", **TRAINING}


USUAL = pytest.mark.parametrize(
    "cancelled", [Cancelled, pytest.param(OldCancelled, marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def cancelled(request, host, monkeypatch):
    """Make ComfyUI raise an exception that is an Exception, or one that is not."""
    monkeypatch.setattr(host.nodes.host, "Cancelled", request.param)
    host.cancelled = request.param
    return request.param


def adapt(host, tiny, clip):
    host.nodes.NADATextAdapt.execute(tiny, clip, snapshots=3, **ADAPT)


def adapt_to_images(host, tiny, clip):
    pictures = torch.rand(2, 20, 20, 3)
    host.nodes.NADAImageAdapt.execute(tiny, clip, pictures, snapshots=3, image_share=1.0, **ADAPT)


def train_mapper(host, tiny, clip):
    host.nodes.NADATrainMapper.execute(tiny, clip, target="sketch", **TRAINING)


def evaluate(host, tiny, clip):
    host.nodes.NADAEvaluate.execute(tiny, clip, target="sketch", count=4, repetitions=2)


def generate(host, tiny, clip):
    host.nodes.GenerateImages.execute(tiny, sample_latents(tiny, 2), "const")


@USUAL
def test_it_comes_out_of_every_node(host, tiny, clip, cancelled):
    host.cancel_after = 1
    for work in (adapt, adapt_to_images, train_mapper, evaluate, generate):
        host.progress.clear()
        with pytest.raises(cancelled):
            work(host, tiny, clip)
        assert len(host.progress) == 1, "it stops at once"
    assert not any("out of memory" in text for text in host.texts)


@USUAL
def test_it_comes_out_while_snapshots_are_shown(host, tiny, clip, cancelled):
    snapshots = host.nodes.NADATextAdapt.execute(tiny, clip, snapshots=3, **ADAPT).args[2]
    host.progress.clear()
    host.cancel_after = 2
    with pytest.raises(cancelled):
        host.nodes.NADAPickSnapshot.execute("best", 1, snapshots)


@USUAL
def test_trainings_are_kept(host, tiny, clip, cancelled):
    host.cancel_after = 3
    for work in (adapt, train_mapper):
        host.progress.clear()
        with pytest.raises(cancelled):
            work(host, tiny, clip)
    saved = {path.parent.parent.name for path in (host.folder / "output").rglob("cancelled/*.safetensors")}
    assert saved == {"stylegan_styles", "stylegan_mappers"}
    host.cancel_after = None
    adapt(host, tiny, clip)
    assert "continues after iteration 4" in host.texts
