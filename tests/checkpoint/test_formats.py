"""Rarer formats: other architectures, classes, TensorFlow, encoders, and images that are not square."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.checkpoint_files import (
    encoder_checkpoint,
    nvidia_bytes,
    put,
    refused,
    rosinality_checkpoint,
    small_generator,
    tensorflow_bytes,
    torch_bytes,
)
from safetensors.torch import save

from nada import sample_latents
from nada.checkpoint import inspect_file, load_generator, save_generator
from nada.checkpoint.canonical import canonical_shapes
from nada.errors import UsageError
from nada.stylegan2 import Generator, GeneratorConfig

KINDS = {
    "skip": {},
    "resnet": {"architecture": "resnet", "conv_clamp": 256.0},
    "orig": {"architecture": "orig"},
    "classes": {"c_dim": 5},
    "classes, resnet": {"c_dim": 2, "architecture": "resnet"},
    "rgba": {"img_channels": 4},
    "high": {"start": (4, 2)},
    "wide": {"start": (3, 7)},
    "wide z": {"z_dim": 16},
}


def same(a: Generator, b: Generator) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], rtol=0, atol=2e-7) for name in a)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resolution", [pytest.param(4, marks=pytest.mark.slow), 32])
def test_nvidia(tmp_path, kind, resolution):
    generator = small_generator(resolution, demod_eps="raw", **KINDS[kind])
    loaded = load_generator(put(tmp_path, nvidia_bytes(generator)))
    if resolution > 4:  # at 4 px, all architectures are the same
        assert loaded.config == generator.config
    assert same(generator, loaded)


@pytest.mark.parametrize("kind", ["skip", "resnet", "orig", "classes", "rgba"])
@pytest.mark.parametrize("protocol", [2, pytest.param(3, marks=pytest.mark.slow), 4, 5])
def test_tensorflow(tmp_path, kind, protocol):
    generator = small_generator(32, **KINDS[kind])
    loaded = load_generator(put(tmp_path, tensorflow_bytes(generator, protocol)))
    assert loaded.config == generator.config
    assert loaded.metadata["source"]["format"] == "tensorflow"
    assert same(generator, loaded)


def test_tensorflow_networks_that_grew(tmp_path):
    """Configs B to D make the image in the last block, and keep the to-RGB layers from progressive growing."""
    generator = small_generator(32, architecture="orig")
    loaded = load_generator(put(tmp_path, tensorflow_bytes(generator, growing=True, structure="linear")))
    assert loaded.config.architecture == "orig"
    assert same(generator, loaded)


def test_tensorflow_network_alone(tmp_path):
    generator = small_generator()
    assert same(load_generator(put(tmp_path, tensorflow_bytes(generator, alone=True))), generator)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"nonlinearity": "relu"}, "nonlinearity = relu; it must be lrelu"),
        ({"resample_kernel": [1, 2, 1]}, "resample_kernel.2 = 1; it must be 3"),
        ({"resample_kernel": None}, "resample_kernel"),
        ({"normalize_latents": False}, "normalize_latents"),
        ({"blur_everything": 3}, "not known here: blur_everything"),
        ({"architecture": "resnet"}, "is 'resnet', its tensors say 'skip'"),
        ({"conv_clamp": -1.0}, "conv_clamp"),
        ({"conv_clamp": 1e300}, "conv_clamp"),
    ],
)
def test_tensorflow_networks_of_other_kinds(tmp_path, arguments, what):
    assert what in refused(tmp_path, tensorflow_bytes(small_generator(), **arguments))


@pytest.mark.parametrize("start", [(4, 4), (4, 2), (6, 4), (3, 7)])
@pytest.mark.parametrize("pixels", [False, True])
def test_tensorflow_networks_of_other_forms(tmp_path, start, pixels):
    generator = small_generator(32, start=start)
    height, width = generator.config.size(32)
    said = {"init_res": [*start], "min_h": start[0], "min_w": start[1], "res_log2": 3}
    said |= {"resolution_h": height, "resolution_w": width, "verbose": True, "impl": "ref"}
    loaded = load_generator(put(tmp_path, tensorflow_bytes(generator, pixels=pixels, **said)))
    assert loaded.config == generator.config
    assert same(generator, loaded)
    assert loaded.metadata["notes"] == []


@pytest.mark.parametrize(
    "said", [{"resolution_w": 512}, {"resolution_h": 512}, {"min_h": 5}, {"min_w": 5}, {"res_log2": 7}]
)
def test_tensorflow_arguments_that_contradict_the_shapes_are_noted(tmp_path, said):
    generator = small_generator()
    loaded = load_generator(put(tmp_path, tensorflow_bytes(generator, **said)))
    assert same(generator, loaded)
    ((name, value),) = said.items()
    assert f"{name} is {value}; its tensors say" in loaded.metadata["notes"][0]


def test_tensorflow_blocks_of_impossible_sizes(tmp_path):
    data = tensorflow_bytes(small_generator())
    for wrong in (b"9x9/Conv1", b"0x8/Conv1", b"8x0/Conv1"):
        assert refused(tmp_path, data.replace(b"8x8/Conv1", wrong))
    assert refused(tmp_path, data.replace(b"4x4/Const", b"0x0/Const"))


def test_tensorflow_labels_of_the_first_repository(tmp_path):
    data = tensorflow_bytes(small_generator(c_dim=3)).replace(b"LabelEmbed", b"LabelConca")
    assert "labels the way NVlabs/stylegan2 did" in refused(tmp_path, data)


def test_tensorflow_while_it_grows(tmp_path):
    assert "still growing" in refused(tmp_path, tensorflow_bytes(small_generator(), lod=1.5))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ">f4"])
def test_tensorflow_arrays_of_any_order_and_precision(tmp_path, dtype, order):
    generator = small_generator()
    data = tensorflow_bytes(generator, convert=lambda array: array.astype(dtype, order=order))
    if dtype == ">f4":
        assert "TensorFlow pickle of NVIDIA's, but not" in refused(tmp_path, data)
        return
    tensors = load_generator(put(tmp_path, data)).state_dict()
    tolerance = 1e-2 if dtype == "f2" else 2e-7
    assert all(torch.allclose(tensors[n], t, atol=tolerance, rtol=tolerance) for n, t in generator.state_dict().items())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_generators_in_encoders(tmp_path, rank):
    generator = small_generator(16)
    average = generator.mapping.w_avg
    for _ in range(rank - 1):
        average = torch.stack([average, average * 0])[: 2 if average.ndim > 1 else 6]
    loaded = load_generator(put(tmp_path, torch_bytes(encoder_checkpoint(generator, average))))
    assert same(generator, loaded)
    assert loaded.metadata["source"]["format"] == "psp"
    assert "only the generator" in loaded.metadata["notes"][0]


def test_images_of_other_forms_from_rosinality(tmp_path):
    for fields, shape in (({"start": (4, 2)}, (3, 32, 16)), ({"img_channels": 4}, (4, 32, 32))):
        generator = small_generator(32, **fields)
        loaded = load_generator(put(tmp_path, torch_bytes(rosinality_checkpoint(generator))))
        assert same(generator, loaded)
        assert loaded(torch.randn(2, 14)).shape == (2, *shape)
        assert loaded.synthesis.sample_noise(2)["b8.conv0"].shape == (2, 1, 8, 8 * loaded.config.start[1] // 4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_them_are_saved_and_loaded(tmp_path, kind):
    generator = small_generator(32, **KINDS[kind])
    save_generator(generator, tmp_path / "own")
    loaded = load_generator(tmp_path / "own")
    assert loaded.config == generator.config
    assert loaded.fingerprint() == generator.fingerprint()
    assert inspect_file(tmp_path / "own")["config"]["start"] == list(generator.config.start)
    shapes = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    assert canonical_shapes(generator.config) == shapes
    assert load_generator(put(tmp_path, save(generator.state_dict()))).config.architecture == (
        generator.config.architecture
    )


def reference(generator: Generator, ws: torch.Tensor) -> torch.Tensor:
    """Figure 7 of the paper: grouped convolutions with weights modulated for each image."""
    config, images = generator.config, []
    tensors = dict(generator.state_dict())
    taps = torch.tensor([1.0, 3, 3, 1])
    kernel = torch.outer(taps, taps) / 64

    def up(x):
        zeros = torch.zeros(len(x), x.shape[1] * 2, x.shape[2] * 2)
        zeros[:, ::2, ::2] = x
        padded = F.pad(zeros, (2, 1, 2, 1))[:, None]
        return F.conv2d(padded, kernel[None, None] * 4)[:, 0]

    def modulated(x, layer, w, demodulate, upsample=False):
        style = w @ tensors[f"{layer}.affine.weight"].T / w.shape[0] ** 0.5 + tensors[f"{layer}.affine.bias"]
        weight = tensors[f"{layer}.weight"]
        weight = weight / weight[0].numel() ** 0.5 * style[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if upsample:  # zero insertion, flipped convolution, then the filter
            x = F.conv_transpose2d(x[None], weight.transpose(0, 1), stride=2)[0]
            return F.conv2d(F.pad(x, (1, 1, 1, 1))[:, None], kernel[None, None] * 4)[:, 0]
        return F.conv2d(x[None], weight, padding=weight.shape[-1] // 2)[0]

    def layer(x, name, w, upsample):
        x = modulated(x, name, w, True, upsample)
        x = x + tensors[f"{name}.noise_const"] * tensors[f"{name}.noise_strength"]
        x = F.leaky_relu(x + tensors[f"{name}.bias"][:, None, None], 0.2) * 2**0.5
        return x.clamp(-config.conv_clamp, config.conv_clamp) if config.conv_clamp else x

    for codes in ws:
        x, image, index = tensors["synthesis.b4.const"], None, 0
        for r in config.resolutions:
            block, below = f"synthesis.b{r}", x
            if r > 4:
                x, index = layer(x, f"{block}.conv0", codes[index], True), index + 1
            x, index = layer(x, f"{block}.conv1", codes[index], False), index + 1
            if r > 4 and config.architecture == "resnet":
                around = tensors[f"{block}.skip.weight"] / below.shape[0] ** 0.5
                x = (x + up(F.conv2d(below[None], around)[0])) / 2**0.5
            if config.architecture == "skip" or r == config.resolution:
                rgb = (
                    modulated(x, f"{block}.torgb", codes[index], False) + tensors[f"{block}.torgb.bias"][:, None, None]
                )
                rgb = rgb.clamp(-config.conv_clamp, config.conv_clamp) if config.conv_clamp else rgb
                image = rgb if image is None else rgb + up(image)
        images.append(image)
    return torch.stack(images)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_agree_with_the_papers_figure(kind):
    generator = small_generator(32, **{**KINDS[kind], "conv_clamp": 1.0})
    ws = sample_latents(generator, 3) + torch.randn(3, generator.num_ws, 14) * 0.3
    ours, theirs = generator.synthesis(ws), reference(generator, ws)
    assert ours.shape == theirs.shape == (3, generator.config.img_channels, *generator.config.size(32))
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_labels_choose_the_class():
    generator = small_generator(c_dim=3)
    z = torch.randn(3, 14)
    each = [generator.mapping(z, label=label) for label in range(3)]
    assert torch.equal(generator.mapping(z), each[0])
    assert not torch.allclose(each[0], each[1])
    mixed = generator.mapping(z, label=torch.tensor([0, 1, 2]))
    assert all(torch.allclose(mixed[i], each[i][i], atol=1e-6) for i in range(3))
    assert torch.allclose(generator.mapping(z, label=torch.eye(3)), mixed)
    x = z / z.square().mean(dim=1, keepdim=True).sqrt()
    label = generator.mapping.embed.weight[:, 1] / 3**0.5 + generator.mapping.embed.bias
    w = torch.cat([x, (label / label.square().mean().sqrt()).expand(3, -1)], dim=1)
    for fc in (generator.mapping.fc0, generator.mapping.fc1, generator.mapping.fc2):
        w = F.leaky_relu(w @ fc.weight.T * 0.01 / w.shape[1] ** 0.5 + fc.bias * 0.01, 0.2) * 2**0.5
    assert torch.allclose(w, each[1][:, 0], atol=1e-5)
    for wrong in (3, -1, torch.tensor([0, 1, 7]), torch.zeros(3, 2), torch.zeros(1, 1, dtype=torch.long)):
        with pytest.raises(UsageError, match="label"):
            generator.mapping(z, label=wrong)


def test_the_average_over_classes_is_estimated_where_it_is_missing(tmp_path):
    generator = small_generator(c_dim=3, demod_eps="raw")
    tensors = {name: tensor for name, tensor in generator.state_dict().items() if name != "mapping.w_avg"}
    loaded = load_generator(put(tmp_path, save(tensors)))
    z = torch.randn(30_000, 14, generator=torch.Generator().manual_seed(3))
    w = generator.mapping(z, label=torch.arange(30_000) % 3)[:, 0]
    assert (loaded.mapping.w_avg - w.mean(dim=0)).abs().max() < 5 * w.std() / 100
    assert any("class 0" in note for note in loaded.metadata["notes"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("architecture", "figure"), ("c_dim", -1), ("start", (4,)), ("start", (0, 4)), ("start", (4, 1000))],
)
def test_impossible_fields(field, value):
    with pytest.raises(UsageError, match=field):
        GeneratorConfig(8, (4, 4), **{field: value})
