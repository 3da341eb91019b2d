"""Save latent codes, and load them from files of projectors, encoders and this project."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import TensorView, open_arrays
from ..checkpoint.metadata import header_json
from ..checkpoint.own_files import OwnKind, is_own_file, read_own_description
from ..checkpoint.saving import write_safetensors
from ..errors import CheckpointError
from ..generators import Generator, LayerKind

log = logging.getLogger(__name__)
KEY, VERSION = "nada-latents", 1  # key and format of the description in the header
PHOTOS = "nada-codes"  # its key in files with the codes of photos (`nada.photo.codes`)
SHAPE = {"mapping?": str}
# Names of codes in files that also hold pictures, noise or losses.
NAMES = {"ws", "w", "wp", "w_plus", "w_pivot", "dlatents", "dlatent", "latents", "latent", "latent_code", "codes"}
MAX_NUMBERS = 1 << 27  # numbers in the codes of one file: half a gigabyte


def load_latents(path: str | Path, generator: Generator) -> Tensor:
    """Load latent codes from a file, without executing anything in it.

    Supported are .npz of NVIDIA's projectors ("w", "dlatents"), .npy, .pt of e4e, pSp, PTI and rosinality's projector,
    and .safetensors of this project ("ws"). A w for all layers is repeated.

    Codes that were found with another mapping network cost a warning in the log; see `latents_remark`.

    Args:
        path: the file. If it holds many codes, alone or by name, all are loaded, in the order of their names.
        generator: the generator that the codes are for. A base and its adaptations take the same codes.

    Returns:
        ws [N, num_ws, w_dim], float32, on the CPU.

    Raises:
        CheckpointError: the file cannot be read, or its codes are for another generator; the message gives the shapes.
    """
    num_ws, w_dim = generator.num_ws, generator.config.w_dim
    with open_arrays(path) as arrays:
        named = {name: view for name, view in arrays.items() if name.rpartition(".")[2].lower() in NAMES}
        fitting = {name: view for name, view in (named or arrays).items() if _fits(view.shape, num_ws, w_dim)}
        if not fitting:
            raise CheckpointError(_misfit(named or arrays, num_ws, w_dim))
        # A code of W, which is repeated for all layers, counts as often.
        rows = {name: 1 if view.shape[-2:-1] == (num_ws,) else num_ws for name, view in fitting.items()}
        if sum(view.numel * rows[name] for name, view in fitting.items()) > MAX_NUMBERS:
            raise CheckpointError(
                f"the codes in the file have more than {MAX_NUMBERS} numbers for all layers; split the file"
            )
        ws = torch.cat([_codes(_read(fitting[name]), num_ws, w_dim) for name in sorted(fitting, key=_natural)])
        if not ws.isfinite().all():
            raise CheckpointError(
                "the codes in the file are not finite: the search for them diverged; use another file"
            )
    if remark := latents_remark(path, generator):
        log.warning("%s", remark)
    return ws


def _read(view: TensorView) -> Tensor:
    """Read codes, also those that were expanded to all layers before they were saved."""
    return view.distinct().read().expand(view.shape)


def save_latents(ws: Tensor, generator: Generator, path: str | os.PathLike[str]) -> None:
    """Write latent codes atomically as safetensors, with the fingerprint of the mapping network that they belong to.

    Args:
        ws: the codes, [N, num_ws, w_dim].
        generator: the generator that the codes were found or sampled with.
        path: the file to create or replace; ".safetensors" is customary.

    Raises:
        NadaError: a code is not finite, or the file cannot be written.
    """
    description = header_json({"format": VERSION, "mapping": mapping_fingerprint(generator)})
    write_safetensors({"ws": ws.detach().cpu().float().contiguous()}, {KEY: description}, path)


def mapping_fingerprint(generator: Generator) -> str:
    """Return the SHA-256 of the weights of a generator's mapping network.

    These weights decide what a latent code means. Adaptations that do not train the mapping network share them with
    their base, whatever the format of their files.
    """
    digest = hashlib.sha256()
    for layer in (name for name, layer in generator.layers.items() if layer.kind is LayerKind.MAPPING):
        for name, tensor in sorted(generator.parameters_of(layer).items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def marked_mapping(path: str | os.PathLike[str]) -> str:
    """Return the `mapping_fingerprint` in the header of a file of codes; "" for files without it.

    Raises:
        CheckpointError: the file cannot be read, or its header is damaged.
    """
    for key in (KEY, PHOTOS):
        if is_own_file(path, key):
            kind = OwnKind(key, VERSION, "file of latent codes", SHAPE)
            return str(read_own_description(path, kind).get("mapping", ""))
    return ""


def latents_remark(path: str | os.PathLike[str], generator: Generator) -> str:
    """Return a warning if the codes in a file belong to another mapping network than the generator's, else "".

    Files that do not name a mapping network, such as those of other projects, get no warning.

    Args:
        path: the file.
        generator: the generator that is to show the codes.

    Raises:
        CheckpointError: the file cannot be read, or its header is damaged.
    """
    if marked_mapping(path) in ("", mapping_fingerprint(generator)):
        return ""
    return "the codes were found with another generator and mapping network; they may show something else here"


def _fits(shape: tuple[int, ...], num_ws: int, w_dim: int) -> bool:
    """Whether an array holds at least one code for such a generator."""
    if not shape or shape[-1] != w_dim or 0 in shape:
        return False
    return len(shape) <= 2 or shape[-2] in (1, num_ws)


def _codes(array: Tensor, num_ws: int, w_dim: int) -> Tensor:
    """Reshape an array to [N, num_ws, w_dim]. A matrix of num_ws rows is one code of W+, any other is many of W."""
    if array.ndim < 2 or array.shape[-2] != num_ws:
        array = array.reshape(-1, 1, w_dim)
    return array.reshape(-1, array.shape[-2], w_dim).expand(-1, num_ws, -1)


def _misfit(arrays: Mapping[str, TensorView], num_ws: int, w_dim: int) -> str:
    shapes = ", ".join(f"{name or 'array'} {list(view.shape)}" for name, view in sorted(arrays.items())[:5])
    more = f" and {len(arrays) - 5} more" if len(arrays) > 5 else ""
    return f"the file holds {shapes}{more}; codes for this generator are [N, {num_ws}, {w_dim}] or [N, {w_dim}]"


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts 2 before 10."""
    parts = re.split(r"(\d{1,18})", name)  # every second one is a number
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
