"""Names and files of the small models included in the package; `world` draws the pictures that they know."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
NAME = "demo"  # name of the generator of dogs, its encoder, and the pair of CLIP models
WORLD = "demo world"  # format in the metadata of generators of the demo world

GENERATORS = {NAME: FOLDER / "dog_photo.safetensors", f"{NAME}-person": FOLDER / "person_photo.safetensors"}
ENCODERS = {NAME: FOLDER / "dog_encoder.safetensors", f"{NAME}-person": FOLDER / "person_encoder.safetensors"}
CLIPS = {f"{NAME}-conv": FOLDER / "clip_conv", f"{NAME}-vit": FOLDER / "clip_vit"}
JUDGE = FOLDER / "judge.safetensors"
SETTINGS = {"source": "photo", "target": "sketch", "iterations": 50}  # defaults of `nada demo`: a style is quick
