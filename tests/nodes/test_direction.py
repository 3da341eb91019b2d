"""The node of StyleCLIP's global directions, with a stand-in for ComfyUI."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from helpers.stub_comfyui import Cancelled

import nada
from nada import UsageError

OPTIONS = {"source": "photo", "target": "sketch", "samples": 2, "candidates": 5}


def test_edits_in_inference_mode_and_leaves_the_generator(host, tiny, clip):
    before = tiny.fingerprint()
    with torch.inference_mode():  # as ComfyUI runs every node
        result = host.nodes.NADATextDirection.execute(tiny, clip, 2.0, 0.0, **OPTIONS)
    edited, style = result.args
    assert tiny.fingerprint() == before
    assert not any(p.is_inference() or p.requires_grad for p in edited.parameters())
    assert (style.kind, style.recipe["amount"], style.recipe["beta"]) == ("stylespace", 2.0, 0.0)
    ws = nada.sample_latents(tiny, 1)
    again = nada.apply_style(tiny, style)
    assert torch.equal(nada.generate(edited, ws), nada.generate(again, ws))
    assert result.ui.shape[-1] == 3
    assert host.texts[-1].startswith("5 style channels | most relevant: ")


def test_amount_and_beta_measure_nothing_again(host, tiny, clip, monkeypatch):
    first = host.nodes.NADATextDirection.execute(tiny, clip, 2.0, 0.0, **OPTIONS).args[1]
    monkeypatch.setattr(host.nodes.direction, "measure_relevance", lambda *_: pytest.fail("measured again"))
    second = host.nodes.NADATextDirection.execute(tiny, clip, -4.0, 0.0, **OPTIONS).args[1]
    for name, delta in first.deltas.items():
        assert torch.allclose(-2 * delta.float(), second.deltas[name].float(), atol=1e-2)
    with pytest.raises(pytest.fail.Exception):
        host.nodes.NADATextDirection.execute(tiny, clip, 2.0, 0.0, **OPTIONS | {"seed": 1})


def test_each_of_several_nodes_measures_once(host, tiny, clip, monkeypatch):
    measured, measure = [], host.nodes.direction.measure_relevance
    monkeypatch.setattr(
        host.nodes.direction, "measure_relevance", lambda *args: measured.append(args[2].target) or measure(*args)
    )
    for amount in (1.0, 2.0, 3.0):  # as a user changes it, on two nodes in turn
        for target in ("sketch", "pig"):
            host.nodes.NADATextDirection.execute(tiny, clip, amount, 0.0, **OPTIONS | {"target": target})
    assert measured == ["sketch", "pig"]


def test_the_measurements_used_last_are_kept(host, tiny, clip, monkeypatch):
    monkeypatch.setattr(host.nodes.direction, "KEPT", 2)
    measured, relevance = [], nada.measure_relevance(tiny, clip, nada.DirectionConfig(**OPTIONS))
    monkeypatch.setattr(
        host.nodes.direction, "measure_relevance", lambda *args: measured.append(args[2].seed) or relevance
    )
    for seed in (0, 1, 0, 2, 0, 1):
        host.nodes.NADATextDirection.execute(tiny, clip, 2.0, 0.0, **OPTIONS | {"seed": seed})
    assert measured == [0, 1, 2, 1]
    assert len(host.nodes.direction._measurements) == 2


def test_the_stored_measurement_keeps_no_generator_alive(host, tiny, clip):
    given = weakref.ref(edited := copy.deepcopy(tiny))
    host.nodes.NADATextDirection.execute(edited, clip, 2.0, 0.0, **OPTIONS)
    assert host.nodes.direction._measurements
    del edited
    gc.collect()
    assert given() is None


def test_cancel_stops_at_the_next_channel(host, tiny, clip):
    host.cancel_after = 2
    with pytest.raises(Cancelled):
        host.nodes.NADATextDirection.execute(tiny, clip, 2.0, 0.0, **OPTIONS)
    assert len(host.progress) == 2


def test_mistakes_are_reported_before_anything_is_measured(host, tiny, clip, monkeypatch):
    monkeypatch.setattr(host.nodes.direction, "measure_relevance", lambda *_: pytest.fail("measured"))
    with pytest.raises(UsageError, match="amount is 0"):
        host.nodes.NADATextDirection.execute(tiny, clip, 0.0, 0.1, **OPTIONS)
    check = host.nodes.NADATextDirection.validate_inputs
    assert check() is True
    assert "source text is empty" in check(source=" ")
    assert "target text is empty" in check(target="")
