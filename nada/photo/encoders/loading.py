"""Load encoders from files of any kind, and included ones by name."""

from __future__ import annotations

import os
from typing import Any

from ... import demo
from .files import load_published_encoder
from .published import PublishedEncoder
from .published import describe as describe_published
from .small import SmallEncoder, is_small_encoder, load_small_encoder


def load_encoder(source: str | os.PathLike[str]) -> PublishedEncoder | SmallEncoder:
    """Load an encoder, on the CPU and without gradients. Nothing in the file is executed.

    Args:
        source: a file of pSp, e4e or ReStyle, a file of tools/demo_world/train_encoder.py, or the name of an included
            encoder.

    Raises:
        CheckpointError: there is no such file, it is damaged, or holds no encoder.
    """
    path = demo.ENCODERS.get(os.fspath(source), source)
    return load_small_encoder(path) if is_small_encoder(path) else load_published_encoder(path)


def describe(encoder: PublishedEncoder | SmallEncoder) -> dict[str, Any]:
    """Describe an encoder as JSON-able data, for people."""
    if isinstance(encoder, PublishedEncoder):
        return describe_published(encoder.config)
    config = encoder.config
    return {"encoder": "small", "trunk": f"{config.size} px", "codes": [config.num_ws, config.w_dim]}
