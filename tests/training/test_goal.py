"""The goals of texts and style images: directions by their formulas, chosen sources, and recipes that suffice."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.models import alive

from nada import load_generator
from nada.adapt import adapt
from nada.clip.directions import text_direction
from nada.clip.features import style_features
from nada.clip.loading import load_clip
from nada.clip.prompts import METHODS, prompt_templates
from nada.errors import NadaError, UsageError
from nada.seeding import seeded
from nada.stylegan2 import GeneratorConfig
from nada.training.config import AdaptConfig
from nada.training.goal import (
    MEDIA,
    SAMPLES,
    STYLES,
    SUBJECTS,
    Goal,
    guess_source,
    make_goal,
    middle_of_shape,
    sample_images,
    style_of,
)


def config(**changes) -> AdaptConfig:
    return AdaptConfig(**{"source": "photo", "target": "sketch", "iterations": 2, "layers": "all"} | changes)


def rows(x):
    x = x.detach().double().numpy()
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def normal(x):
    return x / np.linalg.norm(x)


@pytest.fixture
def images():
    return torch.rand(3, 3, 40, 40, generator=seeded(5)) * 2 - 1


def test_one_text_is_the_papers_direction(small, clip):
    (model,) = clip
    goal = make_goal(small, clip, config())
    assert torch.allclose(goal.directions[0], text_direction(model, "photo", "sketch"), atol=1e-6)
    assert np.allclose(goal.targets[0], rows(model.encode_text(["sketch"])[0]), atol=1e-6)


def test_several_texts_are_blended_by_their_weights(small, clip):
    (model,) = clip
    goal = make_goal(small, clip, config(target="sketch:3 | oil painting: 1"))
    ends = [text_direction(model, "photo", text).double().numpy() for text in ("sketch", "oil painting")]
    assert np.allclose(goal.directions[0], normal(0.75 * ends[0] + 0.25 * ends[1]), atol=1e-6)
    texts = [rows(model.encode_text([text])[0]) for text in ("sketch", "oil painting")]
    assert np.allclose(goal.targets[0], 0.75 * texts[0] + 0.25 * texts[1], atol=1e-6)
    assert config(target="a | b").targets() == {"a": 0.5, "b": 0.5}
    assert config(target="16:9").targets() == {"16:9": 1.0}
    assert config(target="at 16:9 :2 | b:6").targets() == {"at 16:9": 0.25, "b": 0.75}
    assert config(target="two\nlines :1 | b").targets() == {"two\nlines": 0.5, "b": 0.5}


@pytest.mark.parametrize("target", ["a | ", "a:0 | b", "a:-1 | b", "| b", "a:1e999 | b", "a:1.2.3 | b"])
def test_wrong_blends_are_refused(target):
    with pytest.raises(UsageError, match="target"):
        config(target=target)


def test_style_images_give_the_direction_from_the_generators_own(small, clip, images):
    (model,) = clip
    goal = make_goal(small, clip, config(source="", target="", seed=3), images)
    z = torch.randn(SAMPLES, 16, generator=seeded(3))
    own = rows(model.encode_image(small.synthesis(small.mapping(z), "const"))).mean(axis=0)
    style = rows(model.encode_image(images)).mean(axis=0)
    assert np.allclose(goal.directions[0], normal(style - own), atol=1e-5)
    assert np.allclose(goal.targets[0], normal(style), atol=1e-5), "layers are chosen by the images, not by a text"
    assert goal.source == ""


def test_of_style_images_that_are_no_squares_the_middle_counts(small, clip):
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(3.0), indexing="ij")
    tall = torch.stack([rows, columns])[None]
    assert torch.equal(middle_of_shape(tall, (8, 8)), tall[:, :, 2:5])
    assert torch.equal(middle_of_shape(tall.mT, (8, 8)), tall.mT[:, :, :, 2:5])
    assert torch.equal(middle_of_shape(tall[:, :, :3], (8, 8)), tall[:, :, :3])
    assert torch.equal(middle_of_shape(tall, (16, 8)), tall[:, :, :6])
    assert torch.equal(middle_of_shape(tall, (8, 16)), tall[:, :, 2:4])
    square = torch.rand(2, 3, 32, 32, generator=seeded(5)) * 2 - 1
    settings = config(source="", target="", image_share=1.0)
    framed = [torch.nn.functional.pad(square, sides, value=-1.0) for sides in ((9, 9, 0, 0), (0, 0, 6, 6))]
    expected, *found = (make_goal(small, clip, settings, images).targets[0] for images in (square, *framed))
    assert all(torch.equal(target, expected) for target in found)


def test_images_and_text_are_mixed(small, clip, images):
    (model,) = clip
    text = text_direction(model, "photo", "sketch").double().numpy()
    only = make_goal(small, clip, config(target=""), images)
    alone, style = (x[0].double().numpy() for x in (only.directions, only.targets))
    target = rows(model.encode_text(["sketch"])[0])
    for share, expected in [(0.25, 0.25), (None, 0.5), (1.0, 1.0), (0.0, 0.0)]:
        goal = make_goal(small, clip, config(image_share=share), images)
        assert np.allclose(goal.directions[0], normal((1 - expected) * text + expected * alone), atol=1e-5), share
        assert np.allclose(goal.targets[0], (1 - expected) * target + expected * style, atol=1e-5), share


def test_an_empty_source_is_found_among_phrases(small, clip):
    (model,), templates = clip, prompt_templates(METHODS)

    def text(phrase):
        return normal(rows(model.encode_text([t.replace("{}", phrase) for t in templates])).mean(axis=0))

    samples, target = sample_images(small, seed=4), text("sketch")
    image = normal(rows(model.encode_image(samples)).mean(axis=0))
    near = {group: np.mean([text(phrase) @ target for phrase in group]) for group in (MEDIA, SUBJECTS)}
    expected = max(max(near, key=near.get), key=lambda phrase: text(phrase) @ image)
    assert guess_source(clip, samples, ["sketch"]) == expected
    run = adapt(small, clip, config(source=" ", seed=4))
    assert run.recipe()["source_found"] == expected
    assert torch.equal(run.goal.directions[0], adapt(small, clip, config(source=expected, seed=4)).goal.directions[0])


@pytest.fixture(scope="module")
def demo_clip():
    return load_clip("demo")


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("demo", "sketch", {"photo"}),
        pytest.param("demo", "marble statue", {"photo"}, marks=pytest.mark.slow),
        pytest.param("demo", "pig", {"dog"}, marks=pytest.mark.slow),
        pytest.param("demo", "dog with pointed ears", {"dog"}, marks=pytest.mark.slow),
        pytest.param("demo-person", "3d render in the style of Pixar", {"photo"}, marks=pytest.mark.slow),
        ("demo-person", "fox", {"person", "human face"}),
    ],
)
def test_a_style_starts_from_a_medium_and_a_species_from_a_subject(demo_clip, name, target, expected):
    samples = sample_images(load_generator(name), seed=0)
    assert guess_source(demo_clip, samples, [target], ("a photo of a {}.", "{}")) in expected


def test_a_recipe_alone_trains_again(small, clip, images):
    *_, first = adapt(small, clip, config(target="", layers=3), style_images=images)
    (recipe,) = json.loads(json.dumps(first.generator.metadata["adaptations"]))
    again = adapt(small, clip, AdaptConfig.from_recipe(recipe), goal=Goal.unpacked(recipe["goal"]))
    assert list(again)[-1].generator.fingerprint() == first.generator.fingerprint()
    assert again.recipe() == recipe
    assert "goal" not in adapt(small, clip, config()).recipe(), "texts are their own recipe"


def test_the_style_loss_moves_features_to_those_of_the_pictures(small, clip, images):
    settings = config(target="", iterations=60, directional_weight=0.01, style_weight=5.0, learning_rate=0.02)
    losses = [float(step.losses["style"]) for step in adapt(small, clip, settings, style_images=images)]
    assert losses[-1] < losses[0] - 0.03


def test_the_style_loss_compares_with_some_of_many_pictures(small, clip):
    (model,) = clip
    many = torch.rand(STYLES + 5, 3, 32, 48, generator=seeded(6)) * 2 - 1
    styles = style_of(model, many)
    assert len(styles) == STYLES
    for i, j in ((0, 0), (-1, -1)):
        assert torch.allclose(styles[i], style_features(model, many[j][None])[1][0])
    goal = make_goal(small, clip, config(style_weight=1.0), many[:2])
    assert [len(style) for style in goal.styles] == [2]
    assert make_goal(small, clip, config(), many[:2]).styles == ()


def test_the_style_loss_needs_pictures(small, clip, images):
    for goal in (None, make_goal(small, clip, config(), images)):
        with pytest.raises(UsageError, match="style_weight compares with style images; give some"):
            adapt(small, clip, config(style_weight=1.0), goal=goal)


def test_a_goal_is_small_and_exact_in_a_recipe(small, clip):
    goal = make_goal(small, clip, config())
    text = json.dumps(goal.packed())
    assert len(text) < 8 * 2 * 24 + 200
    back = Goal.unpacked(json.loads(text))
    assert all(
        torch.equal(a, b) for a, b in zip(goal.directions + goal.targets, back.directions + back.targets, strict=True)
    )


def test_a_goal_of_a_recipe_trains_in_inference_mode(tiny, clip):
    """ComfyUI runs nodes in that mode."""
    packed = make_goal(tiny, clip, config()).packed()
    with torch.inference_mode():
        run = adapt(tiny, clip, config(), goal=Goal.unpacked(packed))
        assert next(run).iteration == 1


def test_samples_are_of_all_classes(monkeypatch):
    generator = alive(GeneratorConfig(8, (8, 8), z_dim=6, w_dim=6, mapping_layers=2, c_dim=3))
    found, mapping = [], generator.mapping.forward
    monkeypatch.setattr(generator.mapping, "forward", lambda z, **o: found.append(o["label"]) or mapping(z, **o))
    sample_images(generator, seed=0)
    assert set(torch.cat(found).tolist()) == {0, 1, 2}


def test_damaged_and_foreign_goals_are_refused(small, clip):
    with pytest.raises(NadaError, match="damaged"):
        Goal.unpacked({"directions": ["?"], "targets": [], "source": ""})
    other = Goal((torch.ones(512),), (torch.ones(512),), "photo")
    with pytest.raises(UsageError, match="size 512"):
        adapt(small, clip, config(), goal=other)


def test_nothing_to_aim_at_is_refused(small, clip, images):
    with pytest.raises(UsageError, match="target text is empty"):
        adapt(small, clip, config(target=" "))
    with pytest.raises(UsageError, match="target text is empty"):
        adapt(small, clip, config(target="", image_share=0.5), style_images=images)


@pytest.mark.parametrize("start", [(4, 4), (3, 4), (4, 2)])
def test_a_generators_own_images_as_style_images_are_no_direction_in_any_shape(clip, start):
    generator = alive(GeneratorConfig(16, (12, 8, 8), z_dim=16, w_dim=16, mapping_layers=2, start=start))
    own = sample_images(generator, 3)
    with pytest.raises(UsageError, match="look like the generator's own"):
        make_goal(generator, clip, config(source="", target="", seed=3), own)
