"""A short run of the fuzzer in every suite, and a long one among the slow tests."""

from __future__ import annotations

import os

import pytest
from helpers.checkpoint_fuzz import Guard, fuzz

from nada.errors import CheckpointError


def test_some_damaged_files():
    outcomes = fuzz(300, seed=1)
    assert outcomes["generator"] > 10  # damage that hits numbers, or parts without effect
    assert outcomes["refused"] > 100


@pytest.mark.slow
def test_many_damaged_files():
    fuzz(20_000, seed=2)


@pytest.mark.parametrize(
    "misdeed",
    [
        lambda path: __import__("this_module_does_not_exist"),
        lambda path: eval("1"),
        lambda path: os.system("true"),
        lambda path: open(path.parent / "written", "w").close(),
    ],
)
def test_the_fuzzer_sees_what_readers_must_not_do(monkeypatch, misdeed):
    def load(path):
        with_error = misdeed(path)
        raise CheckpointError(str(with_error))

    def honest_then_hostile(path, seen=[]):  # noqa: B006
        seen.append(path)
        if len(seen) > 20:
            load(path)

    monkeypatch.setattr("helpers.checkpoint_fuzz.load_generator", honest_then_hostile)
    with pytest.raises((AssertionError, ImportError)):
        fuzz(20)


def test_the_fuzzer_names_the_file_that_broke_the_reader(monkeypatch):
    def broken(path, seen=[]):  # noqa: B006
        seen.append(path)
        if len(seen) > 25:
            raise KeyError("x")

    monkeypatch.setattr("helpers.checkpoint_fuzz.load_generator", broken)
    with pytest.raises(KeyError, match=r"file \d+ of seed 0"):
        fuzz(30)


def test_reading_is_no_misdeed(tmp_path):
    guard = Guard()
    (tmp_path / "a").write_text("x")
    with guard.watching():
        (tmp_path / "a").read_text()
    assert guard.seen == []
