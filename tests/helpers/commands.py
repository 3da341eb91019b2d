"""Texts for short runs on the command line, and their results."""

from __future__ import annotations

from pathlib import Path

import torch

from nada.checkpoint import load_generator

TEXTS = ("--source", "photo", "--target", "sketch")


def result(folder: Path, name: str = "photo_to_sketch"):
    return load_generator(folder / f"{name}.safetensors").state_dict()


def assert_equal(a, b):
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name
