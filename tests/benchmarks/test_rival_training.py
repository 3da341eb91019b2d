"""The rivals' trainer, and the methods that learn from one image, on tiny networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.rivals import one_image
from benchmarks.rivals.methods import METHODS
from benchmarks.rivals.trainer import Config, FewShot, Subspace, features_of, train_discriminator


def training(tiny, discriminator, name: str, iterations: int = 4, **changes) -> FewShot:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(7)) * 2 - 1
    config = Config(iterations=iterations, batch=2, fisher_samples=3, **changes)
    codes = torch.randn(2, tiny.num_ws, 6, generator=torch.Generator().manual_seed(8))
    return FewShot(tiny, discriminator, images, METHODS[name], config, codes if METHODS[name].subspace else None)


def state(network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, Tensor], network) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("TGAN", "RSSA") else [pytest.mark.slow]) for name in METHODS]
)
def test_every_method_trains_and_repeats(tiny, discriminator, name):
    before = tiny.fingerprint(), state(discriminator)
    runs = [training(tiny, discriminator, name) for _ in range(2)]
    first, second = ([*run] for run in runs)
    assert first == second
    assert len(first) == 4
    assert all(torch.isfinite(torch.tensor([*found.values()])).all() for found in first)
    assert (tiny.fingerprint(), changed(before[1], discriminator)) == (before[0], set())
    images = [run.average(torch.ones(1, 6)) for run in runs]
    assert torch.equal(*images)
    assert not torch.equal(images[0], tiny.synthesis(tiny.mapping(torch.ones(1, 6))))


@pytest.mark.slow
def test_what_each_method_adds(tiny, discriminator):
    terms = {name: {*training(tiny, discriminator, name).step()} for name in METHODS}
    plain = {"discriminator", "generator", "r1", "path"}
    assert terms["TGAN"] == terms["FreezeD"] == terms["TGAN+ADA"] == plain
    assert terms["MineGAN"] == plain - {"path"}, "no path length while the generator rests"
    assert terms["EWC"] == plain | {"ewc"}
    assert terms["CDC"] == plain | {"distance"}
    assert terms["RSSA"] == plain | {"self", "disturbance"}


def test_freezed_keeps_the_blocks_nearest_to_the_image(tiny, discriminator):
    run = training(tiny, discriminator, "FreezeD")
    run.method = replace(run.method, trained_blocks=1)
    before = state(run.discriminator)
    run.step()
    found = {name.split(".")[0] for name in changed(before, run.discriminator)}
    assert found == {"b4"}
    run = training(tiny, discriminator, "TGAN")
    before = state(run.discriminator)
    run.step()
    assert {name.split(".")[0] for name in changed(before, run.discriminator)} == {"b16", "b8", "b4"}


def test_minegan_trains_the_miner_alone_at_first(tiny, discriminator):
    run = training(tiny, discriminator, "MineGAN", iterations=5)
    generator, miner = state(run.trained.generator), state(run.trained.miner)
    run.step()
    assert not changed(generator, run.trained.generator)
    assert changed(miner, run.trained.miner) >= {"codes.0.weight", "codes.2.weight", "seed", "maps.2.weight"}
    assert 0.3 < float(run.trained.miner.const().detach().std()) < 3, "as large as the constant of a trained generator"
    list(run)
    moved = changed(generator, run.trained.generator)
    assert "synthesis.b16.conv1.weight" in moved
    assert "synthesis.b4.const" not in moved, "the miner's map stands in its place"
    ws = torch.randn(1, tiny.num_ws, 6)
    images = run.trained.render(ws)
    with torch.no_grad():
        run.trained.generator.synthesis.b4.const.zero_()
        assert torch.equal(run.trained.render(ws), images)
        run.trained.generator.synthesis.b4.const.copy_(run.trained.miner.const())
    assert torch.allclose(run.trained.generator.synthesis(ws), images, atol=1e-6)


def test_cdc_judges_whole_images_near_anchors_only(tiny, discriminator):
    run = training(tiny, discriminator, "CDC")
    images = torch.rand(2, 3, 16, 16)
    assert run._logits(images, whole=True).shape == (2,)
    patches = run._logits(images, whole=False)
    assert patches.shape == (2, 1, 4, 4)
    assert torch.equal(patches, run.patch_head(run.discriminator.features(images)[1]))
    head = state(run.patch_head)
    run.step()  # the first step is near anchors
    assert not changed(head, run.patch_head)
    run.step()
    assert changed(head, run.patch_head)


def test_the_fisher_information_is_that_of_the_generators_loss(tiny, discriminator):
    """Computed sample by sample, and scaled to a mean of 1."""
    run = training(tiny, discriminator, "EWC")
    random = torch.Generator().manual_seed(0)
    torch.randn(3, 6, generator=random)  # the anchors
    parameters = [*run.trained.generator.parameters()]
    totals = [torch.zeros_like(p) for p in parameters]
    for _ in range(3):
        image = run.trained.generator.synthesis(run.trained.generator.mapping(torch.randn(1, 6, generator=random)))
        loss = torch.log1p(torch.exp(-run.discriminator(image))).mean()
        for total, slope in zip(totals, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            total += 0 if slope is None else slope**2
    mean = torch.cat([t.flatten() for t in totals]).mean()
    for found, total in zip(run.fisher, totals, strict=True):
        assert torch.allclose(found, total / mean, rtol=1e-3, atol=1e-6)


def test_features_are_those_that_leave_each_convolution(tiny):
    shapes = [tuple(f.shape) for f in features_of(tiny, tiny.mapping(torch.zeros(2, 6)))]
    assert shapes == [(2, 8, 4, 4), (2, 8, 8, 8), (2, 8, 8, 8), (2, 6, 16, 16), (2, 6, 16, 16)]


@pytest.mark.slow
def test_a_discriminator_learns_its_own_domain(tiny, discriminator):
    images = torch.rand(8, 3, 16, 16) * 2 - 1
    found = [*train_discriminator(tiny, discriminator, images, 40, Config(batch=4))]
    assert sum(found[-5:]) < sum(found[:5])


# RSSA's subspace, and methods that learn from one image


def test_rssa_draws_codes_towards_the_span_of_the_given_ones():
    codes, ws = torch.randn(3, 12, 8, dtype=torch.float64), torch.randn(2, 12, 8, dtype=torch.float64)
    subspace = Subspace(codes)
    found = subspace(ws)
    shares = [0.0, 0.05, 0.05, 0.05, 0.05, 0.45, 0.45, 0.65, 0.65, 0.85, 0.85, 0.85]
    for n in range(2):
        for layer, share in enumerate(shares):
            span, w = codes[:, layer].T, ws[n, layer]
            inside = span @ torch.linalg.solve(span.T @ span, span.T @ w)
            expected = (1 - share) * w + share * inside * w.norm() / inside.norm()
            assert torch.allclose(found[n, layer], expected, atol=1e-6), layer
    assert Subspace(codes[:, :6])(ws[:, :6]).shape == (2, 6, 8), "generators with few codes"


def test_jojogan_keeps_the_coarse_codes_of_the_image():
    code, other = torch.zeros(1, 18, 2), torch.ones(1, 18, 2)
    assert one_image.swapped(code, other)[0, :, 0].tolist() == [0.0] * 7 + [1.0] * 11


def test_jojogans_loss_is_the_mean_difference_of_features():
    found, wanted = ([torch.randn(1, 2, 4, 4), torch.randn(1, 3, 2, 2)] for _ in range(2))
    parts = [sum(abs(x - y) for x, y in zip(a.flatten(), b.flatten(), strict=True)) / a.numel()
             for a, b in zip(found, wanted, strict=True)]  # fmt: skip
    assert float(one_image.feature_loss(found, wanted)) == pytest.approx(float(sum(parts) / 2), rel=1e-5)


def test_difas_consistency_compares_what_changes_least():
    loss = one_image.Consistency(50)
    seen = []
    for _ in range(52):
        before, after = torch.randn(2, 9, 3), torch.randn(2, 9, 3)
        a, b = (codes[:, :7].reshape(2, 21) for codes in (before, after))
        seen.append((b - a).mean(0))
        change = torch.stack(seen[-50:]).mean(0).abs()
        chosen = sorted(range(21), key=lambda i: float(change[i]))[:12]  # 60 % of 21
        expected = sum(abs(float(b[n, i] - a[n, i])) for n in range(2) for i in chosen) / 42
        assert float(loss(before, after)) == pytest.approx(expected, rel=1e-4)
