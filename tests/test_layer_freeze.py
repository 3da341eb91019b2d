"""Choosing layers: what is measured is the code that drives the layer, and only chosen layers move."""

from __future__ import annotations

import torch

from nada import layer_freeze


def test_one_step_measures_the_gradient(small):
    ws = small.mapping(torch.randn(3, 16))
    target = torch.randn(3, 3, 32, 32)
    loss = lambda codes: (small.synthesis(codes) * target).mean()
    codes = ws.clone().requires_grad_(True)
    loss(codes).backward()
    expected = codes.grad.abs().mean(dim=(0, 2))
    for step_size in (0.01, 100.0):  # the size of a single step does not matter
        scores = layer_freeze.measure(small.synthesis, ws, loss, 1, step_size)
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
    assert torch.allclose(layer_freeze.measure(small.synthesis, ws, loss, 4, 0.05), expected, rtol=1e-4)


def test_the_layer_whose_code_moved_is_chosen(small):
    for name in small.synthesis.conv_layers:
        scores = torch.zeros(small.num_ws)
        scores[small.synthesis.latent_of[name]] = 1
        assert layer_freeze.choose(small.synthesis, scores, 1) == (name,)


def test_choice_is_in_network_order_and_ties_go_to_the_lower_layer(small):
    scores = torch.tensor([0.0, 5.0, 1.0, 9.0, 1.0, 1.0, 0.0, 99.0])  # the last code drives only a to-RGB layer
    assert layer_freeze.choose(small.synthesis, scores, 3) == ("b8.conv0", "b8.conv1", "b16.conv0")


def test_apply_frees_exactly_the_named_layers(small):
    layer_freeze.apply(small, small.synthesis, ("b8.conv1", "b32.conv0"))
    free = {name.removeprefix("synthesis.") for name, p in small.named_parameters() if p.requires_grad}
    parts = ("weight", "bias", "noise_strength", "affine.weight", "affine.bias")
    assert free == {f"{layer}.{part}" for layer in ("b8.conv1", "b32.conv0") for part in parts}
