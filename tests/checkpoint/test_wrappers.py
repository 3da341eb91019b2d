"""Generators are found in any wrapper, and a moving average of weights is preferred to the raw weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.checkpoint_files import (
    encoder_checkpoint,
    nvidia_bytes,
    put,
    rosinality_names,
    small_generator,
    tensorflow_bytes,
    torch_bytes,
)
from safetensors.torch import save

from nada.checkpoint import load_generator
from nada.stylegan2 import Generator

GENERATOR, RAW = small_generator(), small_generator(seed=2)
NAMES: dict[str, Callable[[Generator], dict[str, torch.Tensor]]] = {
    "rosinality": rosinality_names,
    "nvidia": lambda generator: OrderedDict(generator.state_dict()),
}
FORMATS = pytest.mark.parametrize("names", ["rosinality", pytest.param("nvidia", marks=pytest.mark.slow)])


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor.clone() for name, tensor in tensors.items()}


def nested(path: str, value: Any) -> Any:
    for key in reversed(path.split("/")):
        value = {key: value}
    return value


def loaded(folder, data: bytes) -> Generator:
    return load_generator(put(folder, data))


def is_generator(found: Generator, wanted: Generator = GENERATOR) -> bool:
    ours, theirs = found.state_dict(), wanted.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours if name != "mapping.w_avg")


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize(
    "path",
    [
        "state_dict",
        "model_state_dict",
        "g",
        "G",
        "netG",
        "params",
        "params_ema",
        "g_running",
        "anything at all",
        "a/b/c/d",
        "model/generator/net",
    ],
)
def test_any_wrapper(tmp_path, names, path):
    assert is_generator(loaded(tmp_path, torch_bytes(nested(path, NAMES[names](GENERATOR)))))


@FORMATS
@pytest.mark.parametrize(
    "prefix",
    [
        "module._orig_mod.",
        "net.G_ema.module.",
        "x.",
        *(
            pytest.param(prefix, marks=pytest.mark.slow)
            for prefix in ("_orig_mod.", "state_dict.g_ema.", "module.", "_orig_mod.module.")
        ),
    ],
)
def test_any_prefix(tmp_path, names, prefix):
    tensors = prefixed(prefix, NAMES[names](GENERATOR))
    assert is_generator(loaded(tmp_path, save(tensors)))
    assert is_generator(loaded(tmp_path, torch_bytes(tensors)))
    assert is_generator(loaded(tmp_path, torch_bytes({"state_dict": tensors, "epoch": 3, "hyper_parameters": {}})))


def test_parts_that_were_compiled(tmp_path):
    tensors = GENERATOR.state_dict()
    renamed = {name.replace("synthesis.", "synthesis._orig_mod."): t.clone() for name, t in tensors.items()}
    assert is_generator(loaded(tmp_path, save(renamed)))


@FORMATS
@pytest.mark.parametrize(
    ("raw", "average"),
    [
        ("generator", "generator_ema"),
        ("g", "g_running"),
        ("G", "moving_average"),
        ("ema/online_model", "ema/ema_model"),
        ("g", "optimizer/of/no/use/ema"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("generator", "generator_smooth"),
                ("generator", "ema"),
                ("params", "params_ema"),
                ("g", "g_ema"),
                ("G", "G_ema"),
                ("G", "Gs"),
                ("a", "shadow"),
                ("netG", "netG_avg"),
                ("generator", "swa_model"),
                ("state_dict/generator", "state_dict/generator_ema"),
            )
        ),
    ],
)
def test_an_average_comes_before_raw_weights(tmp_path, names, raw, average):
    """The order of the entries does not matter."""
    value = NAMES[names]
    parts = [nested(raw, value(RAW)), nested(average, value(GENERATOR))]
    for first, second in (parts, parts[::-1]):
        tree = {key: (first.get(key, {}) | second.get(key, {})) for key in {**first, **second}}
        found = loaded(tmp_path, torch_bytes(tree))
        assert is_generator(found)
        assert not any("raw" in note or "several" in note for note in found.metadata["notes"])


@pytest.mark.parametrize("path", ["g", "G", "generator", "netG", "state_dict/generator", "checkpoint/net_g"])
def test_raw_weights_are_noted_where_there_is_no_average(tmp_path, path):
    found = loaded(tmp_path, torch_bytes(nested(path, rosinality_names(GENERATOR))))
    name = path.replace("/", ".")
    assert f"no moving average of the weights; those under {name!r} are raw ones." in found.metadata["notes"][0]


@pytest.mark.parametrize("path", ["state_dict", "g_ema", "params_ema", "model_state_dict", "decoder"])
def test_nothing_is_noted_where_nothing_is_known(tmp_path, path):
    found = loaded(tmp_path, torch_bytes(nested(path, rosinality_names(GENERATOR)) | {"latent_avg": torch.zeros(14)}))
    assert found.metadata["notes"] == []


def test_several_generators_are_noted(tmp_path):
    tree = {"old": rosinality_names(GENERATOR), "young": rosinality_names(RAW)}
    found = loaded(tmp_path, torch_bytes(tree))
    assert is_generator(found)
    assert "several generators; 'old' was loaded, and 'young' was not" in found.metadata["notes"][0]


@pytest.mark.parametrize("place", ["", "state_dict/", "state_dict/g_ema/"])
def test_the_average_latent_is_found_beside_any_wrapper(tmp_path, place):
    tree: dict[str, Any] = {"state_dict": {"g_ema": dict(rosinality_names(GENERATOR))}}
    inside = tree
    for key in filter(None, place.split("/")):
        inside = inside[key]
    inside["latent_avg"] = GENERATOR.mapping.w_avg
    assert torch.equal(loaded(tmp_path, torch_bytes(tree)).mapping.w_avg, GENERATOR.mapping.w_avg)


def test_nvidia_pickles_without_the_average(tmp_path):
    data = nvidia_bytes(GENERATOR)
    assert loaded(tmp_path, data).metadata["notes"] == []
    found = loaded(tmp_path, data.replace(b"G_ema", b"G.raw"))
    assert is_generator(found)
    assert "those under 'G.raw' are raw ones" in found.metadata["notes"][0]


def test_tensorflow_prefers_gs(tmp_path):
    assert loaded(tmp_path, tensorflow_bytes(GENERATOR)).metadata["notes"] == []
    alone = tensorflow_bytes(GENERATOR, alone=True)
    assert loaded(tmp_path, alone).metadata["notes"] == []
    found = loaded(tmp_path, alone[:-1] + b"\x85.")  # a tuple with a single network: G
    assert is_generator(found, loaded(tmp_path, alone))
    assert found.metadata["notes"] == [
        "The file has no Gs, the moving average of the weights; those of G are raw ones."
    ]


def test_encoders_wrapped_once_more(tmp_path):
    found = loaded(tmp_path, torch_bytes({"checkpoint": encoder_checkpoint(GENERATOR)}))
    assert is_generator(found)
    assert found.metadata["source"]["format"] == "psp"
    assert torch.equal(found.mapping.w_avg, GENERATOR.mapping.w_avg)
