"""Malicious files: none runs code, expands, or takes long, and each is refused with a sentence."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable

import pytest
import torch
from helpers.checkpoint_files import (
    containers,
    nvidia_bytes,
    put,
    refused,
    rosinality_checkpoint,
    small_generator,
    torch_bytes,
)

from nada.checkpoint import inspect_file, load_generator
from nada.checkpoint.inert import Global, PickleMachine, Record
from nada.checkpoint.tensors import Storage, TensorView
from nada.checkpoint.torch_files import CALLABLES, LEGACY_MAGIC
from nada.checkpoint.window import Cursor, Window
from nada.errors import CheckpointError


class Call:
    """Object that pickles as a call and, if given, as a state set on the result."""

    def __init__(self, function: Callable, *args, state: object = None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


@pytest.fixture
def canary(tmp_path) -> Call:
    """Call that would create a file; the test fails if the file exists."""
    path = tmp_path / "canary"
    yield Call(os.system, f"echo executed > {path}")
    assert not path.exists()


@pytest.fixture
def generator():
    return small_generator(4)


def run(program: bytes):
    return PickleMachine(Cursor(Window.of(program)), CALLABLES).run()


# Code in the file


def test_the_canary_sings_for_pythons_unpickler(tmp_path):
    path = tmp_path / "sung"
    pickle.loads(pickle.dumps(Call(os.system, f"echo executed > {path}")))
    assert path.exists()


@pytest.mark.parametrize("container", [0, 1, 2])
def test_calls_at_the_root_are_inert(tmp_path, canary, container):
    for value in (canary, [canary], {"g_ema": canary}, {"g_ema": {"input.input": canary}}):
        assert "holds no tensors" in refused(tmp_path, containers(value)[container])


@pytest.mark.parametrize("legacy", [False, True])
def test_calls_beside_the_generator_do_not_block_it(tmp_path, canary, generator, legacy):
    checkpoint = rosinality_checkpoint(generator) | {"args": canary, "more": Call(eval, "1/0", state={"a": canary})}
    assert load_generator(put(tmp_path, torch_bytes(checkpoint, legacy))).config == generator.config


def test_calls_and_source_code_in_network_pickles_do_not_block_them(tmp_path, canary, generator):
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'canary')!r}).touch()"
    data = nvidia_bytes(generator, source=code, extra={"augment_pipe": canary, "D": Call(exec, code)})
    assert load_generator(put(tmp_path, data)).fingerprint()


def test_a_call_in_place_of_a_tensor_is_refused(tmp_path, canary, generator):
    checkpoint = rosinality_checkpoint(generator)
    checkpoint["g_ema"]["to_rgb1.bias"] = canary
    assert "lacks tensors: synthesis.b4.torgb.bias" in refused(tmp_path, torch_bytes(checkpoint))


def test_names_are_never_imported():
    sys.modules.pop("this", None)
    value = run(b"\x80\x04cthis\ns\n\x8c\x04this\x8c\x01d\x93\x86.")
    assert value == (Global("this.s"), Global("this.d"))
    assert "this" not in sys.modules


def test_chains_of_calls_stay_records():
    """Pickle of getattr(os, "system")("..."): a call of the result of a call."""
    value = run(b"\x80\x02cbuiltins\ngetattr\ncos\n__dict__\nU\x06system\x86R(U\x04echotR)R.")
    assert (value.kind, value.args) == ("?", ())
    assert isinstance(value, Record)


@pytest.mark.parametrize(
    "program",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n}U\x01aK\x01sb.",  # BUILD on a function of the table
        b"cos\nsystem\n}b.",  # BUILD on a name
        b"K\x01}b.",  # BUILD on a number
        b")}b.",  # BUILD on a tuple
        b"cos\nsystem\nK\x01a.",  # APPEND to a name
        b"cos\nsystem\nU\x01aK\x01s.",  # SETITEM on a name
        b")K\x01a.",
        b"cos\nsystem\nU\x02lsR.",  # arguments that are not a tuple
        b"U\x02osK\x01\x93.",  # a name that is not a text
        b"U\x01aQ.",  # persistent id, binary
        b"Pa\n.",  # persistent id, text
        b"\x82\x01.",  # extension registry
        b"\x97.",  # out-of-band buffer
        b"cos\nsystem\n(S'ls'\ntR.",  # protocol 0
        b"(cos\nsystem\nU\x02lsi.",
        b"\x80\x09N.",
        b"h\x07.",
        b"R.",
        b"t.",
        b"\x85.",
        b".",
        b"}U\x01as.",
        b"(U\x01aK\x01K\x02d.",
        b"ccollections\nOrderedDict\n]\x85R.",
        b"ctorch.storage\n_load_from_bytes\n)R.",
        b"cnumpy.core.multiarray\nscalar\nNN\x86R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02))tR.",
        b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}\x85R.",
        b"c" + b"a" * 5000 + b"\nb\n.",
        b"c\xff\n\xff\n.",
        b"X\x02\x00\x00\x00\xff\xff.",
    ],
)
def test_tricks_are_refused(tmp_path, program):
    with pytest.raises(CheckpointError):
        run(b"\x80\x02" + program)
    assert refused(tmp_path, b"\x80\x02" + program)


def test_state_reaches_only_records():
    record = run(b"\x80\x02cos\nsystem\n)R}U\x09__class__U\x01xsb.")
    assert (type(record), record.kind, record.state) == (Record, "os.system", {"__class__": "x"})
    assert run(b"\x80\x02ccollections\nOrderedDict\n)R}U\x06updateK\x01sb.") == {}


# Tensors that are not what they claim to be


def tensor(storage: object, offset: object, shape: object, strides: object) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, {})


def test_views_beyond_their_storage(tmp_path, generator):
    storage = torch.zeros(12)._typed_storage()
    for offset, shape, strides in [
        (1, (12,), (1,)),
        (0, (12,), (2,)),
        (-1, (12,), (1,)),
        (0, (12,), (0,)),
        (0, (12,), (-1,)),
        (1 << 62, (12,), (1,)),
        (0, (1 << 62, 1 << 62), (0, 0)),
        (0, (12.0,), (1,)),
        (0, [12], (1,)),
        (0, (12,), ()),
    ]:
        checkpoint = rosinality_checkpoint(generator)
        checkpoint["g_ema"]["conv1.activate.bias"] = tensor(storage, offset, shape, strides)
        for legacy in (False, True):
            assert refused(tmp_path, torch_bytes(checkpoint, legacy))
        checkpoint["g_ema"]["conv1.activate.bias"] = tensor(torch.zeros(12)._typed_storage(), 0, (12,), (1,))
        assert load_generator(put(tmp_path, torch_bytes(checkpoint)))


def storage_blob(value: object) -> bytes:
    return torch_bytes(value, legacy=True)


def nested_tensor(value: torch.Tensor) -> Call:
    """Tensor whose numbers are inside the pickle, as in NVIDIA's files."""
    value = value.detach().clone()
    blob = Call(torch.storage._load_from_bytes, storage_blob(value._typed_storage()))
    return tensor(blob, 0, tuple(value.shape), value.stride())


def test_evil_numbers_of_nested_tensors(tmp_path, canary, generator):
    bias = generator.synthesis.b4.conv1.bias.detach()
    good = storage_blob(bias._typed_storage())
    wrong_count = good[: -8 - 48] + struct.pack("<q", 1 << 40) + good[-48:]
    for blob in (
        pickle.dumps(canary),
        storage_blob(canary),
        storage_blob([bias]),
        torch_bytes(bias._typed_storage()),
        good[:-1],
        wrong_count,
        b"",
        b"\x80\x02" + b"N0" * 5000 + b".",
        pickle.dumps(LEGACY_MAGIC, 2),
        pickle.dumps(LEGACY_MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2),
    ):
        nested = tensor(Call(torch.storage._load_from_bytes, blob), 0, (12,), (1,))
        checkpoint = rosinality_checkpoint(generator)
        checkpoint["g_ema"]["conv1.activate.bias"] = nested
        assert refused(tmp_path, torch_bytes(checkpoint))


def test_the_same_nested_tensor_with_valid_numbers_loads(tmp_path, generator):
    checkpoint = rosinality_checkpoint(generator)
    checkpoint["g_ema"]["conv1.activate.bias"] = nested_tensor(generator.synthesis.b4.conv1.bias)
    assert load_generator(put(tmp_path, torch_bytes(checkpoint))).fingerprint() == generator.fingerprint()


class Pid:
    """Object that pickles as a persistent id of any form."""

    def __init__(self, pid: object):
        self.pid = pid


def archive(value: object, **entries: bytes) -> bytes:
    """Torch zip with any persistent ids and entries."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.pid if isinstance(obj, Pid) else None

    program, buffer = io.BytesIO(), io.BytesIO()
    Pickler(program, 2).dump(value)
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in {"data.pkl": program.getvalue(), **entries}.items():
            file.writestr(f"m/{name}", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "pid",
    [
        ("storage", torch.FloatStorage, "0", "cpu", 13),
        ("storage", torch.FloatStorage, "0", "cpu", -1),
        ("storage", torch.FloatStorage, "0", "cpu", 1 << 62),
        ("storage", torch.FloatStorage, "1", "cpu", 12),
        ("storage", torch.FloatStorage, "../data.pkl", "cpu", 1),
        ("storage", torch.FloatStorage, "0", "cpu", 12, ("1", 0, 4)),
        ("storage", torch.Tensor, "0", "cpu", 12),
        ("storage", os.system, "0", "cpu", 12),
        ("storage", "FloatStorage", "0", "cpu", 12),
        ("storage", torch.FloatStorage, ["0"], "cpu", 12),
        ("module", os.system, "a", "b"),
        "0",
        (),
        None,
    ],
)
def test_false_persistent_ids_are_refused(tmp_path, generator, pid):
    def checkpoint(pid):
        entry = tensor(Pid(pid), 0, (12,), (1,))
        names = {name: nested_tensor(t) for name, t in rosinality_checkpoint(generator)["g_ema"].items()}
        return {"g_ema": names | {"conv1.activate.bias": entry}}

    honest = ("storage", torch.FloatStorage, "0", "cpu", 12)
    assert load_generator(put(tmp_path, archive(checkpoint(honest), **{"data/0": bytes(48)})))
    assert refused(tmp_path, archive(checkpoint(pid), **{"data/0": bytes(48)}))


def test_lists_of_keys_that_are_no_keys(tmp_path, generator):
    """A legacy pickle ends with a list of storages; converting deep or branching ones to text would never end."""
    data = torch_bytes({"g_ema": torch.zeros(3)}, legacy=True)
    head = data[: data.rindex(b"\x80\x02]")]
    for keys in (b"N" + b"\x85" * 100_000, b"]q\x00" + b"".join(b"]h%ch%caaq%c" % (i, i, i + 1) for i in range(60))):
        assert "list of tensors" in refused(tmp_path, head + b"\x80\x02]" + keys + b"a." + bytes(20))


def test_names_cannot_forge_the_sentence(tmp_path, generator):
    """Names with line breaks and colors, long enough to push the message off the screen."""
    names = {"\x1b[2Jall is well\n": torch.ones(1), "a" * 1_000_000: torch.ones(1)}
    assert "\x1b" not in refused(tmp_path, torch_bytes(names))
    checkpoint = {"g_ema": rosinality_checkpoint(generator)["g_ema"] | names}
    assert len(refused(tmp_path, torch_bytes(checkpoint))) < 600
    sentence = refused(tmp_path, nvidia_bytes(generator, use_noise=False, resolution="\n" + "9" * 1_000_000))
    assert len(sentence) < 600
    assert "resolution" in sentence


def test_inspecting_is_as_careful_as_loading(tmp_path, canary):
    for data in containers(canary):
        report = inspect_file(put(tmp_path, data))
        assert not report["loadable"]
        assert report["reason"]


@pytest.mark.parametrize("shape", [({},), ("3",), (2.0, 2), (True,), (-1,), (1 << 300,) * 4, (1,) * 1000])
def test_impossible_sizes_are_refused_before_anything_is_computed_from_them(shape):
    with pytest.raises(CheckpointError, match="impossible"):
        TensorView.contiguous(Storage(torch.float32, Window.of(b"")), shape)
