"""Files of CLIP weights: containers, wrappers, refusals and assumptions."""

from __future__ import annotations

import json
import logging
import shutil
from collections import OrderedDict
from pathlib import Path

import open_clip
import pytest
import torch
from helpers.models import TINY_CLIP
from safetensors.torch import save_file

from nada.clip.loading import load_clip
from nada.errors import NadaError

pytestmark = [  # people still have such files
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
MEAN = (0.48, 0.46, 0.41)
GELU = {"mean": MEAN, "std": (0.27, 0.26, 0.28), "interpolation": "bicubic"}
QUICK = {**GELU, "quick_gelu": True}


class Bomb:
    """Object that creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def network(clip_folder):
    return open_clip.create_model(f"local-dir:{clip_folder}").requires_grad_(False)


@pytest.fixture
def published(monkeypatch):
    """Register an architecture Tiny with these published weights in open_clip."""

    def publish(**entries):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", TINY_CLIP["model_cfg"])
        tags = lambda name: list(entries) if name == "Tiny" else []
        monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", tags)
        monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: entries[tag])

    publish(laion=GELU)
    return publish


@pytest.fixture(autouse=True)
def unpickling_is_forbidden(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("weights were unpickled")

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch.jit, "load", refuse)


def legacy(thing, path):
    torch.save(thing, path, _use_new_zipfile_serialization=False)


def with_prefix(prefix, network):
    return OrderedDict((prefix + name, tensor) for name, tensor in network.state_dict().items())


def openai_types(network):
    """Weights as published by OpenAI: matrices in half precision, the rest in float32."""
    for name, p in network.named_parameters():
        p.data = p.half() if p.ndim > 1 and "embedding" not in name else p
    return network


def traced(network):
    return torch.jit.trace(network, (torch.zeros(1, 3, 32, 32), torch.ones(1, 40, dtype=torch.int64)))


WAYS = {
    "safetensors": lambda network, path: save_file(network.state_dict(), path),
    "torch zip": lambda network, path: torch.save(network.state_dict(), path),
    "legacy torch": lambda network, path: legacy(network.state_dict(), path),
    "a whole model": torch.save,
    "traced": lambda network, path: torch.jit.save(traced(network), path),
    "TorchScript": lambda network, path: torch.jit.save(torch.jit.script(network), path),
    "open_clip's training": lambda network, path: torch.save(
        {"epoch": 3, "name": "x", "state_dict": with_prefix("module.", network), "optimizer": {"state": {0: 1.0}}}, path
    ),
    "torch.compile": lambda network, path: torch.save(with_prefix("_orig_mod.", network), path),
    "Lightning": lambda network, path: torch.save({"state_dict": with_prefix("model.clip.", network)}, path),
}


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.slow] if way == "traced" else []) for way in WAYS]
)
def test_weights_load_from_whatever_holds_them(network, published, tmp_path, way):
    path = tmp_path / "weights.bin"
    WAYS[way](network, path)
    (loaded,) = load_clip(f"Tiny@{path}")
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name].float(), tensor.float()), name
    assert loaded.name == "Tiny@weights.bin"


def test_of_two_models_in_a_file_the_average_is_taken(network, published, tmp_path):
    raw = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": raw, "ema_state_dict": network.state_dict()}, tmp_path / "w.pt")
    (loaded,) = load_clip(f"Tiny@{tmp_path / 'w.pt'}")
    assert torch.equal(loaded.model.visual.conv1.weight, network.visual.conv1.weight)


@pytest.mark.parametrize("way", ["torch zip", "legacy torch", pytest.param("TorchScript", marks=pytest.mark.slow)])
def test_folders_may_hold_pickled_files(network, tmp_path, way):
    (tmp_path / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    WAYS[way](network, tmp_path / "open_clip_pytorch_model.bin")
    (loaded,) = load_clip(str(tmp_path))
    assert torch.equal(loaded.model.visual.conv1.weight, network.visual.conv1.weight)


def test_safetensors_come_before_pickled_files(network, clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "both")
    torch.save({"a": Bomb(tmp_path / "ran")}, folder / "a_model.bin")
    load_clip(str(folder))
    (folder / "open_clip_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(NadaError, match=r"open_clip_model\.safetensors"):
        load_clip(str(folder))


@pytest.mark.parametrize(
    "name", ["weights.bin", *(pytest.param(f"weights.{end}", marks=pytest.mark.slow) for end in ("pt", "safetensors"))]
)
@pytest.mark.parametrize("save", [torch.save, legacy])
def test_pickles_never_run(network, published, clip_folder, tmp_path, monkeypatch, name, save):
    """The same reader loads weights by file, by folder and by tag."""
    path = tmp_path / name
    save({"bomb": Bomb(tmp_path / "ran"), "state_dict": network.state_dict()}, path)
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(path, folder)
    shutil.copy(clip_folder / "open_clip_config.json", folder)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda entry: str(path))
    for spec in (f"Tiny@{path}", str(folder), "Tiny@laion"):
        (loaded,) = load_clip(spec)
        assert torch.equal(loaded.model.visual.conv1.weight, network.visual.conv1.weight)
    assert not (tmp_path / "ran").exists()


REFUSED = {
    "transformers": ({"text_model.x": 1, "vision_model.x": 1, "logit_scale": 1}, "the transformers library"),
    "text encoder": ({"text_model.encoder.x": 1}, "a text encoder alone"),
    "wrapped text encoder": ({"cond_stage_model.transformer.text_model.x": 1}, "a text encoder alone"),
    "something else": ({"conv1.weight": 1, "\x1b[31mred\n": 1}, "holds no CLIP model"),
    "too few": ({"visual.conv1.weight": 1, "logit_scale": 1}, "tensors are missing"),
    "an image tower": ({"visual.conv1.weight": 1}, "holds no CLIP model"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("save", [torch.save, lambda tensors, path: save_file(tensors, path)])
def test_other_models_get_one_sentence(published, tmp_path, kind, save):
    names, words = REFUSED[kind]
    save({name: torch.ones(2, 2) for name in names}, tmp_path / "w.pt")
    says(f"Tiny@{tmp_path / 'w.pt'}", words)


@pytest.mark.parametrize("change", ["shape", "extra", "missing"])
def test_weights_of_another_architecture_get_one_sentence(network, published, tmp_path, change):
    state = network.state_dict()
    name = "transformer.resblocks.0.ln_1.weight"
    if change == "shape":
        state[name] = torch.ones(7)
    elif change == "extra":
        state["transformer.resblocks.9.ln_1.weight"] = torch.ones(7)
    else:
        del state[name]
    torch.save(state, tmp_path / "w.pt")
    says(f"Tiny@{tmp_path / 'w.pt'}", "these weights belong to another architecture")


@pytest.mark.parametrize(
    "content", [b"", b"<!doctype html>", b"GGUF", b"PK\3\4", b"\x80\x02}", b"\x80\x04\x95", bytes(99)]
)
def test_files_that_are_no_models_get_one_sentence(published, tmp_path, content):
    (tmp_path / "w.bin").write_bytes(content)
    says(f"Tiny@{tmp_path / 'w.bin'}", "cannot be read")


def says(spec: str, words: str) -> None:
    """The refusal is one printable line about this file, without PyTorch's advice."""
    with pytest.raises(NadaError, match=words) as caught:
        load_clip(spec)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert Path(spec.partition("@")[2]).name in sentence
    assert "weights_only" not in sentence
    assert "StyleGAN" not in sentence


@pytest.mark.parametrize("key", ["mean", "std"])
@pytest.mark.parametrize("value", ["x", [1, 2], [1, 2, 3, 4], [1, None, 1], [[1], [1], [1]], 10**400, float("nan"), -1])
def test_odd_preprocessing_is_a_sentence(clip_folder, tmp_path, key, value):
    folder = shutil.copytree(clip_folder, tmp_path / "odd")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"][key] = value
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if (key, value) == ("mean", -1):
        load_clip(str(folder))
        return
    with pytest.raises(NadaError):
        load_clip(str(folder))


def save_rounded(network, path):
    save_file({name: t.half().float() for name, t in network.state_dict().items()}, path)


def save_half(network, path):
    save_file({name: t.half() for name, t in network.state_dict().items()}, path)


def save_openai(network, path):
    torch.jit.save(torch.jit.script(openai_types(network)), path)


@pytest.mark.parametrize(
    ("entries", "save", "quick", "warned"),
    [
        ({"laion": GELU, "openai": QUICK}, save_rounded, True, False),
        ({"laion": GELU, "openai": QUICK}, save_openai, True, False),
        ({"laion": GELU, "openai": QUICK}, save_half, False, True),
        ({"laion": GELU, "openai": QUICK}, WAYS["safetensors"], False, True),
        ({"laion": GELU, "metaclip": QUICK}, save_rounded, False, True),
        ({"openai": QUICK, "metaclip": QUICK}, WAYS["safetensors"], True, False),
        ({"laion": GELU}, save_rounded, False, False),
        ({}, save_rounded, False, False),
    ],
)
def test_the_activation_is_the_published_one(network, published, tmp_path, caplog, entries, save, quick, warned):
    published(**entries)
    save(network, tmp_path / "w.pt")
    (loaded,) = load_clip(f"Tiny@{tmp_path / 'w.pt'}")
    kinds = {type(module).__name__ for module in loaded.model.modules()}
    assert ("QuickGELU" in kinds, "GELU" in kinds) == (quick, not quick)
    assert ("w.pt: the weights published for Tiny differ in quick_gelu" in caplog.text) == warned
    assert str(tmp_path) not in caplog.text


def test_preprocessing_is_what_all_published_weights_agree_on(network, published, tmp_path, caplog):
    WAYS["safetensors"](network, tmp_path / "w.pt")
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bilinear"}
    published(a=plain, b=plain)
    (loaded,) = load_clip(f"Tiny@{tmp_path / 'w.pt'}")
    assert (loaded.mean.unique().tolist(), loaded.std.unique().tolist()) == ([0], [1])
    assert loaded.interpolation == "bilinear"
    assert not caplog.text
    published(a=plain, b={**plain, "std": (0.5, 0.5, 0.5)})
    (other,) = load_clip(f"Tiny@{tmp_path / 'w.pt'}")
    assert "differ in std" in caplog.text
    assert torch.allclose(other.std.flatten(), torch.tensor(open_clip.OPENAI_DATASET_STD))
    assert other.fingerprint != loaded.fingerprint


@pytest.mark.parametrize(
    ("architecture", "mean", "std"),
    [("MobileCLIP-S1", 0.0, 1.0), ("ViT-B-16-SigLIP", 0.5, 0.5), ("PE-Core-B-16", 0.5, 0.5)],
)
def test_open_clip_still_publishes_what_this_was_made_for(architecture, mean, std):
    entries = [
        open_clip.get_pretrained_cfg(architecture, t) for t in open_clip.list_pretrained_tags_by_model(architecture)
    ]
    assert entries
    assert all(set(e["mean"]) == {mean} and set(e["std"]) == {std} for e in entries)


def test_interpolation_is_used_and_counts(clip):
    (model,) = clip
    image = torch.rand(1, 3, 50, 50)
    bicubic, before = model.encode_image(image), model.fingerprint
    del model.fingerprint
    model.interpolation = "bilinear"
    assert not torch.equal(model.encode_image(image), bicubic)
    assert model.fingerprint != before


def test_loading_says_nothing_of_its_own_steps(clip_folder, caplog):
    caplog.set_level(logging.DEBUG)
    load_clip(str(clip_folder))
    assert "randomly" not in caplog.text
    assert not logging.getLogger().filters


def numbers(value, keys=()):
    """Places of the numbers in a configuration, as tuples of keys."""
    if isinstance(value, dict):
        return [place for key, part in value.items() for place in numbers(part, (*keys, key))]
    return [keys] if isinstance(value, int) else []


@pytest.fixture
def with_number(clip_folder, tmp_path):
    """Make a folder whose configuration has another number in one place."""

    def change(place, number):
        folder = shutil.copytree(clip_folder, tmp_path / "clip")
        config = json.loads((folder / "open_clip_config.json").read_text())
        part = config["model_cfg"]
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = number
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        return str(folder)

    return change


MORE = [("text_cfg", "mlp_ratio"), ("vision_cfg", "mlp_ratio"), ("vision_cfg", "patch_dropout")]
PLACES = numbers(TINY_CLIP["model_cfg"]) + MORE


# Thousands of layers are made, in seconds, before their number is refused at the limit that counts.
LARGE = [(number, place) for number in (3_000_000, 2**63) for place in numbers(TINY_CLIP["model_cfg"])]
LONG = {case for case in LARGE if case[0] == 2**63 and case[1][-1] == "layers"}
SLOW = {*LONG, (3_000_000, ("vision_cfg", "layers"))}


@pytest.mark.parametrize(
    ("number", "place"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] if case in SLOW else [], id=f"{case[0]}-{'.'.join(case[1])}")
        for case in LARGE
    ],
)
def test_a_configuration_cannot_ask_for_more_than_the_weights(with_number, monkeypatch, place, number):
    made, register = [], torch.nn.Module.register_parameter

    def count(module, name, parameter):
        made.append(0 if parameter is None else parameter.numel())
        register(module, name, parameter)

    monkeypatch.setattr(torch.nn.Module, "register_parameter", count)
    if place[-1] == "layers" and (number, place) not in LONG:
        monkeypatch.setattr("nada.clip.weights._MORE", 1 << 16)
        monkeypatch.setattr("nada.clip.weights._TIMES", 2)
    with pytest.raises(NadaError) as caught:
        load_clip(with_number(place, number))
    assert str(caught.value).isprintable()
    assert sum(made) < 1e8


@pytest.mark.parametrize("place", PLACES, ids=".".join)
@pytest.mark.parametrize("number", [0, 0.5, pytest.param(2.0, marks=pytest.mark.slow)])
def test_a_model_that_loads_can_be_used(with_number, place, number):
    try:
        (model,) = load_clip(with_number(place, number))
    except NadaError:
        return
    assert model.encode_text(["a dog"]).isfinite().all()
    assert model.encode_image(torch.zeros(2, 3, 20, 20)).isfinite().all()


def changed_config(clip_folder, tmp_path, **text_cfg) -> Path:
    folder = shutil.copytree(clip_folder, tmp_path / "changed")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= text_cfg
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "options", [{"trust_remote_code": True}, {"code_revision": "x"}, {"clean": "lower", "use_fast": False}, [], "x"]
)
def test_a_folder_cannot_tell_the_tokenizer_to_run_code(clip_folder, tmp_path, options, monkeypatch):
    folder = changed_config(clip_folder, tmp_path, hf_tokenizer_name="x", tokenizer_kwargs=options)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda *_: pytest.fail("the tokenizer was made"))
    with pytest.raises(NadaError, match=r"open_clip_config\.json"):
        load_clip(str(folder))


def test_options_of_how_texts_are_read_are_allowed(clip_folder, tmp_path):
    (model,) = load_clip(str(changed_config(clip_folder, tmp_path, tokenizer_kwargs={"clean": "lower"})))
    assert model.encode_text(["a"]).isfinite().all()


def test_many_tensors_of_the_same_numbers_are_not_read(network, tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    numbers = torch.zeros(1 << 18)
    tensors = network.state_dict() | {f"x{i}": numbers.view(512, 512) for i in range(40)}
    torch.save(tensors, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(NadaError, match="repeat each other's numbers"):
        load_clip(str(tmp_path))
