"""Settings of configurations: found through their annotations, checked at construction, and consistent everywhere.

This file has no future import, so the annotations of its own configuration are evaluated; those of the library are
texts.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Annotated, get_type_hints

import pytest

from nada.clip.prompts import imagenet_templates
from nada.errors import UsageError
from nada.measure.evaluate import EvaluateConfig
from nada.photo.project import ProjectConfig
from nada.photo.tune import TuneConfig
from nada.settings import Setting, check_settings, settings_of
from nada.sweep.ranking import Ranking
from nada.text_edits import DirectionConfig, MapperConfig, OptimizeConfig
from nada.training.config import AdaptConfig
from nada.training.objective import LOSSES

CONFIGS = (AdaptConfig, EvaluateConfig, MapperConfig, OptimizeConfig)


@dataclass(frozen=True)
class Config:
    word: Annotated[str, Setting("Word.", choices=("a", "b"))]
    count: Annotated[int, Setting("Count.", low=1)] = 3
    share: Annotated[float | None, Setting("Share.", low=0, high=0.5)] = None
    layers: Annotated[str | int, Setting("Layers.")] = "all"
    switch: Annotated[bool, Setting("Switch.")] = False

    def __post_init__(self):
        check_settings(self)


@pytest.fixture(autouse=True)
def few_prompts():
    """All prompts of the method."""


def test_a_configuration_tells_all_about_its_settings():
    found = settings_of(Config)
    assert list(found) == ["word", "count", "share", "layers", "switch"]
    assert (found["word"].default, found["word"].choices, found["word"].help) == (MISSING, ("a", "b"), "Word.")
    assert (found["count"].value_type, found["count"].low, found["count"].high) == (int, 1, None)
    assert (found["share"].value_type, found["share"].kinds, found["share"].default) == (float | None, (float,), None)
    assert found["layers"].kinds == (str, int)
    assert [setting.name for setting in found.values()] == [*found]


@pytest.mark.parametrize("config", CONFIGS)
def test_type_checkers_see_the_types_of_the_librarys_settings(config):
    plain = get_type_hints(config)
    for name, setting in settings_of(config).items():
        assert plain[name] == setting.value_type, "what remains without the notes is an ordinary type"
        assert {*setting.kinds} <= {bool, int, float, str}
        assert setting.help.endswith(".")
        if setting.default not in (MISSING, None):
            setting.check(setting.default)


@pytest.mark.parametrize("config", [*CONFIGS, DirectionConfig, ProjectConfig, Ranking, TuneConfig])
def test_every_whole_number_has_limits(config):
    """No setting allows endless runs, or more memory than exists."""
    numbers = [setting for setting in settings_of(config).values() if int in setting.kinds]
    assert [
        setting.name for setting in numbers if None in (setting.low, setting.high) and setting.name != "layers"
    ] == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"word": "c"}, "word is 'c'; it must be one of a, b"),
        ({"count": 0}, "count is 0; it must be at least 1"),
        ({"count": 2.5}, "count is 2.5; it must be a whole number"),
        ({"count": True}, "count is True; it must be a whole number"),
        ({"count": None}, "count is None; it must be a whole number"),
        ({"count": "3"}, "count is '3'; it must be a whole number"),
        ({"share": 0.6}, r"share is 0.6; it must be in 0..0.5"),
        ({"share": -0.1}, "share is -0.1"),
        ({"share": float("nan")}, "share is nan; it must be a finite number"),
        ({"share": float("inf")}, "share is inf; it must be a finite number"),
        ({"share": "x"}, "share is 'x'; it must be a number"),
        ({"layers": 2.5}, "layers is 2.5; it must be a text or a whole number"),
        ({"switch": 1}, "switch is 1; it must be true or false"),
        ({"word": ["a"]}, "word is .*; it must be a text"),
    ],
)
def test_a_wrong_value_is_named(values, words):
    with pytest.raises(UsageError, match=words):
        Config(**{"word": "a", **values})


def test_every_value_in_range_is_taken():
    for values in ({"count": 10**400}, {"share": 0}, {"share": 0.5}, {"layers": 3}, {"switch": True}):
        Config("b", **values)


def test_a_field_without_a_setting_is_a_defect():
    @dataclass
    class Careless:
        count: int = 1

    with pytest.raises(TypeError, match="count has no Setting"):
        settings_of(Careless)


def test_every_loss_has_a_weight_and_every_weight_a_loss():
    weights = [field.name for field in fields(AdaptConfig) if field.name.endswith("_weight")]
    assert [f"{name}_weight" for name in LOSSES] == weights
    config = AdaptConfig("a", "b", batch=2, **{name: i + 1.0 for i, name in enumerate(weights)})
    assert config.loss_weights == {name: i + 1.0 for i, name in enumerate(LOSSES)}


@pytest.mark.parametrize("config", CONFIGS)
def test_templates_mean_the_same_everywhere(config):
    needed = {"source": "photo"} if config is AdaptConfig else {}
    prompts = {t: config(target="pig", templates=t, **needed).prompts for t in ("", "{}", " a {} | the {}")}
    assert prompts == {"": imagenet_templates(), "{}": ("{}",), " a {} | the {}": ("a {}", "the {}")}
    for wrong in ("a photo", "{} | a", " ", "|{}"):
        with pytest.raises(UsageError, match=r"has no \{\}"):
            config(target="pig", templates=wrong, **needed)


def test_templates_of_recipes_keep_their_meaning():
    """Adaptations have always stored an empty text for the method's prompts."""
    assert AdaptConfig.from_recipe({"source": "a", "target": "b", "templates": ""}).prompts == imagenet_templates()
