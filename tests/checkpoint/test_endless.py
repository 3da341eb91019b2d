"""Files that would expand or never end: limits stop them within seconds and little memory."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

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

from nada.checkpoint import inert, load_generator
from nada.checkpoint.window import Cursor, Window
from nada.errors import CheckpointError


@pytest.fixture
def generator():
    return small_generator(4)


LONG_TEXT = b"X\x00\x00\x20\x00" + b"a" * (1 << 21) + b"q\x00"  # 2 MB, memoized under 0
MODULE = b"cos\nx\n)R}(U\x0b_parameters}U\x08_buffers}U\x08_modules}"  # prefix of a module, before further attributes
LONG_TUPLE = b"(" + b"N" * 200_000 + b"tq\x00"


@pytest.mark.parametrize(
    "program",
    [
        b"B\xff\xff\xff\xff.",
        b"\x8e" + b"\xff" * 7 + b"\x7f.",
        b"\x96" + b"\xff" * 7 + b"\x7f.",
        b"X\xff\xff\xff\xff.",
        b"\x8d" + b"\xff" * 8 + b".",
        b"T\xff\xff\xff\xff.",
        b"\x95" + b"\xff" * 8,
        b"\x8b\xff\xff\xff\x7f.",
        b"Nr\xff\xff\xff\xff",
        pytest.param(b"(" * 2_000_000, marks=pytest.mark.slow),
        pytest.param(b"]" + b"2" * 2_000_000, marks=pytest.mark.slow),
        pytest.param(b")" + b"\x85" * 2_000_000 + b".", marks=pytest.mark.slow),
        pytest.param(b"]q\x00" + b"]h\x00a" * 500_000, marks=pytest.mark.slow),
        pytest.param(LONG_TEXT + b"}" + LONG_TEXT + b"Ns" + b"h\x00Ns" * 100_000 + b".", marks=pytest.mark.slow),
        LONG_TEXT + b"h\x00h\x00\x930" * 100_000 + b".",
        # a long tuple, and the same as arguments of a call, a persistent id, a shape, and keys without effect
        LONG_TUPLE + b"ctorch._utils\n_rebuild_parameter\nq\x01" + b"h\x01h\x00R0" * 100_000 + b"N.",
        LONG_TUPLE + b"h\x00Q0" * 100_000 + b"N.",
        pytest.param(LONG_TUPLE + b"]" + b"h\x00a" * 100_000 + b".", marks=pytest.mark.slow),
        pytest.param(b"}q\x00(" + b")N" * 200_000 + b"u]" + b"h\x00a" * 100_000 + b".", marks=pytest.mark.slow),
        pytest.param(MODULE + b")N" * 200_000 + b"ubq\x00]" + b"h\x00a" * 100_000 + b".", marks=pytest.mark.slow),
        pytest.param(
            LONG_TEXT + b"c_codecs\nencode\nq\x01" + b"h\x01h\x00\x85R0" * 100_000 + b"N.", marks=pytest.mark.slow
        ),
    ],
)
def test_programs_that_declare_much_or_run_long(tmp_path, program):
    assert refused(tmp_path, b"\x80\x04" + program)


def test_long_names_are_read_in_chunks(monkeypatch):
    """Byte by byte, the names of a large file would take minutes."""
    takes, take = [], Cursor.take
    monkeypatch.setattr(Cursor, "take", lambda cursor, count: takes.append(count) or take(cursor, count))
    lines = [b"a" * 500, b"", b"b" * 1024]
    cursor = Cursor(Window.of(b"\n".join([*lines, b"c" * 1025, b""])))
    assert [cursor.line() for _ in lines] == lines
    with pytest.raises(CheckpointError, match="longer than 1024"):
        cursor.line()
    assert len(takes) <= 2 * 4


def test_a_name_at_the_end_of_a_file(tmp_path):
    assert "longer" not in refused(tmp_path, b"\x80\x02cposix")


def test_texts_take_no_more_memory_than_the_file(tmp_path, monkeypatch, generator):
    """One emoji makes Python keep four bytes for every letter."""
    monkeypatch.setattr(inert, "MAX_TEXT", 1 << 16)
    wide = ("a" * 30_000 + "\U0001f600").encode()
    program = b"\x80\x04]q\x00" + b"".join(b"X" + struct.pack("<I", len(wide)) + wide + b"a" for _ in range(8)) + b"."
    assert "more memory than the file" in refused(tmp_path, program)
    load_generator(put(tmp_path, nvidia_bytes(generator, protocol=2)))  # whose arrays are texts


def nested(levels: int) -> bytes:
    """Nest dicts deeper than Python's own pickler can."""
    return b"\x80\x04" + b"}U\x01a" * levels + b"N" + b"s" * levels + b"."


def test_depth(tmp_path):
    assert "deep" in refused(tmp_path, nested(100_000))


def test_cycles(tmp_path):
    cycle: dict = {}
    cycle["g_ema"] = cycle
    ring: list = []
    ring.append(ring)
    for value in (cycle, ring):
        for data in containers(value):
            assert "deep" in refused(tmp_path, data)


def test_branches_that_multiply(tmp_path):
    value: object = None
    for _ in range(30):
        value = [value] * 10
    assert "values; no generator" in refused(tmp_path, pickle.dumps(value))


def test_keys_that_collide(tmp_path):
    """Make numbers, and tuples of numbers, with equal hashes."""
    prime = (1 << 61) - 1
    keys = b"".join(b"\x8a\x0a" + (i * prime).to_bytes(10, "little") + b"N" for i in range(100_000))
    assert "no tensors" in refused(tmp_path, b"\x80\x02}(" + keys + b"u.")


def test_compressed_archives(tmp_path, generator):
    data, buffer = torch_bytes(rosinality_checkpoint(generator) | {"zeros": torch.zeros(1 << 24)}), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    assert len(buffer.getvalue()) < 1 << 20
    assert "compressed" in refused(tmp_path, buffer.getvalue())


def test_archives_that_lie_about_sizes(tmp_path, generator):
    data = torch_bytes(rosinality_checkpoint(generator))
    end = data.rindex(b"PK\5\6")
    directory = data.index(b"PK\1\2")
    huge = struct.pack("<I", 0xFFFFFFF0)
    for place, value in [
        (directory + 20, huge + huge),  # sizes of an entry
        (directory + 42, huge),  # offset of an entry
        (end + 10, b"\xfe\xff"),  # number of entries
        (end + 12, huge),  # size of the directory
        (end + 16, huge),  # offset of the directory
        (end + 10, b"\xff\xff"),  # stands for "see the 64-bit directory"
    ]:
        changed = data[:place] + value + data[place + len(value) :]
        try:
            load_generator(put(tmp_path, changed))
        except CheckpointError:
            continue


def test_archives_with_too_many_or_equal_entries(tmp_path):
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 15, 0)
    for count in (2, 500_000):
        directory = entry * count
        end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), 4)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, 4 + len(directory), 1)
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        sentence = refused(tmp_path, b"PK\3\4" + directory + end64 + locator + end)
        assert ("two entries" if count == 2 else "500000 entries") in sentence


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    "data",
    [
        safetensors(b"{"),
        safetensors(b"{}{"),
        safetensors(b'{"a":' * 100_000),
        safetensors(b'{"a": ' + b"[" * 100_000),
        safetensors(b'{"a": ' + b"9" * 100_000 + b"}"),
        safetensors(b'{"a": 1}'),
        safetensors(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}}', bytes(8)),
        safetensors(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}', bytes(8)),
        safetensors(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}', bytes(8)),
        safetensors(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}', bytes(8)),
        safetensors(b'{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}', bytes(8)),
        safetensors(b'{"a": {"dtype": "F32", "shape": [9999999999, 0], "data_offsets": [0, 0]}}'),
        safetensors(b'{"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}}', bytes(8)),
        safetensors(b'{"a": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}}', bytes(8)),
        safetensors(b'{"__metadata__": {"nada": 1}}'),
        safetensors(b'{"__metadata__": []}'),
        safetensors(b'{"__metadata__": {"nada": "' + b"[" * 100_000 + b'"}}'),
        safetensors(b"{" + b" " * (1 << 24)),
    ],
)
def test_false_safetensors_headers_are_refused(tmp_path, data):
    assert refused(tmp_path, data)
