"""Files damaged by chance: reading ends with a generator or with a sentence, never otherwise."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from helpers.checkpoint_files import nvidia_bytes, rosinality_checkpoint, small_generator, torch_bytes
from helpers.effort import little_work
from safetensors.torch import save

from nada.checkpoint import load_generator
from nada.errors import CheckpointError

SAMPLES = {
    "torch zip": lambda generator: torch_bytes(rosinality_checkpoint(generator)),
    "torch legacy": lambda generator: torch_bytes(rosinality_checkpoint(generator), legacy=True),
    "pickle": nvidia_bytes,
    "pickle of protocol 2": lambda generator: nvidia_bytes(generator, protocol=2),
    "safetensors": lambda generator: save(generator.state_dict()),
}


def load(folder: Path, data: bytes) -> bool:
    """Whether the bytes load as a generator; otherwise they are refused with a sentence."""
    path = folder / "model"
    path.write_bytes(data)
    with little_work():
        try:
            load_generator(path)
        except CheckpointError:
            return False
    return True


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_truncation_is_refused(tmp_path, kind):
    data = SAMPLES[kind](small_generator(4))
    assert load(tmp_path, data)
    for size in [*range(0, 200, 7), *range(200, len(data), len(data) // 60), len(data) - 1]:
        assert not load(tmp_path, data[:size])


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "torch zip" else [pytest.mark.slow]) for kind in SAMPLES]
)
def test_random_damage_ends_in_a_sentence_or_a_generator(tmp_path, kind):
    data, rng = SAMPLES[kind](small_generator(4)), random.Random(f"damage {kind}")
    outcomes = []
    for _ in range(75):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        outcomes.append(load(tmp_path, bytes(damaged)))
    assert {*outcomes} == {True, False}
