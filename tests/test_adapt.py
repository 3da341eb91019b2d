"""The training loop: the parts that change, repeatable runs, and independence of the host's modes."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.models import alive

from nada.adapt import adapt
from nada.clip.directions import text_direction
from nada.clip.loading import load_clip
from nada.errors import NadaError, UsageError
from nada.losses import directional_loss, global_loss
from nada.seeding import seeded
from nada.stylegan2 import GeneratorConfig
from nada.training.config import AdaptConfig


def config(**changes) -> AdaptConfig:
    return AdaptConfig(**{"source": "photo", "target": "sketch", "iterations": 3, "layers": "all"} | changes)


def state(generator):
    return {name: t.clone() for name, t in generator.state_dict().items()}


def test_only_convolutions_of_the_twin_move(tiny, clip):
    before = state(tiny)
    *_, last = adapt(tiny, clip, config())
    assert all(torch.equal(t, before[name]) for name, t in tiny.state_dict().items()), "the base changed"
    for name, tensor in last.generator.state_dict().items():
        trained = ".conv" in name and not name.endswith("noise_const")
        assert torch.equal(tensor, before[name]) != trained, name


def test_each_step_moves_only_the_layers_it_names(tiny, clip):
    run = adapt(tiny, clip, config(layers=2, iterations=4))
    for before, step in zip(iter(lambda: state(run.trained), None), run, strict=False):
        assert len(step.layers) == 2
        moved = {name for name, t in step.generator.state_dict().items() if not torch.equal(t, before[name])}
        assert {".".join(name.split(".")[1:3]) for name in moved} == set(step.layers)


def test_first_loss_is_exactly_one_per_clip(small, clip_folder):
    step = next(adapt(small, load_clip(f"{clip_folder}:1,{clip_folder}:0.5"), config()))
    assert float(step.loss) == 1.5  # equal generators, equal noise: no direction yet


def test_training_lowers_the_loss_of_images_it_has_not_seen(tiny, clip):
    """The loss falls from 1 to 0.53, with a deviation of 0.01 between seeds; 0.8 is far above the mean of three."""
    (model,), after = clip, []
    ws = tiny.mapping(torch.randn(32, 16, generator=seeded(99)))
    before = model.encode_image(tiny.synthesis(ws))
    for seed in range(3):
        run = adapt(tiny, clip, config(iterations=10, learning_rate=0.01, seed=seed, views=0))
        *_, last = run
        embedded = model.encode_image(last.generator.synthesis(ws))
        after.append(float(directional_loss(before, embedded, run.goal.directions[0])))
    assert sum(after) / 3 < 0.8, after


def test_losses_equal_the_formulas_on_the_same_images(small, clip):
    run = adapt(small, clip, config(global_weight=0.5))
    before, after = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32, requires_grad=True)
    (model,) = clip
    losses, gradient = run.objective.losses(before, after)
    direction = text_direction(model, "photo", "sketch")
    expected = directional_loss(model.encode_image(before), model.encode_image(after), direction)
    assert torch.allclose(losses["directional"], expected)
    target = model.encode_text(["sketch"])[0]
    assert torch.allclose(losses["global"], global_loss(model.encode_image(after), target))
    (slope,) = torch.autograd.grad(expected + 0.5 * global_loss(model.encode_image(after), target), after)
    assert torch.allclose(gradient, slope, rtol=1e-4, atol=1e-6 * float(slope.abs().max()))
    step = next(run)
    assert torch.allclose(step.loss, step.losses["directional"] + 0.5 * step.losses["global"])


@pytest.mark.parametrize("layers", [pytest.param("all", marks=pytest.mark.slow), 2])
def test_equal_seeds_give_equal_runs(tiny, clip, layers):
    runs = [[*adapt(tiny, clip, config(seed=s, layers=layers, mixing=0.5))][-1].generator for s in (1, 1, 2)]
    assert runs[0].fingerprint() == runs[1].fingerprint()
    assert runs[0].fingerprint() != runs[2].fingerprint()


def test_twins_see_the_same_codes_and_noise(tiny, clip, monkeypatch):
    run = adapt(tiny, clip, config(mixing=1.0))
    monkeypatch.setattr(run.trainer, "step", lambda gradients: None)
    seen, losses = [], run.objective.losses
    monkeypatch.setattr(run.objective, "losses", lambda *given: seen.append(given[:2]) or losses(*given))
    list(run)
    for before, after in seen:
        assert torch.allclose(before, after, atol=1e-4), "the pair differs in more than its weights"
    codes = run.sampler.codes(tiny.mapping, run.sampler.batch(1, mixing=1.0))[0]
    assert len({tuple(code.tolist()) for code in codes}) == 2, "mixing 1 must mix two codes"


def test_works_under_inference_mode_with_inference_tensors(clip_folder):
    """ComfyUI runs nodes in inference mode: everything is made and used inside it."""
    with torch.inference_mode():
        generator = alive(GeneratorConfig(16, (8, 8, 8), 8, 8, mapping_layers=1))
        ensemble = load_clip(str(clip_folder))
        steps = list(adapt(generator, ensemble, config(layers=2)))
        assert torch.is_inference_mode_enabled()
    assert generator.synthesis.b4.const.is_inference()
    assert not steps[-1].generator.synthesis.b4.const.is_inference()
    outside = [*adapt(alive(generator.config), load_clip(str(clip_folder)), config(layers=2))]
    assert steps[-1].generator.fingerprint() == outside[-1].generator.fingerprint()


def test_consumer_keeps_its_own_grad_mode(tiny, clip):
    with torch.no_grad():
        for _ in adapt(tiny, clip, config()):
            assert not torch.is_grad_enabled()


def test_stopping_early_keeps_a_usable_generator_with_its_recipe(tiny, clip):
    for step in adapt(tiny, clip, config(iterations=100)):
        if step.iteration == 2:
            break
    (recipe,) = step.generator.metadata["adaptations"]
    assert json.loads(json.dumps(recipe)) == recipe
    assert recipe["iterations_done"] == 2
    assert recipe["target"] == "sketch"
    assert recipe["base"] == tiny.fingerprint()
    assert not any(p.requires_grad for p in step.generator.parameters())
    again = next(adapt(step.generator, clip, config(target="painting")))
    assert [r["target"] for r in again.generator.metadata["adaptations"]] == ["sketch", "painting"]
    assert len(step.generator.metadata["adaptations"]) == 1


def test_own_templates_replace_the_papers(small, clip):
    (model,) = clip
    run = adapt(small, clip, config(templates="a face, {} | {}"))
    assert torch.equal(run.goal.directions[0], text_direction(model, "photo", "sketch", ["a face, {}", "{}"]))
    assert not torch.allclose(run.goal.directions[0], text_direction(model, "photo", "sketch"), atol=1e-3)


def test_all_layers_cost_no_selection(small, clip, monkeypatch):
    count = len(small.synthesis.conv_layers)
    for layers in ("all", count, small.num_ws):
        run = adapt(small, clip, config(layers=layers))
        monkeypatch.setattr(run, "select_layers", lambda count: pytest.fail("layers were selected"))
        assert next(run).layers == small.synthesis.conv_layers


def test_selection_every_n_steps(tiny, clip, monkeypatch):
    run = adapt(tiny, clip, config(layers=2, select_every=3, iterations=7))
    calls, select = [], run.select_layers
    monkeypatch.setattr(run, "select_layers", lambda count: calls.append(run.iteration) or select(count))
    list(run)
    assert calls == [0, 3, 6]


def test_auto_is_two_thirds_of_the_codes(small, clip):
    assert config(layers="auto").layer_count(small) == 5  # the generator has 8 codes
    assert len(next(adapt(small, clip, config(layers="auto"))).layers) == 5


def test_default_rate_grows_as_the_generator_narrows(small):
    assert config().effective_learning_rate(small) == pytest.approx(0.0016 * (512 / 24) ** 0.5)
    assert config(learning_rate=0.1).effective_learning_rate(small) == 0.1
    wide = alive(GeneratorConfig(4, (512,), 8, 8, mapping_layers=1))
    assert config().effective_learning_rate(wide) == pytest.approx(0.0016)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"iterations": -1}, "iterations is -1"),
        ({"layers": 0}, "'auto', 'all' or a number"),
        ({"layers": "some"}, "'auto', 'all' or a number"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"mixing": 1.5}, r"in 0\.\.1"),
        ({"directional_weight": 0.0}, "must count"),
        ({"directional_weight": 0.0, "angle_weight": 1.0}, "must count"),
        ({"angle_weight": 1.0, "batch": 1}, "batch or views to at least 2"),
        ({"patch_weight": -1.0}, "patch_weight is -1"),
        ({"image_share": 1.5}, r"image_share is 1.5; it must be in 0\.\.1"),
        ({"layers": "b8.conv9"}, "names such as"),
        ({"templates": "a photo of {}|a painting"}, "'a painting' has no {}"),
    ],
)
def test_wrong_numbers_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        config(**changes)


def test_what_does_not_fit_is_refused_before_training(small, clip):
    with pytest.raises(UsageError, match="layers is 9; the most for a 32 px generator is 8"):
        adapt(small, clip, config(layers=9))
    with pytest.raises(UsageError, match="tokens long"):
        adapt(small, clip, config(target="very " * 60))
    with pytest.raises(UsageError, match="mean the same"):
        adapt(small, clip, config(target="photo"))


@pytest.mark.parametrize("channels", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_grey_and_transparent_generators_adapt(clip, channels):
    base = alive(GeneratorConfig(8, (8, 8), 8, 8, mapping_layers=1, img_channels=channels))
    *_, last = adapt(base, clip, config(layers=2, train_torgb=True))
    assert last.generator.fingerprint() != base.fingerprint()


def test_divergence_is_reported(tiny, clip):
    run = adapt(tiny, clip, config(iterations=5))
    next(run)
    with torch.no_grad():
        run.trained.synthesis.b8.conv0.bias.fill_(1e38)
    with pytest.raises(NadaError, match="not finite"):
        list(run)


def test_generators_with_classes_are_shown_all_of_them(clip, monkeypatch):
    generator, seen = alive(GeneratorConfig(16, (8, 8, 8), z_dim=6, w_dim=6, mapping_layers=2, c_dim=3)), set()
    mapping = generator.mapping.forward
    monkeypatch.setattr(
        generator.mapping, "forward", lambda z, label: seen.update(label.argmax(1).tolist()) or mapping(z, label=label)
    )
    [*adapt(generator, clip, config(layers=2, iterations=2))]
    assert seen == {0, 1, 2}
