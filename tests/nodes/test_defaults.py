"""Node, command line and library train the same with the same two texts, and report what a file recommends."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

import nada
from nada.cli.adapt import _configuration
from nada.cli.main import build_parser
from nada.cli.options import given

ADVICE = {"iterations": 3, "batch": 1, "learning_rate": 0.003, "layers": "auto", "views": 1}
TEXTS = {"source": "photo", "target": "sketch"}
OLD = {"iterations": 300, "batch": 2, "learning_rate": 0.0}  # defaults of the widgets before they had automatic values


@pytest.fixture(scope="module")
def demo():
    return nada.load_generator("demo")


@pytest.fixture
def generators(small, demo):
    """Generators with and without recommendations in their files."""
    return {"plain": small, "demo": demo}


@pytest.fixture
def taken(host, monkeypatch):
    """The configuration of a training node for a prompt: `options` are widgets of NADA Training Options.

    Inputs that the node does not have appear only in the prompt, as in ComfyUI.
    """
    seen = []
    monkeypatch.setattr(host.nodes.adapt, "adapted", lambda cls, g, c, config, *rest: seen.append(config))

    def run(
        node: str, generator: nada.Generator, *pictures: object, options: dict | None = None, **inputs: object
    ) -> nada.AdaptConfig:
        kind = getattr(host.nodes, node)
        if options is not None:
            inputs["options"] = host.nodes.NADATrainingOptions.execute(**options).args[0]
        known = {socket.id for socket in kind.define_schema().inputs}
        monkeypatch.setattr(kind, "hidden", SimpleNamespace(prompt={"1": {"inputs": inputs}}))
        kind.execute(generator, None, *pictures, **{name: inputs[name] for name in inputs if name in known})
        return seen.pop()

    return run


def defaults(host, node: str) -> dict:
    """Widgets with the editor's defaults."""
    return {s.id: s.options["default"] for s in getattr(host.nodes, node).define_schema().inputs if s.is_widget}


def command(generator: nada.Generator, *words: str) -> nada.AdaptConfig:
    args = build_parser().parse_args(["adapt", "--generator", "x", *words])
    return _configuration(args, given(args), generator)[0]


@pytest.mark.parametrize("kind", ["plain", "demo"])
def test_two_texts_train_the_same_everywhere(host, taken, generators, kind):
    generator = generators[kind]
    library = nada.AdaptConfig.for_generator(generator, **TEXTS)
    assert command(generator, "--source", "photo", "--target", "sketch") == library
    assert taken("NADATextAdapt", generator, **defaults(host, "NADATextAdapt") | TEXTS) == library
    required = {"iterations": 0, "batch": 0, "learning_rate": -1.0}
    assert taken("NADATextAdapt", generator, **TEXTS, **required) == library, "a prompt without the optional inputs"


@pytest.mark.parametrize("kind", ["plain", "demo"])
def test_pictures_train_the_same_everywhere(host, taken, generators, kind, monkeypatch):
    generator = generators[kind]
    monkeypatch.setattr(host.nodes.host, "from_image", lambda image: image)
    library = nada.AdaptConfig.for_generator(generator, **TEXTS, style_images=True, image_share=0.5)
    words = ["--source", "photo", "--target", "sketch", "--image-share", "0.5", "--style-images", "folder"]
    assert command(generator, *words) == library
    assert taken("NADAImageAdapt", generator, None, **defaults(host, "NADAImageAdapt") | TEXTS) == library


@pytest.mark.parametrize("kind", ["plain", "demo"])
@pytest.mark.parametrize("preset", ["pig", "style", "small-shape-change", "small-file", "plastic-puppet"])
def test_presets_train_the_same_everywhere(host, taken, generators, kind, preset):
    generator, texts = generators[kind], TEXTS if "target" not in nada.PRESETS[preset].settings else {}
    library = nada.AdaptConfig.for_generator(generator, **texts | nada.PRESETS[preset].settings_for(generator))
    words = [f"--{name}={value}" for name, value in texts.items()]
    assert command(generator, "--preset", preset, *words) == library
    assert taken("NADATextAdapt", generator, **defaults(host, "NADATextAdapt") | TEXTS | {"preset": preset}) == library


@pytest.mark.parametrize(
    "widgets",
    [
        OLD | {"layers": "all"},
        OLD | {"layers": "auto", "views": 0},
        OLD | {"learning_rate": 0.0016, "layers": "count", "layer_count": 5, "views": 2},
        {"iterations": 150, "batch": 4, "learning_rate": 0.006, "layers": "all", "views": 2},
        {"iterations": 1, "batch": 1, "learning_rate": 0.1, "layers": "no_fine", "views": 16, "train": "lora"},
    ],
)
@pytest.mark.parametrize("node", ["NADATextAdapt", "NADAImageAdapt"])
def test_saved_numbers_mean_what_they_meant(taken, host, generators, node, widgets, monkeypatch):
    """The result does not depend on recommendations. The number 0 stands for the width's step size, as before."""
    monkeypatch.setattr(host.nodes.host, "from_image", lambda image: image)
    expected = {name: value for name, value in widgets.items() if name != "layer_count"}
    expected["learning_rate"] = widgets["learning_rate"] or None
    expected["layers"] = 5 if widgets["layers"] == "count" else widgets["layers"]
    for kind, generator in generators.items():
        views = {} if "views" in widgets else {"views": 2 if kind == "demo" else None}  # an automatic value, like -1
        pictures = (None,) if node == "NADAImageAdapt" else ()
        assert taken(node, generator, *pictures, **TEXTS, **widgets) == nada.AdaptConfig(**TEXTS, **expected, **views)


def test_a_preset_of_an_old_prompt_overrides_the_widgets(taken, small):
    widgets = {"source": "a", "target": "b", "iterations": 7, "batch": 2, "learning_rate": 0.0, "layers": "all"}
    assert taken("NADATextAdapt", small, **widgets, preset="pig").target == "pig"
    general = taken("NADATextAdapt", small, **widgets, preset="style")
    assert (general.target, general.layers, general.iterations) == ("b", "all", 300)
    with pytest.raises(nada.UsageError, match="no preset 'x'"):
        taken("NADATextAdapt", small, **widgets, preset="x")


MOVED = {
    "train": "lora", "rank": 4, "train_torgb": True, "train_const": True, "train_mapping": True, "select_every": 3,
    "select_batch": 2, "mixing": 0.5, "angle_weight": 0.25, "norm_weight": 0.5, "patch_weight": 1.0, "views": 3,
    "precision": "half", "cuda_graphs": True,
}  # fmt: skip


@pytest.mark.parametrize("node", ["NADATextAdapt", "NADAImageAdapt"])
def test_moved_inputs_count_in_both_places(taken, host, small, node, monkeypatch):
    """In a prompt from before NADA Training Options, the training node itself has the settings."""
    monkeypatch.setattr(host.nodes.host, "from_image", lambda image: image)
    assert {*MOVED, "layer_count", "preset"} == {*host.nodes.adapt_inputs.MOVED}
    pictures = (None,) if node == "NADAImageAdapt" else ()
    widgets = {**TEXTS, "iterations": 5, "batch": 2, "learning_rate": -1.0, "layers": "count"}
    expected = nada.AdaptConfig(**TEXTS, **MOVED, iterations=5, batch=2, layers=4)
    assert taken(node, small, *pictures, **widgets, **MOVED, layer_count=4) == expected
    options = {name: value for name, value in MOVED.items() if name != "rank"}
    options |= {"train": {"train": "lora", "rank": 4}, "layer_count": 4}
    assert taken(node, small, *pictures, **widgets, options=options) == expected
    assert taken(node, small, *pictures, **widgets, options=options, mixing=0.1) == expected, "what is seen counts"
    with pytest.raises(nada.UsageError, match="connect NADA Training Options"):
        taken(node, small, *pictures, **widgets)
    for name in host.nodes.adapt_inputs.MOVED if node == "NADATextAdapt" else MOVED:
        with pytest.raises(nada.UsageError, match=f"{name} is a link"):
            taken(node, small, *pictures, **widgets, options=options, **{name: ["7", 0]})


def test_no_preset_asks_for_more_layers_than_a_generator_has(generators):
    """The menu writes the preset's number: the count for 1024 px is valid at 64 px too."""
    for preset in nada.PRESETS.values():
        if isinstance(count := preset.settings.get("layers"), int):
            assert count < generators["demo"].num_ws


def test_the_node_says_what_the_file_recommends(host, tiny, clip):
    tiny.metadata["recommended"] = ADVICE
    widgets = defaults(host, "NADATextAdapt") | TEXTS
    said = "iterations 3, batch 1, learning_rate 0.003, layers auto, views 1, as the generator's file recommends"
    adapted = host.nodes.NADATextAdapt.execute(tiny, clip, **widgets).args[0]
    assert adapted.metadata["adaptations"][-1]["iterations_done"] == 3
    assert said in host.texts
    assert host.texts[-1].endswith(f" | {said}"), "it is still there when the training is done"
    host.nodes.NADATextAdapt.execute(tiny, clip, **widgets | {"iterations": 2})
    assert host.texts[-1].endswith(" | " + said.removeprefix("iterations 3, "))
    widgets |= {"iterations": 1, "batch": 1, "learning_rate": 0.0, "layers": "all", "views": 0}
    host.nodes.NADATextAdapt.execute(tiny, clip, **widgets)
    assert "recommends" not in host.texts[-1]


def test_the_command_line_says_what_the_file_recommends(small, caplog):
    small.metadata["recommended"] = ADVICE
    with caplog.at_level("INFO", "nada"):
        command(small, "--target", "pig", "--views", "0", "--layers", "all", "--batch", "1")
    assert caplog.messages == ["iterations 3, learning_rate 0.003, as the generator's file recommends"]


def test_a_label_that_no_font_can_write_is_said_on_the_nodes(host, tiny, clip, monkeypatch):
    fonts = sys.modules[host.nodes.training.unwritable_remark.__module__]  # the pack's own copy of the library
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())
    widgets = defaults(host, "NADATextAdapt") | {"source": "photo", "target": "素描", "iterations": 1, "batch": 1}
    host.nodes.NADATextAdapt.execute(tiny, clip, **widgets)
    assert "no font here has the letters of '素描'; pictures are without this label" in host.texts[-1]
    latents = host.nodes.SampleLatents.execute(tiny, 0, 2, 0.7).args[0]
    host.nodes.NADACompareGrid.execute(tiny, latents, "前 | after", generator_b=tiny)
    assert "'前'" in host.texts[-1]
    mapper = {"target": "猪", "iterations": 1, "batch": 1, "learning_rate": 0.0}
    host.nodes.NADATrainMapper.execute(tiny, clip, **mapper)
    assert "'猪'" in host.texts[-1]


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        pytest.param("NADATrainMapper", {"iterations": 1, "batch": 1, "learning_rate": 0.0}, marks=pytest.mark.slow),
        pytest.param(
            "NADATextDirection",
            {"source": "photo", "samples": 1, "candidates": 2, "beta": 0.0},
            marks=pytest.mark.slow,
        ),
        ("NADAEvaluate", {"count": 2, "repetitions": 1}),
    ],
)
def test_a_text_that_clip_cannot_read_is_said_on_every_node(host, small, clip, monkeypatch, node, inputs):
    monkeypatch.setattr(host.nodes.evaluate, "judge_for", lambda generator, device: None)
    getattr(host.nodes, node).execute(small, clip, target="素描", **inputs)
    assert "can hardly read '素描'; write it in English" in host.texts[-1]


def test_pictures_that_a_wrong_step_size_made_plain_are_said(host, small, clip):
    remark = host.nodes.training.faded_remark
    noise = torch.randn(2, 3, 8, 8)
    assert remark(noise, noise * 0.5) == ""
    for plain in (torch.ones_like(noise), noise * 0.01 + 1, torch.full_like(noise, float("nan"))):
        assert "lower learning_rate" in remark(noise, plain)
