"""A short run of the fuzzer over all kinds of files in every suite, and a check that it detects bad outcomes."""

from __future__ import annotations

import os

import pytest

from fuzz import fuzzer
from fuzz.fuzzer import BAD, Guard, damaged, described_otherwise, fuzz, outcome
from fuzz.kinds import KINDS, Kind
from nada.errors import NadaError

SLOW = {"encoders", "generators"}  # whose readers have tests of their own with damaged files


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in SLOW else []) for kind in KINDS]
)
def test_damaged_files_of_every_kind(kind):
    ends = fuzz(32, seed=3, kinds=[kind])[kind]
    assert not [end for end in BAD if ends[end]]
    assert ends["refused"] > 11
    assert ends["used"] > 0  # the damage hit parts without effect


@pytest.mark.slow
def test_many_damaged_files():
    results = fuzz(2_000, seed=4)  # `fuzzer.py --count 20000` is the long run
    assert not [(kind, end) for kind, ends in results.items() for end in BAD if ends[end]]


def refuse_with_escape_codes(path):
    error = NadaError("x")
    error.args = ("\x1b[2J",)
    raise error


@pytest.mark.parametrize(
    ("read", "use", "end"),
    [
        (lambda path: None, lambda content, path: (path.parent / "x").write_text("a result"), "used"),
        (lambda path: __import__("this_module_does_not_exist"), lambda content, path: None, "executed"),
        (lambda path: eval("1"), lambda content, path: None, "executed"),
        (lambda path: os.system("true"), lambda content, path: None, "executed"),
        (lambda path: (path.parent / "x").write_text("x"), lambda content, path: None, "executed"),
        (lambda path: None, lambda content, path: {}["x"], "traceback"),
        (refuse_with_escape_codes, lambda content, path: None, "raw"),
        (lambda path: sum(range(10**6)), lambda content, path: None, "slow"),
    ],
)
def test_the_fuzzer_sees_what_must_not_happen(tmp_path, monkeypatch, read, use, end):
    monkeypatch.setattr(fuzzer, "SECONDS", 0.0 if end == "slow" else 1e9)
    assert outcome(Kind(lambda folder: [], read, use), tmp_path / "file", Guard())[0] == end


def test_the_same_number_is_the_same_file(tmp_path):
    files = KINDS["styles"].make(tmp_path)
    first = {number: damaged(files, 7, number) for number in range(200)}
    assert {number: damaged(files, 7, number) for number in reversed(first)} == first, "whatever came before"
    assert len(set(first.values())) > 190


def test_damages_upon_damages_end():
    value, rng = {"a": [1, [2, [3]]]}, fuzzer.random.Random(0)
    for _ in range(2000):
        value = fuzzer.rewritten(value, rng)
        if len(fuzzer.places(value)) > 1000:  # copies of a part inside another one add up
            value = {"a": [1, [2, [3]]]}


def test_what_a_file_says_is_changed_and_its_numbers_are_not(tmp_path):
    (data,) = KINDS["judges"].make(tmp_path)
    rng = fuzzer.random.Random(0)
    size = int.from_bytes(data[:8], "little")
    for _ in range(50):
        other = described_otherwise(data, rng)
        assert other.endswith(data[8 + size :])
        assert other != data
