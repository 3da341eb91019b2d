"""Models are on ComfyUI's device while a node works, and back on the CPU afterwards, even after an error."""

from __future__ import annotations

import pytest
import torch
from helpers.models import moved
from helpers.stub_comfyui import Cancelled
from torch import nn

import nada
from nada import sample_latents

CARD, CPU = torch.device("meta"), torch.device("cpu")
TRAINING = {"iterations": 2, "batch": 8, "learning_rate": 0.0, "preview_every": 0, "preview_images": 1}


@pytest.fixture
def seen(host, monkeypatch):
    """Let models record moves to a pretended card, as do their copies, while they compute on the CPU.

    Returns:
        The places that models were moved to.
    """
    places, move = [], nn.Module.to

    def to(module, *arguments, **options):
        place = CARD if CARD in arguments else CPU if CPU in arguments else None
        if place:
            module.place = place
            places.append(place)
        return module if place == CARD else move(module, *arguments, **options)

    host.device = CARD
    monkeypatch.setattr(nn.Module, "to", to)
    monkeypatch.setattr(nn.Module, "cpu", lambda module: module.to(CPU))
    return places


def adapt(nodes, generator, clip):
    return nodes.NADATextAdapt.execute(generator, clip, source="photo", target="sketch", **TRAINING)


WORK = {
    "adapt": adapt,
    "mapper": lambda nodes, generator, clip: nodes.NADATrainMapper.execute(generator, clip, target="pig", **TRAINING),
    "generate": lambda nodes, generator, clip: nodes.GenerateImages.execute(
        generator, sample_latents(generator, 1), "const"
    ),
    "compare": lambda nodes, generator, clip: nodes.NADACompareGrid.execute(
        generator, sample_latents(generator, 1), "a", generator_b=moved(generator)
    ),
    "evaluate": lambda nodes, generator, clip: nodes.NADAEvaluate.execute(
        generator, clip, target="pig", count=2, repetitions=1, base=moved(generator)
    ),
    "pick": lambda nodes, generator, clip: nodes.NADAPickSnapshot.execute(
        snapshots=adapt(nodes, generator, clip).args[2], pick="last", step=1, rows=1
    ),
    "save style": lambda nodes, generator, clip: nodes.NADASaveStyle.execute(generator, moved(generator), "waves"),
}


@pytest.mark.parametrize("work", WORK)
def test_models_come_back_from_the_device(host, tiny, clip, seen, work):
    results = WORK[work](host.nodes, tiny, clip).args
    assert CARD in seen, "the node did not use the device"
    assert tiny.place == CPU
    assert getattr(clip, "place", CPU) == CPU
    for result in results:
        assert getattr(result, "place", CPU) == CPU, "a model that the node made stayed behind"


def test_pictures_of_the_target_stay_where_they_are(host, tiny, clip, seen, monkeypatch):
    """Ten large photos would take as much of the card as an iteration."""
    moves, move = [], torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *a, **o: moves.append(tensor.shape) or move(tensor, *a, **o))
    pictures = torch.rand(20, 12, 20, 3)
    host.nodes.NADAImageAdapt.execute(tiny, clip, pictures, source="photo", target="", **TRAINING)
    counts = [shape[0] for shape in moves if len(shape) == 4 and shape[2] == 12]
    assert 0 < max(counts) <= 8


@pytest.mark.parametrize("work", ["adapt", "mapper", "evaluate"])
def test_models_come_back_from_work_that_is_cancelled(host, tiny, clip, seen, work):
    host.cancel_after = 1
    with pytest.raises(Cancelled):
        WORK[work](host.nodes, tiny, clip)
    assert CARD in seen
    assert tiny.place == clip.place == CPU


def test_models_come_back_from_work_that_fails(host, tiny, clip, seen, monkeypatch):
    def broken(run):
        assert tiny.place == clip.place == CARD
        raise ValueError("broken")

    monkeypatch.setattr(nada.Adaptation, "train_step", broken)
    with pytest.raises(ValueError, match="broken"):
        WORK["adapt"](host.nodes, tiny, clip)
    assert tiny.place == clip.place == CPU
