"""Each rival's characteristic loss or gradient, against its formula written out for small tensors."""

from __future__ import annotations

import itertools
from math import exp, log, log1p, pi, sqrt

import pytest
import torch
from helpers.models import alive
from torch import Tensor

from benchmarks.rivals import augment, losses
from nada.seeding import seeded
from nada.stylegan2 import GeneratorConfig


def test_adversarial_losses():
    real, fake = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.0])
    expected = (log1p(exp(-0.5)) + log1p(exp(1.0))) / 2 + (log1p(exp(2.0)) + log(2)) / 2
    assert float(losses.discriminator_loss(real, fake)) == pytest.approx(expected)
    assert float(losses.generator_loss(fake)) == pytest.approx((log1p(exp(-2.0)) + log(2)) / 2)


def test_r1_of_logits_and_of_maps():
    images = torch.randn(3, 2, 4, 4, requires_grad=True)
    weight = torch.randn(2, 4, 4)
    logits = (images.square() * weight).sum(dim=(1, 2, 3))
    expected = (2 * images * weight).square().sum(dim=(1, 2, 3)).mean()
    assert torch.allclose(losses.r1(logits, images), expected)
    maps = (images.square() * weight).sum(dim=1, keepdim=True)  # averaged over 16 places
    assert torch.allclose(losses.r1(maps, images), expected / 16**2)


@pytest.mark.parametrize("fields", [{}, {"conv_clamp": 0.5}, {"architecture": "resnet"}])
def test_the_plain_layers_are_the_fused_ones(fields):
    generator = alive(GeneratorConfig(16, (8, 7, 6), z_dim=6, w_dim=6, mapping_layers=1, **fields)).requires_grad_(True)
    z, slopes = torch.randn(3, 6), []
    fused = generator(z)
    with losses.twice_differentiable():
        plain = generator(z)
    assert torch.allclose(fused, plain, atol=1e-5)
    for images in (fused, plain):
        slopes.append(torch.autograd.grad(images.square().sum(), [*generator.parameters()]))
    for a, b in zip(*slopes, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))
    assert losses.ops.styled_conv2d is not losses.styled_conv2d, "the fused operation is back"


def test_path_length_has_the_gradient_of_its_penalty():
    """The penalty is a first derivative; compare its own with a finite difference so small that no unit switches."""
    generator = alive(GeneratorConfig(8, (6, 5), z_dim=4, w_dim=6, mapping_layers=1)).double().requires_grad_(True)
    z = torch.randn(2, 4, dtype=torch.float64)
    y = torch.randn(2, 3, 8, 8, generator=seeded(1)).double() / 8

    def lengths() -> Tensor:
        ws = generator.mapping(z).detach().requires_grad_(True)
        (slope,) = torch.autograd.grad((generator.synthesis(ws) * y).sum(), ws)
        return torch.stack([sum((row**2).sum() for row in image) / len(image) for image in slope]).sqrt()

    length = losses.PathLength(decay=0.25)
    length.mean = 0.3
    with losses.twice_differentiable():
        ws = generator.mapping(z)
        penalty = length.penalty(generator.synthesis(ws), ws, seeded(1))
        penalty.backward()
    mean = 0.3 + 0.25 * (float(lengths().mean()) - 0.3)
    assert length.mean == pytest.approx(mean)
    first = losses.PathLength()
    with losses.twice_differentiable():
        ws = generator.mapping(z)
        first.penalty(generator.synthesis(ws), ws, seeded(1))
    assert first.mean == pytest.approx(float(lengths().mean()))
    assert penalty.item() == pytest.approx(float((lengths() - mean).square().mean()))
    for name in ("mapping.fc0.weight", "synthesis.b8.conv0.weight", "synthesis.b8.conv1.affine.weight"):
        weight = generator.get_parameter(name)
        way, step, ends = torch.randn_like(weight), 1e-7, []
        for sign in (1, -1):
            weight.data.add_(way, alpha=sign * step)
            ends.append(float((lengths() - mean).square().mean()))
            weight.data.add_(way, alpha=-sign * step)
        assert float((weight.grad * way).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3), name


def test_ewc():
    weights = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    start = [torch.tensor([0.0, 4.0]), torch.tensor([[1.0]])]
    fisher = [torch.tensor([2.0, 0.5]), torch.tensor([[10.0]])]
    assert float(losses.ewc(weights, start, fisher)) == pytest.approx(2 * 1 + 0.5 * 4 + 10 * 4)


def stack(count: int = 4, sides: tuple[int, ...] = (4, 4, 8, 8, 16, 16)) -> list[Tensor]:
    return [torch.randn(count, 3, side, side, dtype=torch.float64) for side in sides]


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))


def test_cross_domain_distance_consistency():
    source, target, layers = stack(), stack(), [1, 3, 2, 5]

    def row(features: list[Tensor], i: int) -> list[float]:
        near = [exp(cosine(features[layers[i]][i], features[layers[i]][j])) for j in range(4) if j != i]
        return [value / sum(near) for value in near]

    terms = []
    for i in range(4):
        for p, q in zip(row(source, i), row(target, i), strict=True):
            terms.append(p * (log(p) - log(q)))
    assert len(terms) == 12
    found = losses.distance_consistency(source, target, layers)
    assert float(found) == pytest.approx(sum(terms) / 12)
    assert float(losses.distance_consistency(source, source, layers)) == pytest.approx(0, abs=1e-12)


def normalized(x: Tensor) -> Tensor:
    return x / x.square().sum(dim=0, keepdim=True).sqrt()


def test_self_correlation_consistency():
    source, target = stack(2), stack(2)
    total = 0.0
    for s, t in zip(source, target, strict=True):
        side = s.shape[2]
        if side < 4:  # a quarter of 16
            continue
        window, start = side // 4, side // 8
        corners = [[(a * window, b * window) for a in (0, 1) for b in (0, 1)], [(start, start)]]
        for group in corners:
            terms = []
            for n, (top, left) in itertools.product(range(2), group):
                tables = []
                for x in (s, t):
                    unit = normalized(x[n])
                    pooled = unit.unfold(1, 2, 2).unfold(2, 2, 2).mean(dim=(3, 4))
                    places = [pooled[:, top + i, left + j] for i, j in itertools.product(range(window), range(window))]
                    tables.append([float(a @ b) for a in places for b in places])
                for a, b in zip(*tables, strict=True):
                    terms.append(0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5)
            total += sum(terms) / len(terms)
    assert float(losses.self_correlation(source, target, 16)) == pytest.approx(total)
    assert float(losses.self_correlation(source, source, 16)) == pytest.approx(0, abs=1e-12)


def test_disturbance_correlation_consistency():
    source, target = (stack(3, (2, 4, 8, 16)) for _ in range(2))
    total = 0.0
    for s, t in zip(source, target, strict=True):
        side = s.shape[2]
        if side > 8:
            continue
        window = side // 4 if side >= 4 else side
        corners = [(a, b) for a in range(0, side, window) for b in range(0, side, window)]
        for i in range(2):
            terms = []
            for j, (top, left) in itertools.product(range(i + 1, 3), corners):
                tables = []
                for x in (s, t):
                    first, second = (
                        normalized(x[n])[:, top : top + window, left : left + window].flatten(1) for n in (i, j)
                    )
                    weights = (first.T @ second).exp()
                    tables.append(weights / weights.sum(dim=1, keepdim=True))
                terms += (tables[0] - tables[1]).abs().flatten().tolist()
            total += sum(terms) / len(terms) * (2 - i) * window**2
    assert float(losses.disturbance_correlation(source, target, 16)) == pytest.approx(total / 6)


# ADA


@pytest.mark.parametrize(("waves", "kept"), [(4, 0.99), (8, 0.99), (16, 0.99), (24, 0.98), (31, 0.3)])
def test_moves_of_pixels_are_what_they_are_called(waves, kept):
    size, inside = 64, slice(16, -16)
    places = 2 * pi * waves * (torch.arange(size) + 0.2) / size
    images = (places.sin() * torch.linspace(0.5, 1, size)[:, None]).expand(1, 3, size, size)
    moves = {
        "mirrored": ([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]], images.flip(3)),
        "turned": ([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], torch.rot90(images, 1, (2, 3))),
        "shifted by two": ([[1.0, 0, 2 * 2 / size], [0, 1, 0], [0, 0, 1]], images.roll(-2, 3)),
    }
    for name, (matrix, wanted) in moves.items():
        wanted = wanted[..., inside, inside]
        found = augment.moved(images, torch.tensor([matrix]))[..., inside, inside]
        assert kept <= float((found * wanted).sum() / wanted.square().sum()) < 1.01, name
        if kept > 0.9:
            assert (found - wanted).abs().max() < 0.02, name
    assert torch.equal(augment.moved(images, torch.eye(3)[None]), images)


def test_moves_of_colors_are_what_they_are_called():
    gray = torch.full((1, 3, 2, 2), 0.3)
    colors = torch.rand(1, 3, 2, 2)
    hue = torch.eye(4)
    hue[:3, :3] = augment._hue(2 * pi / 3)
    turned = augment.recolored(colors, hue[None])
    assert any(torch.allclose(turned, colors.roll(k, 1), atol=1e-6) for k in (1, 2)), "a third of the circle"
    assert torch.allclose(augment.recolored(gray, hue[None]), gray, atol=1e-6)


@pytest.mark.parametrize("p", [0.3, pytest.param(1.0, marks=pytest.mark.slow)])
def test_each_move_happens_with_its_probability(p):
    maps = augment.geometry(1500, 16, p, seeded(2))
    still = ((maps - torch.eye(3)).abs().amax(dim=(1, 2)) < 1e-6).double().mean()
    quiet = 1 - p
    # A mirror and a quarter turn leave half and a quarter of the images; two rotations have probability p together.
    expected = (quiet + p / 2) * (quiet + p / 4) * quiet**4 * (1 - p)
    assert float(still) == pytest.approx(expected, abs=0.03 if p < 1 else 1e-9)
    flipped = (torch.linalg.det(maps) < 0).double().mean()
    assert float(flipped) == pytest.approx(p / 2, abs=0.04)
    scales = torch.linalg.det(maps).abs()  # scaling is isotropic: powers of 2^0.4
    assert float(scales.log2().square().mean().sqrt()) == pytest.approx(0.4 * sqrt(p), abs=0.04)


def test_gradients_pass_and_none_is_exact():
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    assert augment.augmented(images, 0.0, seeded(0)) is images
    augment.augmented(images, 0.8, seeded(0)).sum().backward()
    assert images.grad.abs().sum() > 0


def test_the_controller_steers_to_its_target():
    controller = augment.Controller(images=100)
    for logits, p in ((torch.ones(4), 0.16), (-torch.ones(4), 0.0), (torch.tensor([1.0, 1, 1, -1]), 0.0)):
        for _ in range(4):
            controller.observe(logits)
        assert controller.p == pytest.approx(p)
    for _ in range(400):
        controller.observe(torch.ones(4))
    assert controller.p == 1.0
