"""Widgets of library settings take names, types, ranges, choices and help from the configurations."""

from __future__ import annotations

import pytest

from nada import AdaptConfig, EvaluateConfig, MapperConfig
from nada.settings import settings_of

SORTS = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
AUTOMATIC = {  # values that leave the choice to the generator's file and the library
    AdaptConfig: {"iterations": 0, "batch": 0, "learning_rate": -1, "views": -1},
    MapperConfig: {"learning_rate": 0, "views": -1},
    EvaluateConfig: {},
}
NODES = {
    "NADATextAdapt": AdaptConfig,
    "NADAImageAdapt": AdaptConfig,
    "NADAAdaptMany": AdaptConfig,
    "NADATrainMapper": MapperConfig,
    "NADAEvaluate": EvaluateConfig,
}


@pytest.mark.parametrize("node", NODES)
def test_widgets_stay_within_their_settings(host, node):
    settings, automatic, shared = settings_of(NODES[node]), AUTOMATIC[NODES[node]], 0
    for socket in getattr(host.nodes, node).define_schema().inputs:
        setting, options = settings.get(socket.id), socket.options
        if setting is None or (socket.type == "COMBO" and not setting.choices):
            continue
        shared += 1
        assert socket.type in ("COMBO", *(SORTS[kind] for kind in setting.kinds))
        if setting.choices:
            assert options["options"] == [*setting.choices]
        if socket.type in ("INT", "FLOAT"):
            if setting.low is not None:
                assert options["min"] >= min(automatic.get(socket.id, setting.low), setting.low)
            assert setting.high is None or options["max"] <= setting.high
        if options["default"] != automatic.get(socket.id):
            setting.check(options["default"])
    assert shared >= 2, node


def test_a_widget_is_made_of_a_setting(host):
    widget, settings = host.nodes.sockets.widget, settings_of(AdaptConfig)
    batch, mixing = widget(settings["batch"], 64, main=True), widget(settings["mixing"])
    help_text = settings["batch"].help
    assert (batch.type, batch.options) == ("INT", {"default": 2, "tooltip": help_text, "min": 1, "max": 64})
    assert (mixing.type, mixing.options["min"], mixing.options["max"]) == ("FLOAT", 0.0, 1.0)
    assert mixing.options["optional"]
    assert widget(settings["train"]).options["options"] == ["weights", "affine", "stylespace", "lora"]
    assert widget(settings["train_const"], tooltip="other").options["tooltip"] == "other"
