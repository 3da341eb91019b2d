"""Names and files of the small models that are included in the package; `world` draws what they know."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
NAME = "demo"  # of the generator of dogs, and of the pair of CLIP models
WORLD = "demo world"  # the format that generators of the demo world name in their metadata

GENERATORS = {NAME: FOLDER / "dog_photo.safetensors", f"{NAME}-person": FOLDER / "person_photo.safetensors"}
ENCODERS = {NAME: FOLDER / "dog_encoder.safetensors"}
CLIPS = {f"{NAME}-conv": FOLDER / "clip_conv", f"{NAME}-vit": FOLDER / "clip_vit"}
JUDGE = FOLDER / "judge.safetensors"
TEXTS = {"source": "photo", "target": "sketch"}  # of `nada demo`
