"""StyleGAN2's discriminator compared with its definition, and read from files."""

from __future__ import annotations

from math import prod, sqrt

import pytest
import torch
from helpers.checkpoint_files import containers, put
from helpers.discriminator_files import alive, nvidia_bytes, rosinality_names
from safetensors.torch import save
from torch import Tensor

from nada.checkpoint.discriminators import load_discriminator, save_discriminator
from nada.errors import CheckpointError, UsageError
from nada.stylegan2.discriminator import Discriminator, DiscriminatorConfig

# The definition in float64, without any operation of the tested code.


def correlate(x: Tensor, weight: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Sum over kernel places and input channels, place by place."""
    n, c, height, width = x.shape
    wide = x.new_zeros(n, c, height + 2 * padding, width + 2 * padding)
    wide[:, :, padding : padding + height, padding : padding + width] = x
    rows = (wide.shape[2] - weight.shape[2]) // stride + 1
    columns = (wide.shape[3] - weight.shape[3]) // stride + 1
    total = x.new_zeros(n, len(weight), rows, columns)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            seen = wide[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            total += torch.einsum("nchw,oc->nohw", seen, weight[:, :, i, j])
    return total


def low_pass(x: Tensor, padding: int) -> Tensor:
    """The filter [1, 3, 3, 1] / 8 along both sides, channel by channel."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    kernel = (taps[:, None] * taps)[None, None]
    return torch.stack([correlate(x[:, i : i + 1], kernel, padding)[:, 0] for i in range(x.shape[1])], dim=1)


def active(x: Tensor, bias: Tensor, clamp: float | None) -> Tensor:
    shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
    x = x + bias.reshape(shape)
    x = torch.where(x < 0, 0.2 * x, x) * sqrt(2)
    return x if clamp is None else x.clamp(-clamp, clamp)


def by_hand(discriminator: Discriminator, images: Tensor) -> Tensor:
    config = discriminator.config
    weights = {name: tensor.double() for name, tensor in discriminator.state_dict().items()}

    def scaled(name: str) -> Tensor:
        weight = weights[f"{name}.weight"]
        return weight / sqrt(prod(weight.shape[1:]))

    def layer(x: Tensor, name: str) -> Tensor:
        weight = scaled(name)
        return active(correlate(x, weight, weight.shape[2] // 2), weights[f"{name}.bias"], config.conv_clamp)

    x = layer(images.double(), f"b{config.resolution}.fromrgb")
    for r in reversed(config.resolutions[1:]):
        short = correlate(low_pass(x, 1)[:, :, ::2, ::2], scaled(f"b{r}.skip"), 0)
        x = layer(x, f"b{r}.conv0")
        x = correlate(low_pass(x, 2), scaled(f"b{r}.conv1"), 0, stride=2)
        x = (active(x, weights[f"b{r}.conv1.bias"], config.conv_clamp) + short) / sqrt(2)
    size = max(n for n in range(1, config.group + 1) if len(x) % n == 0)
    groups = len(x) // size
    maps = torch.empty(len(x), 1, 4, 4, dtype=torch.float64)
    for i in range(len(x)):
        members = x[[i % groups + k * groups for k in range(size)]]
        variance = ((members - members.mean(0)) ** 2).mean(0)
        maps[i] = (variance + 1e-8).sqrt().mean()
    x = layer(torch.cat([x, maps], dim=1), "b4.conv").flatten(1)
    x = active(x @ scaled("b4.fc").T, weights["b4.fc.bias"], None)
    return (x @ scaled("b4.out").T + weights["b4.out.bias"])[:, 0]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("fields", [{}, {"conv_clamp": 0.7, "group": 8}, {"img_channels": 1, "resolution": 8}])
def test_logits_and_gradients_equal_the_definition(count, fields):
    discriminator = alive(**fields).double()
    channels, side = discriminator.config.img_channels, discriminator.config.resolution
    images = torch.randn(count, channels, side, side, dtype=torch.float64, requires_grad=True)
    found, expected = discriminator(images), by_hand(discriminator, images)
    assert torch.allclose(found, expected, atol=1e-9)
    slopes = [torch.autograd.grad(logits.sum(), images)[0] for logits in (found, expected)]
    assert torch.allclose(*slopes, atol=1e-9)


def test_r1_has_a_gradient_for_the_weights():
    """The gradient of a gradient, compared with a finite difference."""
    discriminator = alive().double().requires_grad_(True)
    images, weight = torch.randn(4, 3, 16, 16, dtype=torch.float64), discriminator.b16.conv1.weight

    def penalty() -> Tensor:
        x = images.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
        return slope.square().sum()

    (slope,) = torch.autograd.grad(penalty(), weight)
    step, way = 1e-6, torch.randn_like(weight)
    ends = []
    for sign in (1, -1):
        weight.data.add_(way, alpha=sign * step)
        ends.append(penalty().item())
        weight.data.add_(way, alpha=-sign * step)
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((slope * way).sum()), rel=1e-4)


def test_features_leave_each_block():
    shapes = [tuple(f.shape) for f in alive().features(torch.zeros(2, 3, 16, 16))]
    assert shapes == [(2, 8, 8, 8), (2, 10, 4, 4)]
    with pytest.raises(UsageError, match=r"takes \['N', 3, 16, 16\]"):
        alive()(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    "fields",
    [
        {"resolution": 12},
        {"resolution": 4},
        {"channels": (4,)},
        {"channels": (4, 0, 4)},
        {"conv_clamp": 0.0},
        {"group": 0},
    ],
)
def test_impossible_sizes_are_refused(fields):
    with pytest.raises(UsageError):
        DiscriminatorConfig(**{"resolution": 16, "channels": (4, 4, 4), **fields})


# Files


@pytest.mark.parametrize("resolution", [8, 16, 32])
@pytest.mark.parametrize("container", range(3))
def test_reads_rosinality(tmp_path, resolution, container):
    discriminator = alive(resolution)
    data = containers({"g": {}, "d": rosinality_names(discriminator), "ada_aug_p": 0.0})[container]
    loaded = load_discriminator(put(tmp_path, data))
    images = torch.randn(4, 3, resolution, resolution)
    assert torch.equal(loaded(images), discriminator(images))
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("fields", [{}, {"conv_clamp": 0.7, "group": 8}])
def test_reads_nvidia_with_its_constants(tmp_path, fields):
    discriminator = alive(**fields)
    loaded = load_discriminator(put(tmp_path, nvidia_bytes(discriminator)))
    assert loaded.config == discriminator.config
    images = torch.randn(8, 3, 16, 16)
    assert torch.equal(loaded(images), discriminator(images))


def test_its_own_files_come_back_bit_by_bit(tmp_path):
    discriminator = alive(conv_clamp=256.0, group=2)
    save_discriminator(discriminator, tmp_path / "d.safetensors")
    loaded = load_discriminator(tmp_path / "d.safetensors")
    assert loaded.config == discriminator.config
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(loaded(images), discriminator(images))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "skip"}, "cannot be loaded"),
        ({"activation": "relu"}, "cannot be loaded"),
        ({"num_channels": 2}, "cannot be loaded"),
        ({"group_size": None}, "cannot be loaded"),
        ({"group_size": 0}, "cannot be built"),
        ({"conv_clamp": "x"}, "cannot be loaded"),
        ({"conv_clamp": -1.0}, "cannot be built"),
        ({"conv_clamp": float("nan")}, "cannot be"),
        ({"conv_clamp": 1e300}, "cannot be built"),
        ({"conv_clamp": 10**400}, "cannot be built"),
        ({"group_size": 10**600}, "cannot be"),
        ({"extra": {"more": {"weight": torch.zeros(2)}}}, "no complete"),
    ],
)
def test_other_kinds_get_a_sentence(tmp_path, changes, words):
    with pytest.raises(CheckpointError, match=words) as error:
        load_discriminator(put(tmp_path, nvidia_bytes(alive(), **changes)))
    assert "\n" not in str(error.value)


def test_damaged_networks_get_a_sentence(tmp_path):
    names = rosinality_names(alive(8))
    for name in names:
        for broken in (None, torch.zeros(2, 2), torch.full(names[name].shape, torch.nan)):
            tensors = {k: v.clone().contiguous() for k, v in names.items() if k != name}
            if broken is not None:
                tensors[name] = broken
            elif name.endswith("kernel"):
                continue  # a constant, which files may omit
            with pytest.raises(CheckpointError) as error:
                load_discriminator(put(tmp_path, save({f"d.{k}": v for k, v in tensors.items()})))
            assert "\n" not in str(error.value)


def test_files_without_one_get_a_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="holds no StyleGAN2 discriminator"):
        load_discriminator(put(tmp_path, save({"x": torch.zeros(2)})))
    with pytest.raises(CheckpointError, match="there is no file"):
        load_discriminator(tmp_path / "missing")


def test_labels_are_refused(tmp_path):
    tensors = {f"D.{name}": tensor for name, tensor in alive().state_dict().items()}
    tensors["D.mapping.embed.weight"] = torch.zeros(4, 4)
    with pytest.raises(CheckpointError, match="has labels"):
        load_discriminator(put(tmp_path, save(tensors)))
