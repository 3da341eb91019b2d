"""Settings as command-line arguments: all settings, with their types, and only those that were given."""

from __future__ import annotations

import argparse

import pytest

from nada.cli.options import add_config, given
from nada.measure.evaluate import EvaluateConfig
from nada.settings import settings_of
from nada.text_edits import MapperConfig, OptimizeConfig
from nada.training.config import AdaptConfig


def parser(config: type = AdaptConfig, **options) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_config(made, "settings", config, **options)
    return made


@pytest.mark.parametrize("config", [AdaptConfig, EvaluateConfig, MapperConfig, OptimizeConfig])
def test_every_setting_is_an_argument(config):
    text = " ".join(parser(config).format_help().split())
    for name, setting in settings_of(config).items():
        assert f"--{name.replace('_', '-')}" in text
        assert " ".join(setting.help.split()[:4]) in text
    assert given(parser(config).parse_args([]), config) == {}


def test_values_have_the_types_of_the_settings():
    words = "--source photo --iterations 7 --learning-rate 0.5 --layers 12 --mixing 1 --views 3 --train lora"
    args = parser().parse_args([*words.split(), "--train-torgb", "--no-train-const"])
    assert given(args) == {
        "source": "photo", "iterations": 7, "learning_rate": 0.5, "layers": 12, "mixing": 1.0, "views": 3,
        "train": "lora", "train_torgb": True, "train_const": False,
    }  # fmt: skip
    assert all(type(value) in settings_of(AdaptConfig)[name].kinds for name, value in given(args).items())
    for layers in ("all", "b8.conv0, b16-b64", "²"):
        assert given(parser().parse_args(["--layers", layers])) == {"layers": layers}
    assert given(parser().parse_args(["--layers=-3"])) == {"layers": -3}


@pytest.mark.parametrize("words", [["--iterations", "x"], ["--mixing", "much"], ["--views", "2.5"]])
def test_other_words_are_wrong_usage(words, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(words)
    assert words[0] in capsys.readouterr().err


def test_defaults_are_shown_and_required_settings_asked_for(capsys):
    text = " ".join(parser(defaults={"iterations": 150}).format_help().split())
    assert "(default: 150)" in text
    assert "(default: 0.0)" in text
    assert "(default: )" not in text
    assert "(default: None)" not in text
    with pytest.raises(SystemExit):
        parser(MapperConfig, required=["target"]).parse_args([])
    assert "--target" in capsys.readouterr().err
