"""Malicious TensorFlow pickles, encoders and arrays."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from helpers.checkpoint_files import (
    encoder_checkpoint,
    put,
    refused,
    small_generator,
    tensorflow_bytes,
    tensorflow_package,
    torch_bytes,
)

from nada.checkpoint import load_generator
from nada.checkpoint.inert import Global, Record
from nada.checkpoint.numpy_values import array_view
from nada.checkpoint.window import Window
from nada.errors import CheckpointError


class Call:
    """Object that pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture
def canary(tmp_path):
    """Call that would create a file; the test fails if the file exists."""
    path = tmp_path / "canary"
    yield Call(os.system, f"echo executed > {path}")
    assert not path.exists()


@pytest.fixture
def generator():
    return small_generator(8)


def test_calls_beside_tensorflow_networks_are_inert(tmp_path, canary, generator):
    assert load_generator(put(tmp_path, tensorflow_bytes(generator, structure=canary)))


def test_calls_in_place_of_arrays_are_refused(tmp_path, canary, generator):
    data = tensorflow_bytes(generator, convert=lambda array: canary if array.ndim == 4 else array)
    assert "not of a StyleGAN2 generator" in refused(tmp_path, data)


def test_calls_beside_encoders_are_inert(tmp_path, canary, generator):
    checkpoint = encoder_checkpoint(generator)
    assert load_generator(put(tmp_path, torch_bytes(checkpoint | {"opts": {"device": canary}})))
    checkpoint["latent_avg"] = canary
    assert "average latent" in load_generator(put(tmp_path, torch_bytes(checkpoint))).metadata["notes"][0]


def test_every_truncation_of_a_tensorflow_pickle_is_refused(tmp_path, generator):
    data = tensorflow_bytes(generator)
    for size in [*range(0, 200, 13), *range(200, len(data), len(data) // 40), len(data) - 1]:
        assert refused(tmp_path, data[:size])


def network_of(network: type, variables: list, **components):
    return network("G", variables, {}, **components)


def test_tensorflow_networks_in_circles_and_in_crowds(tmp_path):
    with tensorflow_package() as network:
        circle = network_of(network, [])
        circle.state["components"]["synthesis"] = circle
        many = network_of(network, [(f"v{i}", 1.0) for i in range(1000)])
        branches = network_of(network, [], **{f"c{i}": many for i in range(1000)})
        files = [pickle.dumps(thing, 4) for thing in (circle, branches)]
    assert "deep" in refused(tmp_path, files[0])
    assert "values; no generator" in refused(tmp_path, files[1])


@pytest.mark.parametrize(
    "variables",
    [
        [("a", np.zeros(3, np.float32))] * 2,
        [("a",)] * 3,
        [None, 3, "ab"],
        [(("a", "b"), 3)],
        pytest.param([("synthesis", 1.0)] * 500_000, marks=pytest.mark.slow),
        {"a": 1},
        [("x" * 100_000, np.zeros(3, np.float32))] * 3,
    ],
)
def test_tensorflow_variables_of_odd_forms(tmp_path, variables):
    with tensorflow_package() as network:
        data = pickle.dumps(network_of(network, variables), 4)
    assert refused(tmp_path, data)


DTYPE = Record("numpy.dtype", ("f4", False, True), (3, "<", None, None, None, -1, -1, 0))


def array(shape, data=b"\0" * 48, dtype=DTYPE, fortran=False, version=1) -> Record:
    kind = "numpy.core.multiarray._reconstruct"
    return Record(kind, (Global("numpy.ndarray"), (0,), b"b"), (version, shape, dtype, fortran, data))


def test_a_valid_array_of_that_kind_is_read():
    values = np.arange(12, dtype=np.float32)
    view = array_view(array((3, 4), values.tobytes()))
    assert torch.equal(view.read(), torch.arange(12.0).reshape(3, 4))
    view = array_view(array((3, 4), values.tobytes(), fortran=True))
    assert torch.equal(view.read(), torch.arange(12.0).reshape(4, 3).T)


@pytest.mark.parametrize(
    "record",
    [
        array((13,)),
        array((1 << 40,)),
        array((-1,)),
        array((1 << 30, 1 << 30)),
        array((2.0,)),
        array((True,)),
        array(("3",)),
        array((1,) * 40),
        array((3, 1 << 40, 0)),
        array((12,), "text"),
        array((12,), None),
        array((12,), Window.of(b"short")),
        array((12,), Record("_codecs.encode", (3, "latin1"))),
    ],
)
def test_arrays_with_false_headers_are_refused(record):
    with pytest.raises(CheckpointError):
        array_view(record).read()


@pytest.mark.parametrize(
    "record",
    [
        array([12]),
        array((12,), dtype=Record("numpy.dtype", ("O8", False, True), (3, "|"))),
        array((12,), dtype=Record("numpy.dtype", ("f4", False, True), (3, "!"))),
        array((12,), dtype=Record("numpy.dtype", ("f4",), None)),
        array((12,), dtype=Global("numpy.float32")),
        array((12,), fortran=None),
        array((12,), version="1"),
        Record("numpy.core.multiarray._reconstruct", (), None),
        Record("os.system", ("true",), (1, (3,), DTYPE, False, bytes(12))),
    ],
)
def test_what_is_no_array_of_numbers_stays_a_record(record):
    assert array_view(record) is None
