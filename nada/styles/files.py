"""Save and load style files: safetensors with the weight differences, and a JSON description in the header."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.blueprint import MAX_ELEMENTS, MAX_TENSORS, make_config
from ..checkpoint.containers import read_document
from ..checkpoint.document import Document
from ..checkpoint.loading import opened, resolve
from ..checkpoint.metadata import NUMBER, RECIPE, damaged, fits, header_json, read_description
from ..checkpoint.own import KEY, STYLE_KEY
from ..checkpoint.saving import write_safetensors
from ..checkpoint.tensors import TensorView
from ..checkpoint.window import Window
from ..errors import CheckpointError, NadaError, UsageError
from ..stylegan2.config import MAX_RESOLUTION
from ..stylegan2.generator import FAMILY
from .low_rank import LowRank
from .style import MAX_NAME, Style

VERSION = 1
MAX_PREVIEW = 1 << 20  # largest preview that is read, in characters of Base64
SHAPE = {
    "name": str,
    "base": {"fingerprint": str, "config": dict, "source?": (dict, None)},
    "recipe": (RECIPE, None),
    "notes": [str],
    "error": NUMBER,
    "preview": str,
}
UP, DOWN = "::up", "::down"  # suffixes of a tensor's name, for the factors of a low-rank difference
DTYPES = (torch.float16, torch.float32)


def save_style(style: Style, path: str | os.PathLike[str], new: bool = False) -> None:
    """Save a style as safetensors, with its description as JSON in the header. The write is atomic.

    Args:
        style: style to save.
        path: file to create or replace, usually ending in ".safetensors".
        new: never replace a file; see `atomic_path`.

    Raises:
        NadaError: the file cannot be written, or the recipe is not JSON-serializable.
    """
    tensors: dict[str, Tensor] = {}
    for name, delta in style.deltas.items():
        tensors |= {name + UP: delta.up, name + DOWN: delta.down} if isinstance(delta, LowRank) else {name: delta}
    description = {
        "format": VERSION,
        "name": style.name,
        "kind": style.kind,
        "bytes": style.size,
        "error": style.error,
        "base": style.base,
        "recipe": style.recipe,
        "notes": style.notes,
        "preview": base64.b64encode(style.preview).decode("ascii"),
    }
    try:
        metadata = {STYLE_KEY: header_json(description)}
    except (TypeError, ValueError) as error:
        raise NadaError(f"the style's description cannot be saved as JSON: {error}") from error
    write_safetensors(tensors, metadata, path, new)


@torch.inference_mode(False)
def load_style(source: str | os.PathLike[str]) -> Style:
    """Load a style that `save_style` wrote, without executing anything in the file.

    Whether the style fits a generator is checked when it is applied.

    Args:
        source: path of the file.

    Returns:
        The style, with tensors on the CPU.

    Raises:
        CheckpointError: the file does not exist, is damaged, or is not a style; the message says what it is.
    """
    path = resolve(source, "give a style file (.safetensors), as `nada adapt` or the node Save Style writes it")
    with opened(path) as file:
        document = read_document(Window.whole(file))
        return _convert(document)


def _convert(document: Document) -> Style:
    """Build a style from the contents of a file, after checking all of them."""
    if STYLE_KEY not in document.metadata:
        what = "a generator" if KEY in document.metadata or document.container != "safetensors" else "something else"
        raise CheckpointError(
            f"this is {what}, not a style; `nada style diff BASE ADAPTED OUT.safetensors` makes a style from two "
            "generators"
        )
    description = read_description(document.metadata, STYLE_KEY, VERSION, "style")
    if not fits(description, SHAPE) or not _lines((description["name"], *description["notes"])):
        raise damaged("style")
    name, base, recipe, notes = (description[key] for key in ("name", "base", "recipe", "notes"))
    if len(name) > MAX_NAME:
        raise CheckpointError(f"the style's name has {len(name)} characters; at most {MAX_NAME} are allowed")
    _check_base(base)
    deltas, preview = _deltas(document), _preview(description["preview"])
    try:
        return Style(name, deltas, base, recipe, float(description["error"]), preview, notes)
    except UsageError as reason:
        raise CheckpointError("the style changes nothing; it is damaged, or was made by hand") from reason


def _check_base(base: dict[str, Any]) -> None:
    """Refuse a base of impossible sizes. Of an unknown generator family, only the resolution can be checked."""
    config, family = base["config"], base.get("family", FAMILY)
    resolution = config.get("resolution")
    if family == FAMILY:
        make_config(**config)
    elif type(resolution) is not int or not 0 < resolution <= MAX_RESOLUTION:
        raise damaged("style")


def _lines(texts: Iterable[str]) -> bool:
    return all(text.isprintable() for text in texts)


def _deltas(document: Document) -> dict[str, Tensor | LowRank]:
    """Read the differences, with all checks that need no generator."""
    views = document.tensors
    if len(views) > 2 * MAX_TENSORS or sum(view.numel for view in views.values()) > MAX_ELEMENTS:
        raise CheckpointError("the style has more or larger tensors than any generator")
    deltas: dict[str, Any] = {}
    for name, view in views.items():
        if not name.isprintable():
            raise CheckpointError(f"the style has a tensor whose name cannot be printed: {name[:120]!r}")
        if name.endswith(DOWN) and name.removesuffix(DOWN) + UP in views:
            continue
        own = name.removesuffix(UP)
        if own in deltas or (own != name and own in views):
            raise CheckpointError(f"the style has two differences for {own[:120]}; the file is damaged")
        deltas[own] = _read(name, view) if own == name else _factors(own, views)
    return deltas


def _factors(name: str, views: dict[str, TensorView]) -> LowRank:
    """Read the two factors of a low-rank difference, and check that they can be multiplied."""
    if name + DOWN not in views:
        raise CheckpointError(f"the style lacks {name[:120]}{DOWN}; the file is damaged")
    up, down = views[name + UP], views[name + DOWN]
    if len(up.shape) != 2 or len(down.shape) != 2 or up.shape[1] != down.shape[0]:
        shapes = f"{list(up.shape)} and {list(down.shape)}"
        raise CheckpointError(f"the factors of {name[:120]} have shapes {shapes}, which cannot be multiplied")
    return LowRank(_read(name + UP, up), _read(name + DOWN, down))


def _read(name: str, view: TensorView) -> Tensor:
    """Read a tensor, and check its type and values."""
    if view.storage.dtype not in DTYPES:
        raise CheckpointError(f"{name[:120]} has type {view.storage.dtype}; a style holds float16 or float32")
    tensor = view.read()
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{name[:120]} contains numbers that are not finite; the style is damaged")
    return tensor.to(view.storage.dtype)


def _preview(text: str) -> bytes:
    """Decode the preview from Base64."""
    if len(text) > MAX_PREVIEW:
        raise CheckpointError(f"the style's preview has {len(text)} characters; more than {MAX_PREVIEW} are not read")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CheckpointError("the style's preview is damaged") from error
