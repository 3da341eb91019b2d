"""Trainable tensors: exactly those that the configuration names, and low-rank factors by the chain rule."""

from __future__ import annotations

import pytest
import torch

from nada.adapt import adapt
from nada.errors import UsageError
from nada.seeding import seeded
from nada.training.config import LEARNING_RATE_FACTORS, AdaptConfig
from nada.training.trainable import LoraWeight, Trainable
from nada.training.trainer import Trainer


def config(**changes) -> AdaptConfig:
    defaults = {"source": "photo", "target": "sketch", "iterations": 3, "layers": "all", "learning_rate": 0.02}
    return AdaptConfig(**defaults | changes)


def moved(base, adapted) -> set[str]:
    before = base.state_dict()
    return {name for name, tensor in adapted.state_dict().items() if not torch.equal(tensor, before[name])}


CONV_PARTS = {
    "weights": {"weight", "bias", "noise_strength", "affine.weight", "affine.bias"},
    "affine": {"affine.weight", "affine.bias"},
    "stylespace": {"affine.bias"},
    "lora": {"weight", "bias"},
}


@pytest.mark.parametrize("train", CONV_PARTS)
def test_each_kind_moves_its_part_of_every_convolution(tiny, clip, train):
    *_, step = adapt(tiny, clip, config(train=train))
    convs = tiny.synthesis.conv_layers
    assert moved(tiny, step.generator) == {f"synthesis.{c}.{part}" for c in convs for part in CONV_PARTS[train]}


@pytest.mark.parametrize(
    "train", ["weights", *(pytest.param(train, marks=pytest.mark.slow) for train in CONV_PARTS if train != "weights")]
)
def test_colors_constant_and_mapping_join_on_demand(tiny, clip, train):
    extra = {"train_torgb": True, "train_const": True, "train_mapping": True}
    *_, step = adapt(tiny, clip, config(train=train, layers=2, **extra))
    names = moved(tiny, step.generator)
    others = {name for name in names if ".conv" not in name}
    parts = CONV_PARTS[train] - {"noise_strength"}
    expected = {f"synthesis.b{r}.torgb.{part}" for r in (4, 8) for part in parts}
    expected |= {
        "synthesis.b4.const",
        "mapping.w_avg",
        *(f"mapping.fc{i}.{part}" for i in (0, 1) for part in ("weight", "bias")),
    }
    assert others == expected
    assert len([name for name in step.layers if ".conv" in name]) == 2


def test_named_layers_alone_move(small, clip):
    *_, step = adapt(small, clip, config(layers="b8-b16.conv0, b32.torgb"))
    assert step.layers == ("b8.conv0", "b16.conv0", "b32.torgb")
    assert {".".join(name.split(".")[1:3]) for name in moved(small, step.generator)} == set(step.layers)


def test_a_style_offset_is_the_same_for_every_code(tiny, clip):
    *_, step = adapt(tiny, clip, config(train="stylespace"))
    ws = tiny.mapping(torch.randn(5, 16))
    before, after = tiny.synthesis.styles(ws), step.generator.synthesis.styles(ws)
    for name in tiny.synthesis.conv_layers:
        offsets = after[name] - before[name]
        assert offsets.abs().max() > 1e-3
        assert torch.allclose(offsets, offsets[:1].expand_as(offsets), atol=1e-5)


def test_low_rank_changes_have_their_rank(small, clip):
    *_, step = adapt(small, clip, config(train="lora", rank=3, iterations=5))
    for name in small.synthesis.conv_layers:
        change = (step.generator.synthesis.layer(name).weight - small.synthesis.layer(name).weight).flatten(1).double()
        values = torch.linalg.svdvals(change)
        assert values[2] > 1e-4
        assert values[3] < 1e-5 * values[0]


def test_factors_get_the_gradient_that_autograd_gives_them():
    weight = torch.nn.Parameter(torch.randn(6, 4, 3, 3, dtype=torch.float64))
    pair = LoraWeight(weight, 2, seeded(0))
    pair.up.copy_(torch.randn(6, 2, dtype=torch.float64))
    pair.push()
    target = torch.randn_like(weight)
    (weight.sin() * target).sum().backward()
    up, down = (x.clone().requires_grad_(True) for x in (pair.up, pair.down))
    effective = pair.base + (up @ down).view_as(weight)
    assert torch.equal(effective, weight)
    (effective.sin() * target).sum().backward()
    pair.pull()
    assert torch.allclose(pair.up.grad, up.grad)
    assert torch.allclose(pair.down.grad, down.grad)
    assert weight.grad is None


def test_a_first_step_through_factors_is_about_as_large_as_without():
    weight = torch.nn.Parameter(torch.randn(64, 64, 3, 3))
    for rank in (1, 8, 32):
        pair = LoraWeight(weight, rank, seeded(1))
        optimizer = torch.optim.Adam([pair.up, pair.down], lr=0.01)
        weight.grad = torch.randn_like(weight)
        pair.pull()
        optimizer.step()
        pair.push()
        assert 0.5 < float((weight.detach() - pair.base).std()) / 0.01 < 1.5


def test_free_lets_exactly_the_named_layers_learn(small):
    layers = ("mapping", "b4.const", *small.synthesis.latent_of)
    trainable = Trainable(small, layers, "weights", 1, seeded(0))
    trainable.free(("b8.conv1", "b32.conv0"))
    free = {name.removeprefix("synthesis.") for name, p in small.named_parameters() if p.requires_grad}
    assert free == {f"{layer}.{part}" for layer in ("b8.conv1", "b32.conv0") for part in CONV_PARTS["weights"]}


def test_unknown_kinds_and_layers_are_refused(small, clip):
    with pytest.raises(UsageError, match="train is 'everything'; it must be one of weights, affine"):
        config(train="everything")
    with pytest.raises(UsageError, match="rank is 0"):
        config(rank=0)
    with pytest.raises(UsageError, match=r"no layer 'b64'"):
        adapt(small, clip, config(layers="b64"))


@pytest.mark.parametrize("kind", LEARNING_RATE_FACTORS)
def test_what_trains_entirely_takes_the_steps_of_weights(tiny, kind):
    """The defaults of the other kinds are for the parts that they train; a given rate is for all."""
    extra = {"train_const": True, "train_mapping": True, "layers": "all"}
    usual = AdaptConfig("photo", "sketch", train=kind).effective_learning_rate(tiny)  # as a recipe tells it
    for rate in (None, usual, 0.01):
        trainer = Trainer(tiny, AdaptConfig("photo", "sketch", train=kind, learning_rate=rate, **extra), seeded(0))
        names = {id(leaf): name for name, leaf in trainer.trainable.leaves.items()}
        rates = {names[id(leaf)]: group["lr"] for group in trainer.optimizer.param_groups for leaf in group["params"]}
        plain = 0.01 if rate == 0.01 else AdaptConfig("photo", "sketch").effective_learning_rate(tiny)
        factor = 1 if rate == 0.01 else LEARNING_RATE_FACTORS[kind]
        for name, found in rates.items():
            whole = name.startswith(("b4.const", "mapping"))
            assert found == pytest.approx(plain if whole else plain * factor), name


def test_a_resumed_run_trains_the_constant_as_before(tiny, clip):
    first = AdaptConfig("photo", "sketch", iterations=4, layers="all", batch=2, train="stylespace", train_const=True)
    whole = list(adapt(tiny, clip, first))[-1].generator
    run = adapt(tiny, clip, first)
    next(run), next(run)
    state = run.state()
    again = list(adapt(tiny, clip, AdaptConfig.from_recipe(state.recipe), resume=state))[-1].generator
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_average_w_follows_a_trained_mapping_network(tiny, clip):
    config = AdaptConfig("photo", "sketch", iterations=4, layers="mapping", learning_rate=0.5, batch=2)
    steps = list(adapt(tiny, clip, config))
    trained = steps[-1].generator
    z = torch.randn(4000, tiny.config.z_dim, generator=seeded(9))
    moved = trained.mapping.w(z).mean(0) - tiny.mapping.w(z).mean(0)
    found = trained.mapping.w_avg - tiny.mapping.w_avg
    assert moved.norm() > 0.05
    assert (found - moved).norm() < 0.3 * moved.norm()
    run = adapt(tiny, clip, config)
    next(run), next(run)
    again = adapt(tiny, clip, config, resume=run.state())
    assert torch.equal(again.trained.mapping.w_avg, run.trained.mapping.w_avg)
    assert torch.equal(list(again)[-1].generator.mapping.w_avg, trained.mapping.w_avg)
    plain = list(adapt(tiny, clip, AdaptConfig("photo", "sketch", iterations=2, layers="all", batch=2)))[-1].generator
    assert torch.equal(plain.mapping.w_avg, tiny.mapping.w_avg)
