"""Files with the codes of photos and their crops; `nada.latents.load_latents` reads the codes in them too."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.arrays import open_arrays
from ..checkpoint.metadata import header_json
from ..checkpoint.own_files import OwnKind, is_own_file, read_own_file
from ..checkpoint.saving import write_safetensors
from ..errors import CheckpointError, UsageError
from ..generators import Generator
from ..latents.files import PHOTOS as KEY
from .crop import Crop

VERSION = 1
SHAPE = {"base": str, "mapping?": str, "recipe": dict, "crops": [dict], "photos": [str]}
KIND = OwnKind(KEY, VERSION, "file of photo codes", SHAPE, max_bytes=1 << 31)
NOISE = "noise."


@dataclass(frozen=True)
class Codes:
    """Latent codes of photos, with their crops, which are needed to paste images back.

    Raises:
        UsageError: there is not one crop and one name for each code.
    """

    ws: Tensor
    """[N, num_ws, w_dim], float32, on the CPU."""
    crops: tuple[Crop, ...]
    """Square of each code in its photo."""
    photos: tuple[str, ...]
    """File name of each photo, without folders; "" where it has none."""
    base: str
    """Fingerprint of the generator that the codes are for."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Settings that the codes were found with, JSON-able."""
    noise: dict[str, Tensor] = field(default_factory=dict)
    """{layer name: [N, 1, H, W]}, fitted noise maps; empty if none were fitted."""
    mapping: str = ""
    """`mapping_fingerprint` of the generator, which adaptations share; "" if it is not known."""

    def __post_init__(self) -> None:
        counts = len(self.ws), len(self.crops), len(self.photos), *(len(maps) for maps in self.noise.values())
        if self.ws.ndim != 3 or len({*counts}) != 1:
            raise UsageError(
                f"the codes are {list(self.ws.shape)}, with {len(self.crops)} squares and {len(self.photos)} names of "
                "photos; each code needs one of each"
            )


def save_codes(codes: Codes, path: str | os.PathLike[str]) -> None:
    """Write codes atomically as safetensors, with their crops as JSON in the header.

    Args:
        codes: the codes.
        path: the file to create or replace; ".safetensors" is customary.

    Raises:
        NadaError: a code is not finite, or the file cannot be written.
    """
    tensors = {"ws": codes.ws, **{f"{NOISE}{name}": maps for name, maps in codes.noise.items()}}
    description = {
        "format": VERSION,
        "base": codes.base,
        "mapping": codes.mapping,
        "recipe": codes.recipe,
        "crops": [crop.to_json() for crop in codes.crops],
        "photos": list(codes.photos),
    }
    contiguous = {name: tensor.detach().cpu().float().contiguous() for name, tensor in tensors.items()}
    write_safetensors(contiguous, {KEY: header_json(description)}, path)


def has_fitted_noise(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds noise maps that were fitted with its codes; False for files of other projects."""
    if not is_own_file(path, KEY):
        return False
    with open_arrays(path) as arrays:
        return any(name.startswith(NOISE) for name in arrays)


def fitted_noise(path: str | os.PathLike[str], generator: Generator, count: int) -> dict[str, Tensor]:
    """Return the noise maps that were fitted with the codes in a file; {} for files of other projects.

    Args:
        path: the file.
        generator: the generator that the maps must fit. A base and its adaptations take the same maps.
        count: number of codes in the file.

    Raises:
        CheckpointError: the file is damaged, or the maps are for another generator or another number of codes.
    """
    if not is_own_file(path, KEY):
        return {}
    noise = load_codes(path).noise
    expected = {name: [count, 1, *size] for name, size in generator.synthesis.noise_shapes.items()}
    for name, maps in noise.items():
        if list(maps.shape) != expected.get(name):
            raise CheckpointError(
                f"{Path(path).name} has a noise map {name[:80]} {list(maps.shape)}, and this generator takes "
                f"{expected.get(name, 'none of that name')}; give the generator that it was fitted for, or --noise none"
            )
    return noise


@torch.inference_mode(False)
def load_codes(path: str | os.PathLike[str]) -> Codes:
    """Load codes from a file that `save_codes` wrote. Nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        The codes, on the CPU.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it holds no codes of photos.
    """
    description, tensors = read_own_file(path, KIND)
    crops = tuple(Crop.from_json(crop) for crop in description["crops"])
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    noise = {name.removeprefix(NOISE): maps for name, maps in tensors.items() if name.startswith(NOISE)}
    ws = tensors.get("ws")
    if ws is None or not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise CheckpointError("the codes are missing or not finite numbers; copy the file again")
    if not all(maps.ndim == 4 for maps in noise.values()):
        raise CheckpointError("the noise maps are damaged; copy the file again")
    try:
        photos = tuple(description["photos"])
        mapping = description.get("mapping", "")
        return Codes(ws, crops, photos, description["base"], description["recipe"], noise, mapping)
    except UsageError as error:
        raise CheckpointError(f"the file of photo codes is damaged: {error}") from error
