"""Codes and directions from files of many projects, and files of other kinds."""

from __future__ import annotations

import io
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoint_fuzz import Guard, mutated
from safetensors.torch import load_file, save_file

from nada.errors import CheckpointError, NadaError
from nada.latents import files
from nada.latents.directions import load_direction
from nada.latents.files import KEY, load_latents, save_latents
from nada.stylegan2 import Generator

W = 20  # size of a code of the generator `small`, which takes 8 codes


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def written(folder: Path, name: str, value: Any) -> Path:
    """Write a value to a file, in the format of its ending."""
    path = folder / name
    match path.suffix:
        case ".npy":
            np.save(path, value, allow_pickle=True)
        case ".npz":
            np.savez(path, **value)
        case ".safetensors":
            save_file(value, path)
        case ".legacy":
            torch.save(value, path, _use_new_zipfile_serialization=False)
        case ".pkl":
            path.write_bytes(pickle.dumps(value))
        case _:
            torch.save(value, path)
    return path


# Directions


@pytest.mark.parametrize("shape", [(W,), (1, W), (8, W), (1, 8, W)])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pt", "a.legacy", "a.pkl", "a.safetensors"])
def test_a_direction_in_any_file(tmp_path, name, shape):
    """Directions in the shapes of the paper's own, e4e's and InterFaceGAN's files, by torch or NumPy."""
    step = numbers(*shape)
    numpy = name.endswith((".npy", ".npz", ".pkl"))
    value = step.numpy() if numpy else step
    value = {"boundary": value} if name.endswith((".npz", ".safetensors")) else value
    found = load_direction(written(tmp_path, name, value))
    assert torch.equal(found, step[0] if shape[0] == 1 else step)
    assert torch.equal(load_direction(written(tmp_path, name, value), number=7), found)  # one is one


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_any_precision_and_order(tmp_path, dtype, order):
    array = np.asarray(numbers(8, W).numpy(), dtype, order)
    path = tmp_path / "a.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, direction=array, other=np.arange(3))  # integers are not a direction
        assert np.array_equal(load_direction(path).numpy(), array.astype(np.float32))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_numpy_headers(tmp_path, version):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, numbers(1, W).numpy(), version)
    (tmp_path / "a.npy").write_bytes(buffer.getvalue())
    assert torch.equal(load_direction(tmp_path / "a.npy"), numbers(1, W)[0])


def test_directions_of_a_factorization(tmp_path):
    """rosinality's closed_form_factorization.py stores directions as columns."""
    vectors = numbers(W, W)
    path = written(tmp_path, "factor.pt", {"ckpt": "checkpoint/550000.pt", "eigvec": vectors})
    assert torch.equal(load_direction(path, 3), vectors[:, 3])
    for number in (-1, W):
        with pytest.raises(NadaError, match=f"no direction {number} in the file; it has the directions 0 to {W - 1}"):
            load_direction(path, number)


def test_principal_components(tmp_path):
    """e4e's *_pca.pt and GANSpace's .npz store unit vectors, and the spread of codes along each."""
    vectors, spread = numbers(5, 1, W), torch.arange(1.0, 6)
    paths = [written(tmp_path, "pca.pt", {"mean": numbers(1, W), "std": spread, "comp": vectors})]
    arrays = {"act_comp": numbers(5, 1, 4), "lat_comp": vectors, "lat_stdev": spread, "lat_mean": numbers(1, W)}
    paths.append(written(tmp_path, "pca.npz", {name: array.numpy() for name, array in arrays.items()}))
    for path in paths:
        assert torch.equal(load_direction(path, 2), vectors[2, 0] * 3)
    path = written(tmp_path, "odd.pt", {"std": spread[:2], "comp": vectors})
    with pytest.raises(NadaError, match="do not match"):
        load_direction(path)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("cube.npy", np.ones((2, 2, 2)), r"shape \[2, 2, 2\]"),
        ("nan.npy", np.array([np.nan]), "not finite"),
        ("number.npy", np.float64(3), r"shape \[\]"),
        ("big.npy", np.zeros((3000, 3000), np.float16), r"shape \[3000, 3000\]"),
        ("object.npy", np.array([{"a": 1}], dtype=object), "no array of ordinary"),
        ("record.npy", np.zeros(2, [("a", "f4"), ("b", "f4")]), "no array of ordinary"),
        ("big-endian.npy", np.zeros(W, ">f4"), "no array of ordinary"),
        ("empty.npz", {}, "no array of ordinary"),
        ("two.npz", {"a": np.zeros(W), "b": np.zeros(W)}, r"holds 2 arrays \(a, b\)"),
        ("whole.pt", torch.arange(3), "only floating-point"),
        ("nothing.pt", {"a": 1}, "no array of ordinary"),
        ("eigvec.pt", {"eigvec": torch.zeros(3)}, r"shape \[3\]"),
        ("none.pt", torch.zeros(0), r"shape \[0\]"),
    ],
)
def test_what_is_no_direction(tmp_path, name, value, what):
    with pytest.raises(NadaError, match=rf"^{name}: .*{what}"):
        load_direction(written(tmp_path, name, value))


def test_numpy_files_that_are_not_what_they_claim(tmp_path):
    def header(text: bytes, data: bytes = bytes(8)) -> bytes:
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data

    good = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"
    path = tmp_path / "a.npy"
    path.write_bytes(header(good))
    assert load_direction(path).tolist() == [0, 0]
    for data in (
        b"",
        b"hello",
        b"\x93NUMPY",
        header(good)[:20],
        header(good, bytes(7)),
        header(good.replace(b"(2,)", b"(100000000000,)")),
        header(good.replace(b"(2,)", b"(" + b"9" * 4000 + b",)")),
        header(good.replace(b"(2,)", b"(" + b"1, " * 1000 + b")")),
        header(good.replace(b"(2,)", b"(" * 3000)),
        header(good.replace(b"(2,)", b"(__import__('os').system('touch here'),)")),
        header(good.replace(b"False", b"None")),
        header(good.replace(b"<f4", b"|V4")),
        header(good.replace(b"'<f4'", b"[('a', '<f4')]")),
        header(b" " * 5000),
    ):
        path.write_bytes(data)
        with pytest.raises(NadaError, match=r"^a\.npy: "):
            load_direction(path)
    for path, words in ((tmp_path / "absent.npy", "there is no file"), (tmp_path, "cannot be read")):
        with pytest.raises(NadaError, match=words):
            load_direction(path)


def test_archives_that_swell(tmp_path):
    """A few kilobytes never expand to gigabytes, whatever the archive's directory says."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(1 << 20, np.float32))
    data = path.read_bytes()
    assert len(data) < 10_000
    size = (4 << 20) + 128
    assert data.count(size.to_bytes(4, "little")) >= 1
    for claimed in (1000, size + 1, 0xF0000000):
        path.write_bytes(data.replace(size.to_bytes(4, "little"), claimed.to_bytes(4, "little")))
        with pytest.raises(NadaError, match=r"^a\.npz: "):
            load_direction(path)
    path.write_bytes(data[:100] + b"\xff" * 60 + data[160:])
    with pytest.raises(NadaError, match=r"^a\.npz: "):
        load_direction(path)


# Codes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projected_w.npz", {"w": numbers(1, 8, W).numpy()}),  # NVIDIA's PyTorch projectors
        ("dlatents.npz", {"dlatents": numbers(1, 8, W).numpy()}),  # NVIDIA's TensorFlow projector
        ("final.npy", numbers(1, 8, W).numpy()),
        ("0.pt", numbers(1, 8, W)),  # PTI
        ("latent.pt", torch.nn.Parameter(numbers(8, W))),
        ("face.pt", {"face.png": {"img": numbers(3, 4, 4), "latent": numbers(8, W), "noise": [numbers(1, 1, 4, 4)]}}),
        ("codes.safetensors", {"ws": numbers(1, 8, W)}),
        ("list.pkl", [numbers(8, W).numpy()]),
    ],
)
def test_codes_of_every_writer(tmp_path, small, name, value):
    assert torch.equal(load_latents(written(tmp_path, name, value), small), numbers(1, 8, W))


@pytest.mark.parametrize("shape", [(W,), (1, W), (1, 1, W), (3, W), (3, 1, W)])
def test_codes_of_w_are_repeated(tmp_path, small, shape):
    ws = load_latents(written(tmp_path, "w.pt", {"latents": numbers(*shape)}), small)
    assert ws.shape == (numbers(*shape).numel() // W, 8, W)
    assert torch.equal(ws, numbers(*shape).reshape(-1, 1, W).expand(-1, 8, -1))


def test_many_codes_come_in_their_order(tmp_path, small):
    codes = {f"face_{i}.png": {"latent": numbers(8, W, seed=i), "img": numbers(3, 4, W)} for i in (10, 2, 1)}
    ws = load_latents(written(tmp_path, "faces.pt", codes), small)
    assert torch.equal(ws, torch.stack([numbers(8, W, seed=i) for i in (1, 2, 10)]))
    assert load_latents(written(tmp_path, "e4e.pt", numbers(12, 8, W)), small).shape == (12, 8, W)
    assert load_latents(written(tmp_path, "list.pt", [numbers(8, W) for _ in range(12)]), small).shape == (12, 8, W)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (numbers(1, 18, 512), r"array \[1, 18, 512\]; codes for this generator are \[N, 8, 20\] or \[N, 20\]"),
        ({"w": numbers(1, 6, W)}, r"w \[1, 6, 20\]; codes for this generator"),
        ({"w": numbers(1, 8, W) / 0}, "not finite"),
        (numbers(0, 8, W), r"\[0, 8, 20\]; codes"),
        ({"text": "hello"}, "no array of ordinary"),
        ({f"a{i}": numbers(3) for i in range(9)}, r"a4 \[3\] and 4 more; codes"),
    ],
)
def test_codes_for_other_generators_are_refused(tmp_path, small, value, what):
    with pytest.raises(NadaError, match=rf"^codes\.pt: .*{what}"):
        load_latents(written(tmp_path, "codes.pt", value), small)


def test_nothing_in_a_file_runs(tmp_path, small):
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    array = np.array([Attack()], dtype=object)
    for name, value in (("a.pt", {"w": Attack()}), ("a.npy", array), ("a.npz", {"w": array}), ("a.pkl", [Attack()])):
        path = written(tmp_path, name, value)
        for load in (load_direction, lambda path: load_latents(path, small)):
            with pytest.raises(NadaError):
                load(path)
        assert not (tmp_path / "executed").exists()


def damaged(folder: Path, small: Generator, count: int, seed: int) -> Counter:
    """Count the outcomes of damaged files of codes and directions; any error except a sentence is raised."""
    codes = numbers(1, 8, W)
    values = {"a.npy": codes.numpy(), "a.npz": {"w": codes.numpy()}, "a.safetensors": {"ws": codes}}
    values |= {"a.pt": {"latent": codes}, "a.legacy": codes, "a.pkl": codes.numpy()}
    values |= {"b.pt": {"ckpt": "a.pt", "eigvec": numbers(W, W)}, "c.pt": {"comp": numbers(9, 1, W), "std": numbers(9)}}
    files = [written(folder, name, value).read_bytes() for name, value in values.items()]
    np.savez_compressed(folder / "b.npz", w=codes.numpy())
    files.append((folder / "b.npz").read_bytes())
    guard, outcomes, path = Guard(), Counter(), folder / "model"
    for number in range(count):
        path.write_bytes(mutated(files, seed, number))
        for load in (load_direction, lambda path: load_latents(path, small)):
            try:
                with guard.watching():
                    load(path)
                outcomes["read"] += 1
            except NadaError as error:
                outcomes["refused" if str(error).isprintable() else f"unprintable: file {number} of seed {seed}"] += 1
        assert not guard.seen, f"file {number} of seed {seed}: {guard.seen}"
    return outcomes


def test_damaged_files_end_in_a_sentence(tmp_path, small):
    outcomes = damaged(tmp_path, small, 400, seed=1)
    assert outcomes.keys() == {"read", "refused"}
    assert outcomes["read"] > 40
    assert outcomes["refused"] > 200


def test_a_damaged_mark_is_refused_with_a_sentence(tmp_path, small):
    path = tmp_path / "codes.safetensors"
    save_latents(numbers(2, 8, W), small, path)
    ws = load_file(path)
    for text, words in {
        "{": "damaged",
        '{"format": 99}': "update it",
        '{"format": 1, "mapping": 3}': "damaged",
    }.items():
        save_file(ws, path, {KEY: text})
        with pytest.raises(NadaError, match=words):
            load_latents(path, small)


def test_the_limit_counts_codes_as_they_are_returned(tmp_path, monkeypatch, small):
    """A code of W takes little in a file, and is repeated for all layers."""
    num_ws, w_dim = small.num_ws, small.config.w_dim
    monkeypatch.setattr(files, "MAX_NUMBERS", 10 * num_ws * w_dim)
    for shape in ((10, w_dim), (10, num_ws, w_dim)):
        assert load_latents(written(tmp_path, "a.npy", numbers(*shape).numpy()), small).shape[0] == 10
    for shape in ((11, w_dim), (11, 1, w_dim), (11, num_ws, w_dim)):
        with pytest.raises(CheckpointError, match="split the file"):
            load_latents(written(tmp_path, "a.npy", numbers(*shape).numpy()), small)


@pytest.mark.parametrize("name", ["a.pt", "a.legacy"])
def test_codes_that_were_expanded_to_all_layers_are_read(small, tmp_path, name):
    w = numbers(3, W)
    found = load_latents(written(tmp_path, name, w[:, None].expand(-1, small.num_ws, -1)), small)
    assert torch.equal(found, w[:, None].repeat(1, small.num_ws, 1))
