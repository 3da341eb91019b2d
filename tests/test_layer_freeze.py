"""Layer selection: scores are those of the codes that drive the layers, and names select what they say."""

from __future__ import annotations

import pytest
import torch

from nada import layer_freeze
from nada.errors import UsageError
from nada.stylegan2 import Generator, GeneratorConfig


def test_one_step_measures_the_gradient(small):
    ws = small.mapping(torch.randn(3, 16))
    target = torch.randn(3, 3, 32, 32)
    loss = lambda codes: (small.synthesis(codes) * target).mean()
    codes = ws.clone().requires_grad_(True)
    loss(codes).backward()
    expected = codes.grad.abs().mean(dim=(0, 2))
    for step_size in (0.01, 100.0):  # the size of a single step does not matter
        scores = layer_freeze.measure(ws, loss, 1, step_size)
        assert torch.allclose(scores, expected, rtol=1e-5)


def test_several_steps_are_gradient_descent_on_the_codes(small):
    ws = small.mapping(torch.randn(2, 16))
    loss = lambda codes: small.synthesis(codes).square().mean()
    moving = ws.clone().requires_grad_(True)
    optimizer = torch.optim.SGD([moving], lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        loss(moving).backward()
        optimizer.step()
    expected = (moving.detach() - ws).abs().mean(dim=(0, 2)) / 0.05
    assert torch.allclose(layer_freeze.measure(ws, loss, 4, 0.05), expected, rtol=1e-4)


def test_the_layer_whose_code_moved_is_chosen(small):
    for name in small.synthesis.conv_layers:
        scores = torch.zeros(small.num_ws)
        scores[small.synthesis.latent_of[name]] = 1
        assert layer_freeze.choose(small.layers, scores, 1) == (name,)


def test_choice_is_in_network_order_and_ties_go_to_the_lower_layer(small):
    scores = torch.tensor([0.0, 5.0, 1.0, 9.0, 1.0, 1.0, 0.0, 99.0])  # the last code drives only a to-RGB layer
    assert layer_freeze.choose(small.layers, scores, 3) == ("b8.conv0", "b8.conv1", "b16.conv0")


def test_phases_are_those_of_the_authors_code_at_1024():
    """Its positions in `convs` count from b8.conv0: texture has 2..9, shape 0..1, shape_expanded 0..2, no_fine 0..9."""
    with torch.device("meta"):
        layers = Generator(GeneratorConfig(1024, (4,) * 9, 8, 8)).layers
    convs = [name for name in layer_freeze.candidates(layers) if name != "b4.conv1"]
    for phase, part in {
        "texture": convs[2:10],
        "shape": convs[:2],
        "shape_expanded": convs[:3],
        "no_fine": convs[:10],
    }.items():
        assert layer_freeze.named(layers, phase) == ("b4.const", "b4.conv1", *part), phase


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("b8", "b8.conv0 b8.conv1"),
        ("b16.conv1, b4.conv1", "b4.conv1 b16.conv1"),
        ("b4-b16", "b4.conv1 b8.conv0 b8.conv1 b16.conv0 b16.conv1"),
        ("b8-b1024.torgb, mapping", "mapping b8.torgb b16.torgb b32.torgb"),
        ("b4.const,b4", "b4.const b4.conv1"),
        ("texture", "b4.const b4.conv1 b16.conv0 b16.conv1 b32.conv0 b32.conv1"),
    ],
)
def test_names_and_ranges(small, text, layers):
    assert layer_freeze.named(small.layers, text) == tuple(layers.split())


@pytest.mark.parametrize("phase", layer_freeze.PHASES)
@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_a_phase_trains_the_layers_that_a_small_generator_has(phase, resolution):
    with torch.device("meta"):
        blocks = resolution.bit_length() - 2
        named = layer_freeze.named(Generator(GeneratorConfig(resolution, (4,) * blocks, 8, 8)).layers, phase)
    assert named[:2] == ("b4.const", "b4.conv1")
    assert len(named) == 2 or resolution > 4


@pytest.mark.parametrize("text", ["b64", "b4.conv0", "b16-b8", "conv1", "b8.conv2", "", "b8,,b16", "b8.conv0.weight"])
def test_unknown_names_are_refused(small, text):
    with pytest.raises(UsageError, match="layer"):
        layer_freeze.named(small.layers, text)
