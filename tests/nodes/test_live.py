"""All trainings on nodes: what an error that nobody foresaw leaves of them, and what their previews compute."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import torch
from PIL import Image

import nada
from nada import sample_latents

ITERATIONS, LATE = 12, 10  # length of each training, and iterations done when the error comes
RUNS = {  # trainings whose states are stored, with their loops
    "LiveAdaptation": nada.Adaptation,
    "LiveProjection": nada.Projection,
    "LiveTuning": nada.Tuning,
}
ONLY_RESULTS = {"LiveMapper"}  # the schedule of a mapper does not allow to resume it, see MapperStore


def concrete(base: type) -> Iterator[type]:
    """The classes below a class that can be used."""
    for below in base.__subclasses__():
        yield from concrete(below)
        if not inspect.isabstract(below):
            yield below


def train(host, base, clip, name: str, photos: int = 1, **options):
    """Run the node of a training to its end."""
    photo = torch.rand(photos, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    if name == "LiveAdaptation":
        settings = {"source": "photo", "target": "sketch", "batch": 8, "learning_rate": 0.0, "preview_images": 1}
        return host.nodes.NADATextAdapt.execute(base, clip, iterations=ITERATIONS, **settings, **options)
    if name == "LiveProjection":
        iterations = {"w_iterations": ITERATIONS // 2, "plus_iterations": ITERATIONS // 2}
        return host.nodes.NADAInvertPhoto.execute(base, photo, **iterations, **options)
    ws = sample_latents(base, photos)
    return host.nodes.NADATuneToPhoto.execute(base, photo, ws, iterations=ITERATIONS, **options)


def test_these_are_all_trainings(host):
    assert {live.__name__ for live in concrete(host.nodes.live.Live)} == RUNS.keys() | ONLY_RESULTS


@pytest.mark.parametrize("name", RUNS)
def test_an_error_costs_only_the_iterations_since_the_last_state(host, tiny, clip, monkeypatch, name):
    begun, train_step = [], RUNS[name].train_step

    def failing(run):
        begun.append(run.iteration)
        if run.iteration == LATE:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return train_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(RUNS[name], "train_step", failing)
        with pytest.raises(RuntimeError):
            train(host, tiny, clip, name)
    monkeypatch.setattr(RUNS[name], "train_step", lambda run: begun.append(run.iteration) or train_step(run))
    begun.clear()
    train(host, tiny, clip, name)
    assert begun[0] >= LATE / 2
    assert begun == [*range(begun[0], ITERATIONS)]


@pytest.mark.parametrize("name", ["LiveProjection", "LiveTuning"])
def test_previews_render_only_what_they_show(host, tiny, clip, monkeypatch, name):
    frames, rendered, generate = 20, [], host.nodes.invert.generate
    monkeypatch.setattr(
        host.nodes.invert, "generate", lambda base, ws, **options: rendered.append(len(ws)) or generate(base, ws)
    )
    train(host, tiny, clip, name, frames, preview_every=5)
    assert len([preview for _, preview in host.progress if preview]) == 3
    assert rendered == [16, 16, 16] + [frames] * (name == "LiveProjection")  # whose errors are those of all frames


@pytest.mark.parametrize("size", [(70_000, 2), (2, 70_000), (20, 10)])
def test_pictures_of_any_size_can_be_sent(host, size):
    """The stand-in encodes them as ComfyUI does, whose process ends if that fails."""
    host.nodes.host.Progress(1).update(1, Image.new("RGB", size))
    assert host.progress
