"""All formats load with the same bits and the same images."""

from __future__ import annotations

import hashlib
import io
import json
import sys

import numpy as np
import pytest
import torch
from helpers.checkpoint_files import (
    differing,
    nvidia_bytes,
    put,
    rosinality_checkpoint,
    rosinality_names,
    small_generator,
    torch_bytes,
)
from safetensors.torch import load_file, save, save_file

from nada.checkpoint import blueprint, inspect_file, load_generator, save_generator
from nada.checkpoint.canonical import canonical_shapes
from nada.checkpoint.tensors import Storage, TensorView
from nada.checkpoint.window import Window
from nada.errors import CheckpointError


@pytest.fixture
def generator():
    return small_generator()


# rosinality


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("training", [False, True], ids=["converted", "training"])
@pytest.mark.parametrize("resolution", [4, 8, 64])
def test_rosinality(tmp_path, resolution, training, legacy):
    generator = small_generator(resolution)
    data = torch_bytes(rosinality_checkpoint(generator, training=training), legacy)
    loaded = load_generator(put(tmp_path, data, "dogs.pt"))
    assert differing(generator, loaded) == []
    assert loaded.config == generator.config
    source = {"format": "rosinality", "file": "dogs.pt", "sha256": hashlib.sha256(data).hexdigest()}
    assert loaded.metadata == {"source": source, "notes": []}


@pytest.mark.parametrize(
    "sizes", [{"channels": (3, 5, 7), "mapping_layers": 8}, {"img_channels": 1}, {"img_channels": 4}]
)
def test_rosinality_sizes_come_from_the_shapes(tmp_path, sizes):
    generator = small_generator(**sizes)
    loaded = load_generator(put(tmp_path, torch_bytes(rosinality_checkpoint(generator))))
    assert loaded.config == generator.config
    assert differing(generator, loaded) == []


def test_rosinality_without_average_and_noise_is_filled_in_repeatably(tmp_path, generator):
    path = put(tmp_path, torch_bytes(rosinality_checkpoint(generator, latent_avg=False, noises=False)))
    loaded, again = load_generator(path), load_generator(path)
    assert differing(loaded, again) == []
    filled = [name for name in generator.state_dict() if name.endswith(("noise_const", "w_avg"))]
    assert differing(generator, loaded) == filled
    w = generator.mapping(torch.randn(50_000, 14, generator=torch.Generator().manual_seed(3)))[:, 0]
    error = (loaded.mapping.w_avg - w.mean(dim=0)).abs().max()
    assert error < 5 * w.std() / 100  # the file's estimate is from 10,000 samples
    noise = torch.cat([layer.flatten() for name, layer in loaded.state_dict().items() if name.endswith("noise_const")])
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1
    assert [note.split(";")[0] for note in loaded.metadata["notes"]] == [
        "The file has no average latent",
        "The file has no constant noise",
    ]


def test_what_a_file_lacks_is_bounded(tmp_path, generator, monkeypatch):
    """The average latent of a very wide mapping network would take minutes, noise for a huge start gigabytes."""
    path = put(tmp_path, torch_bytes(rosinality_checkpoint(generator, latent_avg=False, noises=False)))
    monkeypatch.setattr(blueprint, "AVERAGING", 20 * sum(p.numel() for p in generator.mapping.parameters()))
    assert "the mean over 20 random ones" in load_generator(path).metadata["notes"][0]
    monkeypatch.setattr(blueprint, "MAX_PIXELS", generator.config.resolution**2 - 1)
    with pytest.raises(CheckpointError, match="pixels"):
        load_generator(path)


def test_average_latent_per_layer_gives_its_first_row(tmp_path, generator):
    checkpoint = rosinality_checkpoint(generator)
    checkpoint["latent_avg"] = torch.stack([generator.mapping.w_avg, torch.zeros(14)])
    assert differing(generator, load_generator(put(tmp_path, torch_bytes(checkpoint)))) == []


@pytest.mark.parametrize("prefix", ["", "g_ema.", "G_ema.", "decoder.", "module."])
def test_safetensors_with_rosinality_names(tmp_path, generator, prefix):
    tensors = {prefix + name: tensor.clone() for name, tensor in rosinality_names(generator).items()}
    tensors["latent_avg"] = generator.mapping.w_avg
    loaded = load_generator(put(tmp_path, save(tensors)))
    assert differing(generator, loaded) == []
    assert loaded.metadata["source"]["format"] == "rosinality"


# NVIDIA


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nvidia(tmp_path, protocol):
    generator = small_generator(conv_clamp=256.0, demod_eps="raw", mapping_lr_multiplier=0.02)
    path = put(tmp_path, nvidia_bytes(generator, protocol), "dogs.pkl")
    assert not {"torch_utils", "dnnlib"} & sys.modules.keys()
    loaded = load_generator(path)
    assert not {"torch_utils", "dnnlib"} & sys.modules.keys()
    assert differing(generator, loaded) == []
    assert loaded.config == generator.config
    assert loaded.metadata["source"]["format"] == "nvidia"
    assert loaded.metadata["notes"] == []


def test_nvidia_with_channels_last_and_half_precision_weights(tmp_path, generator):
    generator.synthesis.b8.conv1.weight.data = generator.synthesis.b8.conv1.weight.data.to(
        memory_format=torch.channels_last
    )
    generator.synthesis.b16.conv1.weight.data = generator.synthesis.b16.conv1.weight.data.half()
    loaded = load_generator(put(tmp_path, nvidia_bytes(generator)))
    assert loaded.synthesis.b8.conv1.weight.is_contiguous()
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert differing(generator.float(), loaded) == []


def test_nvidia_without_noise_inputs_gets_silent_ones(tmp_path, generator):
    loaded = load_generator(put(tmp_path, nvidia_bytes(generator, use_noise=False)))
    assert not any(t.any() for name, t in loaded.state_dict().items() if "noise" in name)
    assert "without noise" in loaded.metadata["notes"][0]


@pytest.mark.parametrize("prefix", ["", "G_ema.", "g_ema."])
def test_safetensors_with_nvidia_names(tmp_path, generator, prefix):
    tensors = {prefix + name: tensor for name, tensor in generator.state_dict().items()}
    loaded = load_generator(put(tmp_path, save(tensors)))
    assert differing(generator, loaded) == []
    assert loaded.config.demod_eps == "raw"
    assert "clamps" in loaded.metadata["notes"][0]


def test_the_same_weights_in_both_formats_make_the_same_pictures(tmp_path):
    generator = small_generator(32)
    theirs = load_generator(put(tmp_path, torch_bytes(rosinality_checkpoint(generator)), "a"))
    nvidia = load_generator(put(tmp_path, nvidia_bytes(generator), "b"))
    assert (theirs.config.demod_eps, nvidia.config.demod_eps) == ("scaled", "raw")
    z = torch.randn(4, 14)
    a, b = theirs(z, truncation_psi=0.7), nvidia(z, truncation_psi=0.7)
    assert (a - b).abs().max() < 1e-4
    assert a.std() > 0.1


# Tests of all formats


def test_content_decides_and_not_the_name(tmp_path, generator):
    for i, data in enumerate([torch_bytes(rosinality_checkpoint(generator)), nvidia_bytes(generator)]):
        for name in ("a.png", "a.safetensors", "a.pkl", "a.pt"):
            assert load_generator(put(tmp_path, data, name)).metadata["source"]["format"] == ("rosinality", "nvidia")[i]


def test_loading_leaves_the_random_state_alone(tmp_path, generator):
    path = put(tmp_path, torch_bytes(rosinality_checkpoint(generator, latent_avg=False, noises=False)))
    before = torch.random.get_rng_state()
    load_generator(path)
    assert torch.equal(before, torch.random.get_rng_state())


def test_tensors_are_ordinary_even_under_inference_mode(tmp_path, generator):
    path = put(tmp_path, torch_bytes(rosinality_checkpoint(generator, latent_avg=False)))
    with torch.inference_mode():
        loaded = load_generator(path)
    assert not any(tensor.is_inference() for tensor in loaded.state_dict().values())
    loaded.requires_grad_(True)(torch.randn(1, 14)).sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("mapping.fc1.bias"), r"lacks tensors: mapping\.fc1\.bias;"),
        (lambda t: t.update(zebra=torch.ones(1), aard=torch.ones(1)), "unexpected tensors: aard, zebra;"),
        (
            lambda t: [t.pop(k) for k in list(t) if k.endswith("affine.bias")],
            r"b16\.conv0\.affine\.bias, .* and 3 more",
        ),
        (lambda t: t.update({"mapping.w_avg": torch.ones(3)}), r"mapping\.w_avg \[3\] \(should be \[14\]\)"),
        (lambda t: t["synthesis.b8.conv1.bias"].fill_(float("nan")), r"b8\.conv1\.bias .* not finite"),
        (lambda t: t["synthesis.b8.conv1.bias"].fill_(float("inf")), r"b8\.conv1\.bias .* not finite"),
        (lambda t: t.update({"mapping.w_avg": torch.ones(14, dtype=torch.int32)}), "floating-point"),
        (lambda t: t.pop("synthesis.b4.const"), r"unknown|no StyleGAN2 generator"),
    ],
)
def test_incomplete_or_wrong_tensors_are_listed(tmp_path, generator, change, message):
    tensors = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    change(tensors)
    with pytest.raises(CheckpointError, match=message):
        load_generator(put(tmp_path, save(tensors)))


def test_an_unusual_filter_is_refused(tmp_path, generator):
    checkpoint = rosinality_checkpoint(generator)
    checkpoint["g_ema"]["convs.0.conv.blur.kernel"] = torch.full((4, 4), 1 / 4)
    with pytest.raises(CheckpointError, match="filter"):
        load_generator(put(tmp_path, torch_bytes(checkpoint)))


@pytest.mark.parametrize("resolution", [4, 32, 64])
def test_canonical_shapes_are_those_of_the_networks(resolution):
    generator = small_generator(resolution, img_channels=2)
    shapes = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    assert canonical_shapes(generator.config) == shapes


# Views and reports


def test_views_read_what_torch_would(tmp_path):
    numbers = torch.randn(200)
    storage = Storage(torch.float32, Window.of(numbers.numpy().tobytes()))
    for shape, strides, offset in [
        ((4, 5), (5, 1), 0),
        ((5, 4), (1, 5), 3),
        ((3, 2, 2), (30, 7, 2), 11),
        ((), (), 9),
        ((0, 3), (3, 1), 0),
    ]:
        assert torch.equal(
            TensorView(storage, offset, shape, strides).read(), numbers.as_strided(shape, strides, offset)
        )


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (201,), (1,)),
        (199, (2,), (1,)),
        (0, (20, 20), (0, 1)),
        (0, (100,), (3,)),
        (0, (1 << 40,), (0,)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (1,) * 9, (1,) * 9),
        (0, (2.0,), (1,)),
        (0, (True,), (1,)),
    ],
)
def test_views_outside_their_storage_are_refused(offset, shape, strides):
    storage = Storage(torch.float32, Window.of(bytes(800)))
    with pytest.raises(CheckpointError):
        TensorView(storage, offset, shape, strides).read()


def test_inspect_reports_without_loading(tmp_path, generator):
    data = torch_bytes(rosinality_checkpoint(generator, latent_avg=False, training=True), legacy=True)
    report = inspect_file(put(tmp_path, data, "dogs.pt"))
    assert json.loads(json.dumps(report)) == report
    assert report["loadable"]
    assert (report["file"], report["size"], report["sha256"]) == (
        "dogs.pt",
        len(data),
        hashlib.sha256(data).hexdigest(),
    )
    assert (report["container"], report["format"]) == ("torch legacy", "rosinality")
    assert report["config"]["channels"] == [12, 10, 8]
    assert report["parameters"] == sum(p.numel() for p in generator.parameters())
    assert "average" in report["notes"][0]


def test_inspect_says_why_a_file_is_refused(tmp_path):
    report = inspect_file(put(tmp_path, b"\x89PNG\r\n\x1a\n" + bytes(100)))
    assert (report["loadable"], report["reason"][:19]) == (False, "this is a PNG image")
    report = inspect_file(put(tmp_path, torch_bytes({"a": torch.ones(2)})))
    assert (report["container"], report["format"], report["loadable"]) == ("torch zip", "unknown", False)


def test_inspect_of_our_own_file_shows_its_metadata(tmp_path, generator):
    generator.metadata = {"recipes": [{"target": "sketch"}]}
    save_generator(generator, tmp_path / "a")
    report = inspect_file(tmp_path / "a")
    assert (report["format"], report["metadata"]) == ("nada", generator.metadata)


def test_memory_holds_one_generator_and_not_the_file(tmp_path, monkeypatch):
    """Of a training checkpoint, only the numbers of g_ema are read, each of them once."""
    generator = small_generator(32)
    large = torch.randn(1 << 20)
    checkpoint = rosinality_checkpoint(generator) | {"g": {"x": large}, "d": {"y": large + 1}}
    path = put(tmp_path, torch_bytes(checkpoint))
    read, sizes = Window.read_into, []
    monkeypatch.setattr(Window, "read_into", lambda window, buffer: sizes.append(len(buffer)) or read(window, buffer))
    load_generator(path)
    assert sum(sizes) < 2 * sum(t.numel() * 4 for t in generator.state_dict().values()) + (1 << 19)


def test_a_pickled_rosinality_checkpoint(tmp_path, generator):
    """A file written by pickle.dump instead of torch.save: unusual, but with the same content."""
    import pickle

    buffer = io.BytesIO()
    pickle.dump(rosinality_checkpoint(generator), buffer)
    assert differing(generator, load_generator(put(tmp_path, buffer.getvalue()))) == []


def test_safetensors_agree_with_the_library(tmp_path):
    tensors = {
        "half": torch.randn(3, 2).half(),
        "double": torch.randn(4).double(),
        "bf": torch.randn(2, 2).bfloat16(),
        "s": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "a")
    from nada.checkpoint.containers import read_document

    with open(tmp_path / "a", "rb") as file:
        document = read_document(Window(file, 0, (tmp_path / "a").stat().st_size))
        for name, tensor in load_file(tmp_path / "a").items():
            assert torch.equal(document.tensors[name].read(), tensor.float())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        np.str_("ffhq"), np.longdouble(1), np.complex64(1j), np.datetime64("2020-01-01"), np.bytes_(b"x"),
        torch.zeros(3, dtype=torch.complex64), torch.zeros(2, dtype=torch.complex128),
    ],
    ids=lambda value: str(value.dtype),
)  # fmt: skip
def test_values_that_nothing_needs_do_not_refuse_a_generator(tmp_path, value, legacy):
    generator = small_generator(8, z_dim=14)
    checkpoint = rosinality_checkpoint(generator) | {"args": {"name": value}, "note": [value]}
    torch.save(checkpoint, tmp_path / "g.pt", _use_new_zipfile_serialization=not legacy)
    assert load_generator(tmp_path / "g.pt").fingerprint() == generator.fingerprint()
