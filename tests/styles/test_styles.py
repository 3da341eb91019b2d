"""Styles: the difference that they keep, applying them, and the contents of their files."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.models import alive, moved

from nada import (
    AdaptConfig,
    Generator,
    GeneratorConfig,
    NadaError,
    Style,
    UsageError,
    apply_style,
    generate,
    preview_of,
    preview_picture,
    sample_latents,
)
from nada.styles.low_rank import LowRank, compressed, truncated

CONV = "synthesis.b16.conv1.weight"


def largest_difference(a: Generator, b: Generator) -> float:
    theirs = b.state_dict()
    return max(float((t.double() - theirs[n].double()).abs().max()) for n, t in a.state_dict().items())


@pytest.fixture
def adapted(small):
    return moved(small)


def test_full_precision_gives_the_adaptation_back(small, adapted):
    style = Style.between(small, adapted, dtype=torch.float32)
    result = apply_style(small, style)
    before, after = small.state_dict(), adapted.state_dict()
    for name, tensor in result.state_dict().items():
        near = (after[name] / before[name] - 1.25).abs() < 0.7  # a difference within a factor of 2 is exact (Sterbenz)
        assert torch.equal(tensor[near], after[name][near]), name
        assert (tensor - after[name]).abs().max() <= 2**-24 * (after[name] - before[name]).abs().max(), name


def test_half_precision_is_the_default_and_invisible(small, adapted):
    style = Style.between(small, adapted)
    assert {delta.dtype for delta in style.deltas.values()} == {torch.float16}
    assert 0 < style.error < 2**-11
    ws = sample_latents(small, 4)
    difference = generate(apply_style(small, style), ws) - generate(adapted, ws)
    assert (generate(small, ws) - generate(adapted, ws)).abs().max() > 0.2
    assert difference.abs().max() * 127.5 < 0.5


def test_numbers_beyond_half_precision_stay_whole(small):
    adapted = copy.deepcopy(small)
    adapted.synthesis.b8.conv0.bias += 1e6
    adapted.synthesis.b8.conv1.bias += 1e-6
    style = Style.between(small, adapted)
    assert {delta.dtype for delta in style.deltas.values()} == {torch.float32}
    assert style.error < 1e-6


@pytest.mark.parametrize("bands", [{"strength": 0}, {"coarse": 0, "middle": 0, "fine": 0}], ids=str)
def test_without_strength_it_is_the_base_bit_by_bit(small, adapted, bands):
    result = apply_style(small, Style.between(small, adapted), **bands)
    assert result.fingerprint() == small.fingerprint()
    assert result is not small
    pairs = zip(result.parameters(), small.parameters(), strict=True)
    assert all(one is not other and one.data_ptr() == other.data_ptr() for one, other in pairs), "memory is shared"


def test_nothing_given_is_changed_and_training_the_result_leaves_the_base(small, adapted):
    fingerprint, metadata = small.fingerprint(), copy.deepcopy(small.metadata)
    style = Style.between(small, moved(small, "b8"))
    with torch.inference_mode():  # as ComfyUI runs every node
        result = apply_style(small, Style.between(small, adapted), 0.5)
        result = apply_style(result, style)
    assert not any(tensor.is_inference() for tensor in result.state_dict().values())
    trained = copy.deepcopy(result).requires_grad_(True)
    trained(torch.randn(1, 16)).square().mean().backward()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 1
    result.double()
    assert small.fingerprint() == fingerprint
    assert small.metadata == metadata
    assert small.mapping.w_avg.dtype == torch.float32


def test_strength_is_linear_and_reaches_beyond(small, adapted):
    style = Style.between(small, adapted, dtype=torch.float32)
    for strength in (-1.0, 0.3, 2.0):
        result = apply_style(small, style, strength).state_dict()
        for name, before in small.state_dict().items():
            expected = before.double() + strength * (adapted.state_dict()[name].double() - before.double())
            assert torch.allclose(result[name].double(), expected, rtol=0, atol=1e-6)


def test_styles_add_up_in_any_order(small):
    first, second = (Style.between(small, moved(small, seed=seed)) for seed in (1, 2))
    one = apply_style(apply_style(small, first, 0.5), second, 0.7)
    other = apply_style(apply_style(small, second, 0.7), first, 0.5)
    assert largest_difference(one, other) < 1e-6
    assert largest_difference(one, small) > 0.1
    assert [(s["name"], s["strength"]) for s in one.metadata["styles"]] == [("style", 0.5), ("style", 0.7)]


def test_bands_are_parts_of_the_whole():
    base = alive(GeneratorConfig(64, (12, 12, 10, 8, 6), z_dim=16, w_dim=20, mapping_layers=2))
    adapted = moved(base)
    with torch.no_grad():
        adapted.mapping.fc0.weight.add_(1.0)
        adapted.mapping.w_avg.add_(1.0)
    style = Style.between(base, adapted, dtype=torch.float32)
    off = {"coarse": 0.0, "middle": 0.0, "fine": 0.0}
    parts = {band: apply_style(base, style, **{**off, band: 1.0}).state_dict() for band in off}
    blocks = {"coarse": (".b4.", ".b8."), "middle": (".b16.", ".b32."), "fine": (".b64.",)}
    for name in ("mapping.fc0.weight", "mapping.w_avg"):  # drives all bands, so each contributes a third
        thirds = [part[name] - base.state_dict()[name] for part in parts.values()]
        assert all(torch.allclose(third, torch.tensor(1 / 3), atol=1e-4) for third in thirds)
    for name, before in base.state_dict().items():
        total = sum(part[name].double() - before.double() for part in parts.values())
        assert torch.allclose(total, adapted.state_dict()[name].double() - before.double(), atol=1e-4), name
        for band, part in parts.items():
            if name.startswith("synthesis.") and name in style.deltas:
                inside = any(block in name for block in blocks[band])
                assert torch.equal(part[name], before) != inside, (band, name)


def test_only_what_changed_is_kept(small):
    style = Style.between(small, moved(small, "affine.bias"))
    assert style.kind == "stylespace"
    assert all(name.endswith(".affine.bias") for name in style.deltas)
    channels = sum(layer.affine.bias.numel() for layer in map(small.synthesis.layer, small.synthesis.latent_of))
    assert style.size == 2 * channels
    assert Style.between(small, moved(small, ".affine.")).kind == "affine"
    assert Style.between(small, moved(small)).kind == "weights"


def test_noise_and_a_reestimated_average_are_not_part_of_it(small):
    adapted = moved(small, "bias")
    adapted.mapping.w_avg += 0.1
    adapted.synthesis.b8.conv1.noise_const += 1
    style = Style.between(small, adapted)
    assert all(name.endswith("bias") for name in style.deltas)


@pytest.mark.parametrize("shape", [(20, 90), (90, 20)], ids=str)
def test_truncation_loses_the_tail_of_the_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    singular = np.linalg.svd(matrix.numpy(), compute_uv=False)
    for rank in (1, 7, 20):
        up, down = truncated(matrix, rank)
        assert (up.shape, down.shape) == ((shape[0], rank), (rank, shape[1]))
        lost = float((matrix - up @ down).square().sum())
        assert lost == pytest.approx(float((singular[rank:] ** 2).sum()), rel=1e-9, abs=1e-9)
        assert up.norm(dim=0).tolist() == pytest.approx(down.norm(dim=1).tolist())


def test_the_error_of_a_style_is_the_tail_of_its_matrices(wide):
    adapted, rank = moved(wide), 3
    style = Style.between(wide, adapted, rank=rank, dtype=torch.float32)
    assert {name for name, delta in style.deltas.items() if isinstance(delta, LowRank)} == {
        f"synthesis.b{layer}.weight" for layer in ("4.conv1", "8.conv0", "8.conv1", "16.conv0", "16.conv1")
    }
    lost = whole = 0.0
    for name, after in adapted.state_dict().items():
        delta = (after.double() - wide.state_dict()[name].double()).numpy()
        whole += float((delta**2).sum())
        if name in style.deltas and isinstance(style.deltas[name], LowRank):
            lost += float((np.linalg.svd(delta.reshape(len(delta), -1), compute_uv=False)[rank:] ** 2).sum())
    assert style.error == pytest.approx((lost / whole) ** 0.5, rel=1e-5)
    assert Style.between(wide, adapted, rank=20, dtype=torch.float32).error < style.error


def test_low_rank_adaptations_are_found_and_stored_small(wide):
    adapted, rng = copy.deepcopy(wide), torch.Generator().manual_seed(1)
    weight = adapted.synthesis.b16.conv1.weight
    product = torch.randn(48, 4, generator=rng) @ torch.randn(4, 432, generator=rng) * 0.05
    weight += product.reshape(weight.shape)  # rounded to the precision of the sum, as by merging
    style = Style.between(wide, adapted, dtype=torch.float32)
    assert style.kind == "low rank"
    assert style.deltas[CONV].up.shape == (48, 4)
    assert style.error < 1e-6
    assert (apply_style(wide, style).synthesis.b16.conv1.weight - weight).abs().max() < 1e-6
    assert Style.between(wide, moved(wide, "b16.conv1")).kind == "weights", "full rank was mistaken for low rank"


def test_compression_finds_the_rank_of_the_signal():
    rng = torch.Generator().manual_seed(0)
    signal = torch.randn(90, 5, generator=rng, dtype=torch.float64) @ torch.randn(5, 200, generator=rng).double()
    noise = 1e-6 * torch.randn(90, 200, generator=rng, dtype=torch.float64)
    for matrix in (signal + noise, (signal + noise).T):
        up, down = compressed(matrix, 1e-6)
        assert up.shape[1] == 5
        assert (up @ down - matrix).square().mean().sqrt() <= 1e-6
    assert compressed(signal + noise, 1e-8) is None
    assert compressed(torch.randn(90, 200, generator=rng, dtype=torch.float64), 1e-3) is None


def test_a_style_without_a_recipe_says_so(small, adapted):
    with pytest.raises(UsageError, match="has no recipe"):
        AdaptConfig.from_style(Style.between(small, adapted))
    strange = Style("x", {"a": torch.ones(1)}, {}, recipe={"iterations_done": 3})
    with pytest.raises(UsageError, match="no source and no target"):
        AdaptConfig.from_style(strange)


def test_a_sibling_takes_it_with_a_warning(small, adapted, caplog):
    style, sibling = Style.between(small, adapted, dtype=torch.float32), moved(small, seed=9)
    with caplog.at_level(logging.WARNING):
        result = apply_style(sibling, style)
    assert "made for another generator" in caplog.text
    assert "made for another generator" in result.metadata["notes"][-1]
    expected = sibling.synthesis.b8.conv1.weight + adapted.synthesis.b8.conv1.weight - small.synthesis.b8.conv1.weight
    assert torch.allclose(result.synthesis.b8.conv1.weight, expected, atol=1e-6)


def test_its_base_its_base_with_styles_and_its_adaptations_are_no_siblings(small, adapted, caplog):
    style = Style.between(small, adapted)
    with caplog.at_level(logging.WARNING):
        twice = apply_style(apply_style(small, style, 0.5), style, 0.5)
        adapted.metadata["adaptations"] = [{"base": small.fingerprint()}]
        apply_style(adapted, style, -1)
    assert not caplog.records
    assert "notes" not in twice.metadata
    assert {entry["onto"] for entry in twice.metadata["styles"]} == {small.fingerprint()}


def test_metadata_of_strangers_does_no_harm(small, adapted):
    style = Style.between(small, adapted)
    small.metadata |= {"styles": 5, "adaptations": [None, "x"]}
    result = apply_style(small, style)
    assert [entry["onto"] for entry in result.metadata["styles"]] == [small.fingerprint()]
    adapted.metadata["adaptations"] = "x"
    assert Style.between(small, adapted).recipe is None


def test_other_shapes_are_refused_with_both_sizes(small, wide, adapted):
    style = Style.between(small, adapted)
    with pytest.raises(
        UsageError, match=r"32 px, and this generator has 16 px.*\[24, 4, 4\] there and \[48, 4, 4\] here"
    ):
        apply_style(wide, style)
    with pytest.raises(UsageError, match=r"different shapes \(32 and 16 px\)"):
        Style.between(small, wide)
    taller = alive(GeneratorConfig(16, (24, 20, 16), z_dim=16, w_dim=20, mapping_layers=2))
    with pytest.raises(UsageError, match=r"synthesis\.b32\..* missing here"):
        apply_style(taller, style)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"strength": 2.1}, "strength is 2.1"), ({"strength": float("nan")}, "strength is nan"), ({"fine": -3}, "fine")],
)
def test_factors_out_of_range(small, adapted, options, words):
    with pytest.raises(UsageError, match=words):
        apply_style(small, Style.between(small, adapted), **options)


def test_nothing_to_keep_and_what_cannot_be_kept(small, adapted):
    with pytest.raises(UsageError, match="same weights"):
        Style.between(small, copy.deepcopy(small))
    with pytest.raises(UsageError, match="rank is 0"):
        Style.between(small, adapted, rank=0)
    with pytest.raises(UsageError, match="dtype"):
        Style.between(small, adapted, dtype=torch.int8)
    adapted.synthesis.b8.conv1.bias[0] = float("nan")
    with pytest.raises(NadaError, match="not finite"):
        Style.between(small, adapted)


def recorded(generator, **entries):
    """A copy of a generator with entries of its metadata."""
    copied = copy.deepcopy(generator)
    copied.metadata |= entries
    return copied


def test_a_style_has_the_name_and_recipe_of_what_changed(small):
    """An edit of an adapted generator is not its adaptation, although both generators record that."""
    sketch = {"source": "photo", "target": "sketch", "base": small.fingerprint()}
    adapted = recorded(moved(small), adaptations=[sketch])
    style = Style.between(small, adapted)
    assert (style.name, style.recipe, style.notes) == ("sketch", sketch, [])
    recipe = {"target": "x", "base": adapted.fingerprint()}
    edit = replace(Style.between(adapted, moved(adapted, seed=7)), name="black dog", recipe=recipe)
    edited = apply_style(adapted, edit)
    found = Style.between(adapted, edited, fallback="file")
    assert (found.name, found.recipe, found.notes) == ("black dog", recipe, [])
    twice = Style.between(adapted, apply_style(edited, edit), fallback="file")
    assert (twice.name, twice.recipe) == ("file", None)
    by_hand = Style.between(adapted, moved(adapted, seed=8), fallback="file")
    assert (by_hand.name, by_hand.recipe, by_hand.notes) == ("file", None, [])


def test_a_preview_shows_a_change_of_the_mapping_network(small):
    adapted = copy.deepcopy(small)
    adapted.mapping.fc0.weight.mul_(-1)
    picture = preview_picture(preview_of(small, adapted))
    rows = np.asarray(picture.convert("L"), float)
    before, after = np.array_split(rows, 2)
    assert np.abs(before - after[: len(before)]).mean() > 5
