"""Losses compared with their formulas in NumPy float64, and their behavior where the formulas are undefined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nada.losses import (
    directional_loss,
    embedding_norm_loss,
    global_loss,
    relative_norm_loss,
    style_loss,
    unit,
    within_domain_loss,
)


def rows(x):
    x = x.detach().double().numpy()
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_directional_loss_is_the_formula_and_ignores_lengths():
    source, adapted, direction = torch.randn(6, 40), torch.randn(6, 40), unit(torch.randn(40))
    change = rows(adapted) - rows(source)
    cosines = (change @ direction.double().numpy()) / np.linalg.norm(change, axis=1)
    loss = directional_loss(source, adapted, direction)
    assert abs(float(loss) - np.mean(1 - cosines)) < 1e-6
    assert torch.allclose(directional_loss(source * 3, adapted * 0.1, direction), loss, atol=1e-6)


def test_directional_loss_gradient_equals_finite_differences():
    source = torch.randn(3, 9, dtype=torch.float64)
    adapted = torch.randn(3, 9, dtype=torch.float64, requires_grad=True)
    direction = unit(torch.randn(9, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda a: directional_loss(source, a, direction), (adapted,))


def test_equal_images_have_loss_one_and_a_gradient_towards_the_text():
    embedded = torch.randn(4, 16)
    adapted = embedded.clone().requires_grad_(True)
    direction = unit(torch.randn(16))
    loss = directional_loss(embedded, adapted, direction)
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(adapted.grad).all()
    step = embedded - 0.1 * adapted.grad  # descent must move all embeddings along the direction
    assert ((unit(step) - unit(embedded)) @ direction > 0).all()


@pytest.mark.parametrize("noise", [1e-7, 1e-6, 1e-5])
def test_round_off_is_no_change(noise):
    """Its direction means nothing, and scaled to length 1 its gradient would be 1 / noise."""
    source = unit(torch.randn(4, 512))
    adapted = (source + noise * torch.randn(4, 512) / 512**0.5).requires_grad_(True)
    loss = directional_loss(source, adapted, unit(torch.randn(512)))
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=1e-4)
    assert adapted.grad.norm(dim=1).max() <= 1


def test_one_unchanged_image_does_not_disturb_the_others():
    source, adapted, direction = torch.randn(2, 16), torch.randn(2, 16), unit(torch.randn(16))
    adapted[0] = source[0]
    adapted.requires_grad_(True)
    directional_loss(source, adapted, direction).backward()
    alone = adapted.detach()[1:].requires_grad_(True)
    (directional_loss(source[1:], alone, direction) / 2).backward()
    assert torch.allclose(adapted.grad[1], alone.grad[0], atol=1e-7)


def test_global_loss_is_one_minus_cosine():
    images, text = torch.randn(5, 12), torch.randn(12)
    assert abs(float(global_loss(images, text)) - np.mean(1 - rows(images) @ rows(text))) < 1e-6
    assert abs(float(global_loss(text[None] * 7, text))) < 1e-6


def test_embedding_norm_loss_is_the_formula_and_knows_no_direction():
    source, adapted = torch.randn(5, 12), torch.randn(5, 12)
    lengths = [np.linalg.norm(x.double().numpy(), axis=1) for x in (source, adapted)]
    loss = embedding_norm_loss(source, adapted)
    assert abs(float(loss) - np.mean((lengths[0] - lengths[1]) ** 2)) < 1e-6
    assert float(embedding_norm_loss(source, -source)) == 0
    relative = [relative_norm_loss(source * scale, adapted * scale) for scale in (1, 400)]
    assert abs(float(relative[0]) - 100 * float(loss) / lengths[0].mean() ** 2) < 1e-4
    assert torch.allclose(*relative, rtol=1e-4)


def test_within_domain_loss_compares_all_pairs():
    source, adapted = torch.randn(4, 10), torch.randn(4, 10)
    before, after = (rows(x) @ rows(x).T for x in (source, adapted))
    pairs = np.triu_indices(4, 1)
    assert abs(float(within_domain_loss(source, adapted)) - np.mean((after - before)[pairs] ** 2)) < 1e-6
    assert abs(float(within_domain_loss(source * 2, adapted * 5)) - float(within_domain_loss(source, adapted))) < 1e-6


def test_turning_all_embeddings_alike_keeps_the_domain():
    source, (rotation, _) = torch.randn(5, 8), torch.linalg.qr(torch.randn(8, 8))
    assert float(within_domain_loss(source, source @ rotation)) < 1e-10
    assert float(within_domain_loss(source, source[:1].expand(5, -1))) > 0.1, "a collapse must cost"


def test_style_loss_is_the_relaxed_earth_movers_distance_of_all_pairs():
    found, wanted = unit(torch.randn(2, 3, 5)), unit(torch.randn(4, 6, 5))
    total = 0.0
    for image in rows(found):
        for style in rows(wanted):
            cost = 1 - image @ style.T
            total += max(cost.min(axis=1).mean(), cost.min(axis=0).mean())
    assert abs(float(style_loss(found, wanted)) - total / 8) < 1e-6


def test_style_loss_knows_no_places():
    found = unit(torch.randn(1, 6, 5))
    assert abs(float(style_loss(found, found[:, torch.randperm(6)]))) < 1e-6
    assert float(style_loss(found[:, :1].expand(1, 6, -1), found)) > 0.1, "a part of the style is not enough"
