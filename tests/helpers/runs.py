"""Small runs, and failures of the machine that they run on."""

from __future__ import annotations

import errno

import torch

import nada
from nada import AdaptConfig


def config(**changes) -> AdaptConfig:
    return AdaptConfig(
        **{"source": "photo", "target": "sketch", "iterations": 6, "batch": 8, "layers": "all", "templates": "{}"}
        | changes
    )


def assert_same(a, b):
    assert a.fingerprint() == b.fingerprint()


def out_of_memory(*_args, **_options):
    raise torch.OutOfMemoryError("CUDA out of memory")


def the_system(*_args, **_options):
    raise OSError(errno.EIO, "Input/output error")


def photo_loop(generator):
    """A function that makes a projection of two iterations."""
    settings = nada.ProjectConfig(w_iterations=2, plus_iterations=0, lpips_weight=0)
    return lambda: nada.project(generator, torch.zeros(1, 3, 8, 8), settings)
