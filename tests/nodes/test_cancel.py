"""Cancel reaches ComfyUI as its own exception, of either kind, and is never taken for a failure."""

from __future__ import annotations

import pytest
import torch
from helpers.stub_comfyui import Cancelled, OldCancelled

from nada import sample_latents

TRAINING = {"iterations": 6, "batch": 1, "learning_rate": 0.0, "preview_images": 1, "preview_every": 0}
ADAPT = {"source": "photo", "target": "sketch", **TRAINING}


@pytest.fixture(params=[Cancelled, OldCancelled])
def cancelled(request, host, monkeypatch):
    """Make ComfyUI raise an exception that is an Exception, or one that is not."""
    monkeypatch.setattr(host.nodes.host, "Cancelled", request.param)
    host.cancelled = request.param
    return request.param


def adapt(host, small, clip):
    host.nodes.NADATextAdapt.execute(small, clip, snapshots=3, **ADAPT)


def adapt_to_images(host, small, clip):
    pictures = torch.rand(2, 20, 20, 3)
    host.nodes.NADAImageAdapt.execute(small, clip, pictures, snapshots=3, image_share=1.0, **ADAPT)


def train_mapper(host, small, clip):
    host.nodes.NADATrainMapper.execute(small, clip, target="sketch", **TRAINING)


def evaluate(host, small, clip):
    host.nodes.NADAEvaluate.execute(small, clip, target="sketch", count=4, repetitions=2)


def generate(host, small, clip):
    host.nodes.GenerateImages.execute(small, sample_latents(small, 2), "const")


def test_it_comes_out_of_every_node(host, small, clip, cancelled):
    host.cancel_after = 1
    for work in (adapt, adapt_to_images, train_mapper, evaluate, generate):
        host.progress.clear()
        with pytest.raises(cancelled):
            work(host, small, clip)
        assert len(host.progress) == 1, "it stops at once"
    assert not any("out of memory" in text for text in host.texts)


def test_it_comes_out_while_snapshots_are_shown(host, small, clip, cancelled):
    snapshots = host.nodes.NADATextAdapt.execute(small, clip, snapshots=3, **ADAPT).args[2]
    host.progress.clear()
    host.cancel_after = 2
    with pytest.raises(cancelled):
        host.nodes.NADAPickSnapshot.execute("best", 1, snapshots)


def test_trainings_are_kept(host, small, clip, cancelled):
    host.cancel_after = 3
    for work in (adapt, train_mapper):
        host.progress.clear()
        with pytest.raises(cancelled):
            work(host, small, clip)
    saved = {path.parent.parent.name for path in (host.folder / "output").rglob("cancelled/*.safetensors")}
    assert saved == {"stylegan_styles", "stylegan_mappers"}
    host.cancel_after = None
    adapt(host, small, clip)
    assert "continues after step 4" in host.texts
