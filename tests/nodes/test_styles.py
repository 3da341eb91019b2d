"""The style nodes, with a stand-in for ComfyUI."""

from __future__ import annotations

import copy

import pytest
import torch

from nada import UsageError, apply_style, load_style


@pytest.fixture
def adapted(small):
    adapted = copy.deepcopy(small)
    for name, tensor in adapted.synthesis.named_parameters():
        tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))))
    return adapted


def execute(node, *arguments, **options):
    with torch.inference_mode():  # as ComfyUI runs every node
        return node.execute(*arguments, **options)


def test_saved_styles_are_listed_loaded_and_applied(host, small, adapted):
    nodes = host.nodes
    assert nodes.NADALoadStyle.define_schema().inputs[0].options["options"] == [nodes.style.NO_FILES]
    saved = execute(nodes.NADASaveStyle, small, adapted, "waves")
    path = host.folder / "output" / "stylegan_styles" / "waves_00001_.safetensors"
    assert path.is_file()
    assert "waves_00001_.safetensors" in host.texts[-1]
    assert saved.ui.shape[-1] == 3
    assert not any(delta.is_inference() for delta in saved.args[0].deltas.values())
    assert nodes.NADALoadStyle.define_schema().inputs[0].options["options"] == [path.name]
    loaded = execute(nodes.NADALoadStyle, path.name)
    assert loaded.args[0].name == "waves"
    assert "for a 32 px generator" in host.texts[-1]
    assert torch.equal(loaded.ui, saved.ui)
    assert not any(delta.is_inference() for delta in loaded.args[0].deltas.values())
    result = execute(nodes.NADAApplyStyle, small, loaded.args[0], 0.5, fine=0.0).args[0]
    assert host.texts[-1] == "waves x 0.5"
    assert result.fingerprint() == apply_style(small, load_style(path), 0.5, fine=0.0).fingerprint()
    assert not any(tensor.is_inference() or tensor.requires_grad for tensor in result.state_dict().values())


def test_strength_zero_is_the_generator_itself(host, small, adapted):
    style = execute(host.nodes.NADASaveStyle, small, adapted, "waves").args[0]
    assert execute(host.nodes.NADAApplyStyle, small, style, 0.0).args[0].fingerprint() == small.fingerprint()


def test_a_styled_generator_can_be_trained_on(host, small, adapted, clip):
    style = execute(host.nodes.NADASaveStyle, small, adapted, "waves").args[0]
    styled = execute(host.nodes.NADAApplyStyle, small, style, 1.0).args[0]
    options = {"source": "photo", "target": "sketch", "iterations": 1, "batch": 1, "learning_rate": 0.0}
    trained = execute(host.nodes.NADATextAdapt, styled, clip, **options).args[0]
    assert trained.metadata["adaptations"][0]["base"] == styled.fingerprint() != trained.fingerprint()


def test_rank_and_precision(host, small, adapted):
    sizes = [
        execute(host.nodes.NADASaveStyle, small, adapted, "waves", **options).args[0].size
        for options in ({"precision": "full"}, {}, {"rank": 2})
    ]
    assert sizes[0] == 2 * sizes[1] > 2 * sizes[2]
    assert "lost" in host.texts[-1]


def test_a_style_for_others_says_so(host, small, adapted):
    style = execute(host.nodes.NADASaveStyle, small, adapted, "waves").args[0]
    sibling = copy.deepcopy(small)
    sibling.synthesis.b4.const += 0.1
    execute(host.nodes.NADAApplyStyle, sibling, style, 1.0)
    assert "made for another generator" in host.texts[-1]


def test_mistakes_are_said_on_the_node(host, small):
    with pytest.raises(UsageError, match="same weights"):
        execute(host.nodes.NADASaveStyle, small, small, "waves")
    assert "same weights" in host.texts[-1]
    with pytest.raises(UsageError, match="no style file yet"):
        execute(host.nodes.NADALoadStyle, host.nodes.style.NO_FILES)
    with pytest.raises(UsageError, match="below output/stylegan_styles"):
        execute(host.nodes.NADASaveStyle, small, small, "../waves")


def test_the_strength_slider(host):
    strength = host.nodes.NADAApplyStyle.define_schema().inputs[2].options
    assert (strength["min"], strength["max"], strength["step"], strength["default"]) == (-1.0, 2.0, 0.05, 1.0)
