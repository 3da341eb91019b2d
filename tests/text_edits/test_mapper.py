"""The latent mapper: its arithmetic, the codes that it preserves, its training, and its files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from helpers.models import alive
from safetensors import safe_open
from safetensors.torch import save_file

import nada
from nada.clip.loading import load_clip
from nada.errors import CheckpointError, NadaError, UsageError
from nada.losses import global_loss
from nada.seeding import seeded
from nada.stylegan2 import GeneratorConfig
from nada.text_edits import LatentMapper, MapperConfig, load_mapper, save_mapper, train_mapper
from nada.text_edits.objective import text_embedding

CODES = {"coarse": range(4), "middle": range(4, 8), "fine": range(8, 10)}


def config(**changes) -> MapperConfig:
    return MapperConfig(**{"views": 0, "target": "sketch", "iterations": 3, "batch": 2} | changes)


@pytest.fixture
def mapper() -> LatentMapper:
    """A mapper for ten codes of twelve features, without zeros."""
    mapper = LatentMapper(10, 12).draw(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for name, parameter in mapper.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.randn(12) * 30)
    return mapper.requires_grad_(False)


def independent(mapper: LatentMapper, ws: np.ndarray) -> np.ndarray:
    """The forward pass in float64, code by code."""
    result = ws.astype(np.float64)
    for band, codes in CODES.items():
        for i in codes:
            for n, code in enumerate(ws.astype(np.float64)[:, i]):
                x = code / np.sqrt(np.mean(code**2) + 1e-8)
                for layer in mapper.networks[band]:
                    weight, bias = (p.double().numpy() for p in (layer.weight, layer.bias))
                    x = 0.01 * (weight @ x / np.sqrt(12) + bias)
                    x = np.sqrt(2) * np.where(x > 0, x, 0.2 * x)
                result[n, i] += 0.1 * x
    return result


def test_forward_equals_an_independent_computation(mapper):
    ws = torch.randn(3, 10, 12)
    moved = mapper(ws).numpy()
    np.testing.assert_allclose(moved, independent(mapper, ws.numpy()), atol=2e-6)
    assert np.abs(moved - ws.numpy()).mean() > 0.02


def test_equal_codes_move_equally_and_by_their_magnitudes(mapper):
    """The authors' normalization over layers would leave only the signs of equal codes."""
    w = torch.randn(1, 1, 12)
    moved = mapper(w.repeat(1, 10, 1)) - w
    assert torch.equal(moved[:, 0], moved[:, 3])
    louder = w * torch.linspace(0.5, 2, 12)
    assert not torch.allclose(mapper(louder.repeat(1, 10, 1)) - louder, moved, atol=1e-3)


@pytest.mark.parametrize("bands", [("coarse",), ("middle",), ("fine",), ("fine", "coarse")])
def test_bands_move_only_their_codes(bands):
    mapper = LatentMapper(10, 12, bands)
    ws = torch.randn(2, 10, 12)
    moved = [i for i in range(10) if not torch.equal(mapper(ws)[:, i], ws[:, i])]
    assert moved == sorted(i for band in bands for i in CODES[band])
    assert set(mapper.networks) == set(bands)


def test_strength_is_linear_and_nothing_at_zero(mapper):
    ws = torch.randn(2, 10, 12)
    assert torch.equal(mapper(ws, 0.0), ws)
    assert torch.allclose(mapper(ws, -0.5) - ws, -0.5 * (mapper(ws) - ws), atol=1e-6)
    mapper.scale = 0.0
    assert torch.equal(mapper(ws), ws)


def test_a_small_generator_has_no_fine_band():
    assert LatentMapper(8, 12).bands == ("coarse", "middle")
    with pytest.raises(UsageError, match="8 codes has none in the band 'fine'"):
        LatentMapper(8, 12, ("fine",))
    for bands in ((), ("coarse", "low"), ("coarse", "coarse")):
        with pytest.raises(UsageError, match="bands are"):
            LatentMapper(8, 12, bands)


def test_codes_of_another_generator_are_refused(mapper):
    with pytest.raises(UsageError, match=r"takes \[N, 10, 12\]"):
        mapper(torch.randn(2, 8, 12))


def test_one_step_equals_the_formulas_in_float64(small, clip):
    """Losses, and the gradient of every parameter, compared with the definitions written out."""
    run = train_mapper(small, clip, config(l2_weight=0.7, norm_weight=0.3, clip_weight=1.1))
    ws = run.sample_codes(3)
    losses = run.losses(ws)
    sum(run.weights[name] * loss for name, loss in losses.items()).backward()
    gradients = {name: p.grad.clone() for name, p in run.mapper.named_parameters()}

    (model,) = clip
    run.objective.synthesis.double(), model.double(), run.mapper.double().zero_grad()
    encode = lambda images: model.model.encode_image(((resize(images) + 1) / 2 - model.mean) / model.std)
    resize = lambda x: x if x.shape[-1] == model.size[0] else pytest.fail("the test's CLIP reads 32 px")
    before, w = encode(run.objective.synthesis(ws.double())), ws.double()
    moved = run.mapper(w)
    after = encode(run.objective.synthesis(moved))
    text = run.objective.targets[0].double()
    cosine = (after * text).sum(1) / (after.square().sum(1).sqrt() * text.square().sum().sqrt())
    lengths = [e.square().sum(1).sqrt() for e in (before, after)]
    tenth = lengths[0].mean() / 10
    expected = {
        "clip": (1 - cosine).sum() / 3,
        "norm": (((lengths[0] - lengths[1]) / tenth) ** 2).sum() / 3,
        "l2": ((moved - w) ** 2).sum() / moved.numel(),
    }
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    (1.1 * expected["clip"] + 0.3 * expected["norm"] + 0.7 * expected["l2"]).backward()
    for name, p in run.mapper.named_parameters():
        error = (gradients[name] - p.grad).norm() / p.grad.norm()
        assert error < 1e-3, name


def test_training_leads_codes_it_has_not_seen_to_the_target(tiny, clip):
    """From a CLIP loss of 0.813 to 0.776, plus or minus 0.002; halfway is 10 deviations of the mean of two seeds."""
    (model,), after = clip, []
    ws = tiny.mapping(torch.randn(32, 16, generator=seeded(99)), 0.7)
    distance = lambda ws: float(global_loss(model.encode_image(tiny.synthesis(ws)), model.encode_text(["sketch"])[0]))
    for seed in range(2):
        *_, last = train_mapper(tiny, clip, config(iterations=20, l2_weight=0.01, seed=seed))
        after.append(distance(last.mapper(ws).detach()))
    assert sum(after) / 2 < distance(ws) - 0.018, after


def test_the_step_size_falls_to_zero_along_a_cosine(small, clip):
    run = train_mapper(small, clip, config(iterations=5, learning_rate=0.3))
    sizes = []
    for _ in range(5):
        sizes.append(run.optimizer.param_groups[0]["lr"])
        next(run)
    assert sizes == pytest.approx([0.15 * (1 + math.cos(math.pi * i / 5)) for i in range(5)])
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_the_generator_stays_and_seeds_repeat(small, clip):
    before = {name: t.clone() for name, t in small.state_dict().items()}
    runs = [[*train_mapper(small, clip, config(seed=s, views=1))][-1].mapper.state_dict() for s in (1, 1, 2)]
    assert all(torch.equal(t, before[name]) for name, t in small.state_dict().items())
    assert all(torch.equal(t, runs[1][name]) for name, t in runs[0].items())
    assert not all(torch.equal(t, runs[2][name]) for name, t in runs[0].items())


def test_works_under_inference_mode_with_inference_tensors(clip_folder):
    with torch.inference_mode():
        generator = alive(GeneratorConfig(16, (8, 8, 8), 8, 8, mapping_layers=1))
        steps = [*train_mapper(generator, load_clip(str(clip_folder)), config(bands="coarse"))]
        assert torch.is_inference_mode_enabled()
    assert not any(p.is_inference() for p in steps[-1].mapper.parameters())


def test_losses_without_weight_cost_nothing(small, clip, monkeypatch):
    run = train_mapper(small, clip, config(l2_weight=0.0, norm_weight=0.0))
    images, synthesize = [], run.objective.synthesis.forward
    monkeypatch.setattr(run.objective.synthesis, "forward", lambda ws: images.append(len(ws)) or synthesize(ws))
    assert set(next(run).losses) == {"clip"}
    assert len(images) == 1


def test_text_embedding_is_the_mean_over_templates(clip):
    (model,) = clip
    one, two = (text_embedding(model, "pig", [t]) for t in ("a {}", "the {}"))
    assert float(one.norm()) == pytest.approx(1)
    assert torch.allclose(text_embedding(model, "pig", ["a {}", "the {}"]), (one + two) / 2, atol=1e-6)


def test_files_give_back_the_same_mapper(small, clip, tmp_path):
    *_, step = train_mapper(small, clip, config(bands="coarse"))
    path = tmp_path / "sketch.safetensors"
    save_mapper(step.mapper, path)
    loaded = load_mapper(path)
    ws = nada.sample_latents(small, 2)
    assert torch.equal(loaded(ws), step.mapper(ws).detach())
    assert not any(p.requires_grad for p in loaded.parameters())
    recipe = loaded.metadata
    assert recipe == json.loads(json.dumps(recipe)) == step.mapper.metadata
    assert (recipe["target"], recipe["iterations_done"], recipe["base"]) == ("sketch", 3, small.fingerprint())
    with pytest.raises(UsageError, match="takes"):
        loaded(torch.zeros(1, 10, 20))


def test_other_files_are_refused(small, mapper, tmp_path):
    nada.save_generator(small, tmp_path / "generator.safetensors")
    save_mapper(mapper, tmp_path / "mapper.safetensors")
    whole = (tmp_path / "mapper.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "text.safetensors").write_text("no tensors here")
    changes = [("w_dim", "12", "13"), ("w_dim", "12", "0 "), ("w_dim", "12", "-1"), ("format", "1", "2")]
    changes += [("scale", "0.1", "NaN"), ("num_ws", "10", "-9")]
    for key, *values in changes:
        old, new = (f'\\"{key}\\": {value}'.encode() for value in values)
        assert old in whole
        (tmp_path / f"changed{len(list(tmp_path.iterdir()))}.safetensors").write_bytes(whole.replace(old, new))
    with safe_open(tmp_path / "mapper.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = mapper.state_dict() | {"networks.coarse.0.bias": torch.full([12], math.nan)}
    save_file(tensors, tmp_path / "nan.safetensors", metadata)
    (tmp_path / "mapper.safetensors").unlink()
    for path in tmp_path.iterdir():
        with pytest.raises(CheckpointError, match=path.stem):
            load_mapper(path)
    with pytest.raises(CheckpointError, match="no file"):
        load_mapper(tmp_path / "nowhere.safetensors")
    save_mapper(LatentMapper(8, 4), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="a latent mapper"):
        nada.load_generator(tmp_path / "m.safetensors")


def test_metadata_must_be_plain_data(mapper, tmp_path):
    mapper.metadata = {"tensor": torch.zeros(1)}
    with pytest.raises(NadaError, match="metadata"):
        save_mapper(mapper, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": " "}, "target text is empty"),
        ({"iterations": 0}, "iterations is 0"),
        ({"psi": 1.5}, r"psi is 1.5; it must be in 0\.\.1"),
        ({"clip_weight": 0.0}, "clip_weight is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"scale": 0.0}, "scale is 0"),
        ({"templates": "a photo"}, "'a photo' has no {}"),
    ],
)
def test_wrong_values_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        config(**changes)


def test_what_does_not_fit_is_refused_before_training(small, clip):
    with pytest.raises(UsageError, match="none in the band"):
        train_mapper(small, clip, config(bands="fine"))
    with pytest.raises(UsageError, match="tokens long"):
        train_mapper(small, clip, config(target="very " * 60))


def test_divergence_is_reported(small, clip):
    run = train_mapper(small, clip, config())
    next(run)
    with torch.no_grad():
        run.mapper.networks["coarse"][0].bias.fill_(float("nan"))
    with pytest.raises(NadaError, match="not finite"):
        list(run)


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), -1e30, 10.1])
def test_odd_strengths_are_refused(mapper, strength):
    with pytest.raises(UsageError, match=r"strength is .*; it must be in -10\.\.10"):
        mapper(torch.zeros(1, 10, 12), strength)
