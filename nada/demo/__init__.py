"""Names, files and settings of the small models that are included in the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

FOLDER = Path(__file__).parent
NAME = "demo"  # of the generator of dogs, and of the pair of CLIP models
WORLD = "demo world"  # the format that generators of the demo world name in their metadata

GENERATORS = {NAME: FOLDER / "dog_photo.safetensors", f"{NAME}-person": FOLDER / "person_photo.safetensors"}
CLIPS = {f"{NAME}-conv": FOLDER / "clip_conv", f"{NAME}-vit": FOLDER / "clip_vit"}
JUDGE = FOLDER / "judge.safetensors"

SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "source": "photo",
        "target": "sketch",
        "layers": "all",
        "batch": 4,
        "iterations": 150,
        "learning_rate": 0.006,
        "views": 2,
    }
)
"""Fields of `AdaptConfig` for `nada demo`."""
