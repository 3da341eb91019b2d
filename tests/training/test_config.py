"""Sources of an adaptation's settings: the user, the generator's file, the defaults."""

from __future__ import annotations

import pytest

from nada import EMBEDDED, UsageError, load_generator, save_generator
from nada.training.config import AdaptConfig, recommendation_remark, recommended

ADVICE = {"iterations": 40, "batch": 3, "learning_rate": 0.004, "layers": "auto", "views": 1}


@pytest.fixture
def advised(small):
    """A generator whose file recommends settings."""
    small.metadata["recommended"] = dict(ADVICE)
    return small


def test_the_defaults_are_the_authors():
    config = AdaptConfig("photo", "sketch")
    assert (config.iterations, config.batch, config.learning_rate, config.layers) == (300, 2, None, "all")


def test_a_generators_file_is_asked_for_what_is_not_given(advised):
    assert AdaptConfig.for_generator(advised, "photo", "sketch") == AdaptConfig("photo", "sketch", **ADVICE)


@pytest.mark.parametrize("name", ADVICE)
def test_what_is_given_is_never_overridden(advised, name):
    """A value that equals the default counts as given too."""
    defaults = AdaptConfig("photo", "sketch")
    for value in ({"iterations": 9, "batch": 5, "learning_rate": 0.1, "layers": 2, "views": 4}[name],
                  getattr(defaults, name)):  # fmt: skip
        config = AdaptConfig.for_generator(advised, source="photo", target="sketch", **{name: value})
        assert config == AdaptConfig("photo", "sketch", **ADVICE | {name: value})


def test_a_generator_without_advice_has_the_defaults(small):
    assert AdaptConfig.for_generator(small, "a", "b", mixing=0.5) == AdaptConfig("a", "b", mixing=0.5)
    assert recommendation_remark(small, {}) == ""


def test_pictures_have_defaults_of_their_own(small, advised):
    assert AdaptConfig.for_generator(advised, "", "", style_images=True).iterations == ADVICE["iterations"]
    del small.metadata["recommended"]
    config = AdaptConfig.for_generator(small, "", "", style_images=True)
    assert (config.iterations, config.batch) == (400, 4)
    assert AdaptConfig.for_generator(small, "", "", style_images=True, batch=1).batch == 1


def test_a_step_size_for_weights_is_for_nothing_else(advised):
    for kind in ("affine", "stylespace", "lora"):
        assert AdaptConfig.for_generator(advised, "a", "b", train=kind).learning_rate is None
    assert AdaptConfig.for_generator(advised, "a", "b", train="weights").learning_rate == ADVICE["learning_rate"]


def test_files_recommend_nothing_but_what_they_may(advised):
    advised.metadata["recommended"] |= {"target": "pig", "seed": 5, "train_mapping": True, "of a later version": 1}
    assert recommended(advised, {}) == ADVICE


def test_the_remark_says_what_was_taken(advised):
    given = {"iterations": 1, "layers": "all", "views": 0, "train": "lora"}
    assert recommendation_remark(advised, given) == "batch 3, as the generator's file recommends"


def test_advice_stays_with_the_file(advised, tmp_path):
    save_generator(advised, tmp_path / "a.safetensors")
    assert load_generator(tmp_path / "a.safetensors").metadata["recommended"] == ADVICE


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_demo_recommends_what_suits_it(name):
    generator = load_generator(name)
    config = AdaptConfig.for_generator(generator, "photo", "sketch")
    assert config == AdaptConfig("photo", "sketch", iterations=100, batch=4, learning_rate=0.006, layers="all", views=2)


def test_bad_advice_in_memory_is_a_sentence(small):
    small.metadata["recommended"] = {"batch": "many"}
    with pytest.raises(UsageError, match="batch is 'many'"):
        AdaptConfig.for_generator(small, "a", "b")


def test_a_style_loss_alone_is_a_target():
    assert AdaptConfig("", "", directional_weight=0.0, style_weight=1.0).loss_weights == {"style": 1.0}


def test_several_views_of_one_image_have_angles():
    AdaptConfig("photo", "sketch", batch=1, views=2, angle_weight=1.0)
    with pytest.raises(UsageError, match="batch or views"):
        AdaptConfig("photo", "sketch", batch=1, views=0, angle_weight=1.0)
