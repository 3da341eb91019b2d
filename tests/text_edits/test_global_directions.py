"""Global directions: relevance compared with its definition, the edit as a style, and refusals."""

from __future__ import annotations

import pytest
import torch
from helpers.toy_family import ToyGenerator

import nada
from nada.errors import UsageError
from nada.seeding import seeded
from nada.text_edits import global_directions
from nada.text_edits.global_directions import DirectionConfig, measure_relevance


def config(**changes) -> DirectionConfig:
    settings = {"source": "photo", "target": "sketch", "samples": 3, "candidates": 6, "templates": "{}"}
    return DirectionConfig(**settings | changes)


@pytest.fixture
def measured(small, clip):
    return measure_relevance(small, clip, config())


def test_relevance_equals_the_definition(small, clip, measured):
    """Relevance with styles set directly, instead of through the affine maps."""
    rng = seeded(0)
    spread = small.synthesis.styles(small.mapping(torch.randn(2000, 16, generator=rng)))
    ws = small.mapping(torch.randn(3, 16, generator=rng))
    (model,) = clip
    texts = [model.encode_text([text])[0].double() for text in ("photo", "sketch")]
    way = texts[1] / texts[1].norm() - texts[0] / texts[0].norm()
    channels = measured.channels(0)
    assert len(channels) == 6
    for layer, channel, relevance in channels:
        ends = []
        for sign in (-1, 1):
            styles = {name: style.clone() for name, style in small.synthesis.styles(ws).items()}
            column = spread[layer][:, channel]
            styles[layer][:, channel] = column.mean() + sign * 5 * column.std()
            embedded = model.encode_image(small.synthesis.render(styles).clamp(-1, 1)).double()
            ends.append(embedded / embedded.norm(dim=1, keepdim=True))
        change = ends[1] - ends[0]
        mean = (change / change.norm(dim=1, keepdim=True)).mean(0)
        assert relevance == pytest.approx(float(mean @ way / (mean.norm() * way.norm())), abs=1e-4)
        assert measured.deviations[layer][channel] == pytest.approx(float(spread[layer][:, channel].std()), rel=1e-5)


def test_the_candidates_are_those_with_the_largest_effect(tiny, clip):
    measured = measure_relevance(tiny, clip, config())
    rng = seeded(0)
    spread = tiny.synthesis.styles(tiny.mapping(torch.randn(2000, 16, generator=rng)))
    ws = tiny.mapping(torch.randn(3, 16, generator=rng))
    (model,) = clip
    texts = [model.encode_text([text])[0] for text in ("photo", "sketch")]
    way = texts[1] / texts[1].norm() - texts[0] / texts[0].norm()
    step, effects = 1e-2, {}
    for layer in [name for name in tiny.synthesis.latent_of if not name.endswith("torgb")]:
        for channel in range(spread[layer].shape[1]):
            scores = []
            for sign in (-1, 1):
                styles = tiny.synthesis.styles(ws)
                styles[layer][:, channel] += sign * step
                embedded = model.encode_image(tiny.synthesis.render(styles))
                scores.append(float((embedded / embedded.norm(dim=1, keepdim=True) @ way).sum()))
            effects[layer, channel] = abs(scores[1] - scores[0]) * float(spread[layer][:, channel].std())
    ranked = sorted(effects, key=effects.get, reverse=True)
    chosen = {(layer, channel) for layer, channel, _ in measured.channels(0)}
    assert chosen <= set(ranked[:8]), "finite differences rank near neighbours differently, and no others"
    assert set(ranked[:4]) <= chosen


def test_the_edit_is_an_offset_per_style_channel(small, measured):
    layer, _, largest = measured.channels(0)[0]
    style = measured.style(beta=0, amount=-3)
    assert style.kind == "stylespace"
    edited = nada.apply_style(small, style)
    ws = nada.sample_latents(small, 2)
    before, after = small.synthesis.styles(ws), edited.synthesis.styles(ws)
    for name, values in measured.relevance.items():
        expected = -3 * values / abs(largest) * measured.deviations[name]
        assert torch.allclose(after[name] - before[name], expected.expand_as(before[name]), atol=2e-3)
    assert (style.name, style.recipe["amount"], style.recipe["channels"]) == ("sketch", -3, 6)
    assert style.recipe["base"] == small.fingerprint()
    one = measured.style(beta=abs(largest), amount=1)
    assert int(one.deltas[f"synthesis.{layer}.affine.bias"].count_nonzero()) == 1
    assert list(one.deltas) == [f"synthesis.{layer}.affine.bias"]


def test_the_style_survives_its_file(small, measured, tmp_path):
    style = measured.style(beta=0)
    nada.save_style(style, tmp_path / "s.safetensors")
    loaded = nada.load_style(tmp_path / "s.safetensors")
    assert loaded.recipe == style.recipe
    ws = nada.sample_latents(small, 1)
    images = [nada.generate(nada.apply_style(small, s), ws) for s in (style, loaded)]
    assert torch.equal(*images)


def test_leaves_the_generator_and_repeats(small, clip, measured):
    before = small.fingerprint()
    with torch.inference_mode():
        again = measure_relevance(small, clip, config())
    assert small.fingerprint() == before
    assert all(torch.equal(again.relevance[name], values) for name, values in measured.relevance.items())
    assert not any(p.requires_grad for p in small.parameters())


def test_gradients_take_as_little_memory_as_there_is(small, clip, measured, monkeypatch):
    (model,), sizes = clip, []
    encode = type(model).encode_image

    def short_of_memory(self, images, *rest, **options):
        if images.requires_grad:
            sizes.append(len(images))
            if len(images) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, images, *rest, **options)

    monkeypatch.setattr(type(model), "encode_image", short_of_memory)
    again = measure_relevance(small, clip, config())
    assert sizes == [3, 2, 1, 1, 1]
    found, wanted = (relevance.channels(0) for relevance in (again, measured))
    assert [channel[:2] for channel in found] == [channel[:2] for channel in wanted]
    assert not any(p.requires_grad for p in small.parameters())


def test_all_channels_are_tried_on_demand(tiny, clip):
    seen = []
    relevance = measure_relevance(tiny, clip, config(candidates=0, samples=1), lambda *now: seen.append(now))
    count = 24 + 24 + 20
    assert seen == [(i, count) for i in range(1, count + 1)]
    assert all(values.count_nonzero() == len(values) for values in relevance.relevance.values())
    assert list(relevance.relevance) == ["b4.conv1", "b8.conv0", "b8.conv1"]


def test_what_progress_raises_ends_it(small, clip):
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = small.fingerprint()
    with pytest.raises(KeyboardInterrupt):
        measure_relevance(small, clip, config(), cancel)
    assert small.fingerprint() == before


def test_another_family(clip):
    toy = ToyGenerator()
    relevance = measure_relevance(toy, clip, config(candidates=0))
    assert {name: len(values) for name, values in relevance.relevance.items()} == {"L0": 10, "L1": 10}
    ws = nada.sample_latents(toy, 2)
    edited = nada.apply_style(toy, relevance.style(beta=0))
    assert not torch.equal(nada.generate(edited, ws), nada.generate(toy, ws))


@pytest.mark.parametrize("generator", ["small", "toy"])
def test_every_family_adds_the_bias_to_its_styles(request, generator):
    """The contract's property on which edits rely."""
    model = ToyGenerator() if generator == "toy" else request.getfixturevalue(generator)
    ws = nada.sample_latents(model, 2)
    before = model.synthesis.styles(ws)
    assert list(before) == [name for name, layer in model.layers.items() if layer.code is not None]
    for name in before:
        with torch.no_grad():
            model.parameters_of(name)["affine.bias"].add_(0.5)
    after = model.synthesis.styles(ws)
    assert all(torch.allclose(after[name] - before[name], torch.tensor(0.5), atol=1e-5) for name in before)


def test_what_cannot_be_done_is_refused(small, clip, measured):
    with pytest.raises(UsageError, match="mean the same"):
        measure_relevance(small, clip, config(target="photo"))
    with pytest.raises(UsageError, match=r"as relevant as beta = 1; the largest relevance is 0\."):
        measured.style(beta=1)
    for bad in ({"beta": -0.1}, {"beta": float("nan")}, {"amount": 0}, {"amount": 21}, {"amount": float("inf")}):
        with pytest.raises(UsageError, match=r"it must be in"):
            measured.style(**bad)
    for bad in ({"target": " "}, {"samples": 0}, {"candidates": -1}, {"templates": "a face"}):
        with pytest.raises(UsageError):
            config(**bad)


def test_models_are_averaged_with_their_weights(monkeypatch):
    class Model:
        def __init__(self, weight):
            self.weight = weight

    ways = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    low, high = torch.zeros(2, 2), torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    found = global_directions._agreement([Model(3.0), Model(1.0)], ways, [low, low], [high, high])
    assert found == pytest.approx(0.75)
