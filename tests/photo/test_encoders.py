"""Encoders of other projects: their codes, recomputed from the tensors of small files, and damaged files."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.checkpoint_files import small_generator
from helpers.checkpoint_fuzz import Guard, mutated
from helpers.encoder_files import KINDS_OF_FILES, UNITS, Tensors, encoder_contents
from torch import Tensor

from nada.checkpoint import load_generator
from nada.errors import CheckpointError, NadaError, UsageError
from nada.latents.rendering import generate
from nada.photo.encoders.files import KINDS, load_published_encoder
from nada.stylegan2 import Generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    """Sizes for 64 px and 10 codes, so that all three feature maps are used."""
    return small_generator(64)


@pytest.fixture
def write(generator, tmp_path):
    def write(kind: str = "e4e", **changes) -> Path:
        torch.save(encoder_contents(generator, kind, **changes), tmp_path / "encoder.pt")
        return tmp_path / "encoder.pt"

    return write


# The formulas of the papers' supplements, without any module of the package.


def norm(x: Tensor, t: Tensors, name: str) -> Tensor:
    mean, variance, weight, bias = (
        t[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def prelu(x: Tensor, t: Tensors, name: str) -> Tensor:
    return torch.where(x >= 0, x, x * t[f"{name}.weight"][:, None, None])


def conv(x: Tensor, t: Tensors, name: str, stride: int = 1) -> Tensor:
    weight = t[f"{name}.weight"]
    return F.conv2d(x, weight, t.get(f"{name}.bias"), stride, weight.shape[-1] // 2)


def shortcut(x: Tensor, t: Tensors, name: str, stride: int) -> Tensor:
    if f"{name}.0.weight" in t:
        return norm(conv(x, t, f"{name}.0", stride), t, f"{name}.1")
    return x[..., ::stride, ::stride]


def trunk_maps(x: Tensor, t: Tensors) -> list[Tensor]:
    """Features after each stage."""
    gated = "input_layer.0.weight" in t
    if gated:
        x = prelu(norm(conv(x, t, "input_layer.0"), t, "input_layer.1"), t, "input_layer.2")
    else:
        x = prelu(norm(conv(x, t, "conv1", 2), t, "bn1"), t, "relu")
    maps, number = [], 0
    for stage, count in enumerate(UNITS["ir_se" if gated else "resnet"]):
        for i in range(count):
            stride, unit = 2 if i == 0 and (gated or stage) else 1, f"body.{number}"
            if gated:
                y = conv(norm(x, t, f"{unit}.res_layer.0"), t, f"{unit}.res_layer.1")
                y = conv(prelu(y, t, f"{unit}.res_layer.2"), t, f"{unit}.res_layer.3", stride)
                y = norm(y, t, f"{unit}.res_layer.4")
                gate = y.mean(dim=(2, 3), keepdim=True)
                gate = conv(conv(gate, t, f"{unit}.res_layer.5.fc1").relu(), t, f"{unit}.res_layer.5.fc2").sigmoid()
                x = y * gate + shortcut(x, t, f"{unit}.shortcut_layer", stride)
            else:
                y = norm(conv(x, t, f"{unit}.conv1", stride), t, f"{unit}.bn1").relu()
                y = norm(conv(y, t, f"{unit}.conv2"), t, f"{unit}.bn2")
                x = (y + shortcut(x, t, f"{unit}.downsample", stride)).relu()
            number += 1
        maps.append(x)
    return maps


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


def relative_codes(x: Tensor, t: Tensors, offsets: bool) -> Tensor:
    """Codes without the average."""
    _, fine, middle, coarse = trunk_maps(x, t)
    maps = [coarse] * 3
    if "latlayer1.weight" in t:
        maps[1] = enlarged(coarse, middle) + conv(middle, t, "latlayer1")
        maps[2] = enlarged(maps[1], fine) + conv(fine, t, "latlayer2")
    rows: list[Tensor] = []
    for j in range(sum(name.endswith("linear.weight") for name in t)):
        y, i = maps[0 if j < 3 else 1 if j < 7 else 2], 0
        while f"styles.{j}.convs.{2 * i}.weight" in t:
            y = F.leaky_relu(conv(y, t, f"styles.{j}.convs.{2 * i}", 2), 0.01)
            i += 1
        weight = t[f"styles.{j}.linear.weight"]
        row = y[:, :, 0, 0] @ (weight / weight.shape[1] ** 0.5).T + t[f"styles.{j}.linear.bias"]
        rows.append(row if j == 0 or not offsets else rows[0] + row)
    return torch.stack(rows, dim=1)


def expected_codes(images: Tensor, checkpoint: dict, generator: Generator) -> Tensor:
    """Codes of images [N, 3, 256, 256] (192 x 256 for cars) by the formulas."""
    names, options = checkpoint["state_dict"], checkpoint["opts"]
    t = {name.removeprefix("encoder."): tensor for name, tensor in names.items() if name.startswith("encoder.")}
    offsets = options["encoder_type"] in (
        "Encoder4Editing",
        "ProgressiveBackboneEncoder",
        "ResNetProgressiveBackboneEncoder",
    )
    codes = checkpoint["latent_avg"].expand(len(images), -1, -1)
    if options["input_nc"] == 3:
        return codes + relative_codes(images, t, offsets)
    for _ in range(options["n_iters_per_batch"]):
        reached = F.adaptive_avg_pool2d(generate(generator, codes, "const"), 256)
        codes = codes + relative_codes(torch.cat([images, reached], dim=1), t, offsets)
    return codes


def pictures(count: int = 1, height: int = 256) -> Tensor:
    rough = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return F.interpolate(rough, (height, 256), mode="bilinear")


FEW = {"e4e", "restyle_psp_resnet"}  # one with each trunk, read off three maps and off one


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in FEW else [pytest.mark.slow]) for kind in KINDS_OF_FILES]
)
def test_codes_are_those_of_the_formulas(write, generator, kind):
    checkpoint = encoder_contents(generator, kind)
    encoder = load_published_encoder(write(kind))
    found, expected = encoder.encode(pictures(), generator), expected_codes(pictures(), checkpoint, generator)
    assert found.shape == (1, generator.num_ws, generator.config.w_dim)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max().clamp(min=1)


def test_every_kind_is_tested():
    assert {row[0] for row in KINDS_OF_FILES.values()} == {*KINDS}


@pytest.mark.slow
def test_cars_are_looked_at_without_their_black_bars_and_may_have_codes_to_spare(write, generator):
    options = {"dataset_type": "cars_encode"}
    checkpoint = encoder_contents(generator, "e4e", options, num_ws=12)
    encoder = load_published_encoder(write("e4e", options=options, num_ws=12))
    wide = pictures(height=192)
    expected = expected_codes(wide, checkpoint, generator)[:, : generator.num_ws]
    square = F.pad(wide, (0, 0, 32, 32), value=-1.0)
    for images in (wide, square):
        assert (encoder.encode(images, generator) - expected).abs().max() < 1e-4 * expected.abs().max()
    with pytest.raises(UsageError, match=r"finds codes \[12, 14\].*takes \[10, 14\]"):
        load_published_encoder(write("e4e", num_ws=12)).encode(square, generator)


@pytest.mark.slow
def test_pictures_of_any_size_and_number(write, generator, monkeypatch):
    monkeypatch.setattr("nada.photo.encoders.published.BATCH", 2)
    encoder = load_published_encoder(write("restyle_e4e_resnet"))
    for shape in ((1, 3, 40, 30), (1, 3, 300, 300), (1, 1, 64, 64), (1, 4, 64, 64)):
        assert encoder.encode(torch.rand(shape) * 2 - 1, generator).isfinite().all()
    three = encoder.encode(pictures(3), generator)
    assert (three[0] - three[1]).abs().mean() > 1e-3, "it looks at the pictures"
    assert torch.allclose(three[2:], encoder.encode(pictures(3)[2:], generator), atol=1e-4)


def test_it_knows_the_generator_that_it_was_trained_for(write, generator, caplog):
    path = write()
    encoder = load_published_encoder(path)
    caplog.set_level(logging.WARNING)
    assert encoder.knows(load_generator(path))
    encoder.encode(pictures(), generator)
    assert not caplog.records
    assert not encoder.knows(small_generator(64, seed=2))
    assert not encoder.knows(small_generator(32))
    adapted = copy.deepcopy(generator)
    with torch.no_grad():
        adapted.synthesis.b64.conv1.weight.add_(0.1)
    assert not encoder.knows(adapted)
    encoder.encode(pictures(), small_generator(64, seed=2))
    assert "another generator" in caplog.text


@pytest.mark.slow
def test_files_may_lack_what_is_not_needed_and_hold_more(generator, tmp_path):
    checkpoint = encoder_contents(generator, "restyle_e4e")
    names = {name: tensor for name, tensor in checkpoint["state_dict"].items() if name.startswith("encoder.")}
    names["encoder.output_layer.3.weight"] = torch.zeros(4, 4)
    del checkpoint["opts"]["n_iters_per_batch"]
    torch.save({"state_dict": names, "latent_avg": torch.zeros(14), "opts": checkpoint["opts"]}, tmp_path / "a.pt")
    encoder = load_published_encoder(tmp_path / "a.pt")
    assert encoder.config.iterations == 5
    assert encoder.knows(generator), "there is nothing to compare with"
    assert encoder.average.shape == (1, 14)
    torch.save(encoder_contents(generator, "psp"), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert load_published_encoder(tmp_path / "b.pt").config.name == "pSp"


def test_codes_relative_to_zero(write, generator):
    encoder = load_published_encoder(write("psp", options={"start_from_latent_avg": False}))
    assert torch.equal(encoder.average, torch.zeros(1, 14))


def change(checkpoint: dict, name: str, tensor: Tensor | None) -> None:
    if tensor is None:
        del checkpoint["state_dict"][name]
    else:
        checkpoint["state_dict"][name] = tensor


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.pop("latent_avg"), "lacks the average code"),
        (lambda c: c.update(latent_avg=torch.zeros(3, 14)), r"\[3, 14\] instead of \[10, 14\]"),
        pytest.param(
            lambda c: c.update(latent_avg=torch.full((10, 14), torch.nan)), "not finite", marks=pytest.mark.slow
        ),
        (lambda c: c.pop("opts"), "says that its encoder is None"),
        pytest.param(lambda c: c["opts"].update(encoder_type="FromMars"), "FromMars", marks=pytest.mark.slow),
        (lambda c: change(c, "encoder.body.5.res_layer.3.weight", None), "body.5.res_layer.3.weight.*lacks it"),
        (lambda c: change(c, "encoder.latlayer1.bias", torch.zeros(3)), r"latlayer1.bias should be \[32\].*\[3\]"),
        pytest.param(
            lambda c: change(c, "encoder.latlayer1.bias", torch.full((32,), torch.inf)),
            "not finite",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda c: change(c, "encoder.styles.4.linear.weight", None),
            "9 codes, and not all in order",
            marks=pytest.mark.slow,
        ),
        (lambda c: change(c, "encoder.input_layer.0.weight", torch.zeros(16, 19, 3, 3)), "cannot be built"),
        pytest.param(lambda c: change(c, "encoder.input_layer.0.weight", None), "lacks", marks=pytest.mark.slow),
        (lambda c: change(c, "encoder.styles.0.linear.weight", None), "no encoder that is known"),
        (lambda c: c["opts"].update(n_iters_per_batch=10**9), "cannot be built|cannot have these sizes"),
    ],
)
def test_files_of_another_kind_or_damaged_get_a_sentence(generator, tmp_path, damage, message):
    checkpoint = encoder_contents(generator, "e4e")
    damage(checkpoint)
    torch.save(checkpoint, tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError, match=message):
        load_published_encoder(tmp_path / "encoder.pt")


def test_no_file_gets_a_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        load_published_encoder(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match=r"text\.pt"):
        load_published_encoder(tmp_path / "text.pt")


@pytest.mark.slow
def test_damaged_bytes_end_in_a_sentence(write):
    files = [write(kind).read_bytes() for kind in ("e4e", "restyle_psp_resnet")]
    path, guard, outcomes = write().with_name("damaged.pt"), Guard(), Counter()
    for number in range(30):
        path.write_bytes(mutated(files, 1, number))
        try:
            with guard.watching():
                load_published_encoder(path)
            outcomes["read"] += 1
        except NadaError as error:
            outcomes["refused" if str(error).isprintable() else f"unprintable: file {number}"] += 1
        assert not guard.seen, f"file {number}: {guard.seen}"
    assert outcomes.keys() <= {"read", "refused"}
    assert outcomes["refused"] > 8
