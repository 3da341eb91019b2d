"""The door through which every generator comes, whoever wrote the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import BufferedReader
from pathlib import Path
from typing import Any

from ..demo import GENERATORS
from ..errors import CheckpointError
from ..stylegan2 import Generator
from .blueprint import Blueprint
from .cache import Cache
from .canonical import NOISE, W_AVG
from .containers import read_document
from .document import Document
from .formats import Format, detect
from .window import Window


def load_generator(source: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None) -> Generator:
    """A StyleGAN2 generator from a checkpoint, without running anything that the checkpoint contains.

    Args:
        source: a file as rosinality/stylegan2-pytorch, NVlabs/stylegan2, stylegan2-ada, stylegan2-ada-pytorch and
            stylegan3, the encoders pSp, e4e and ReStyle, or this project write them, recognized by its content; or
            "demo" and "demo-person" for the small generators of dogs and of people that are included. `Path("demo")`
            is a file of that name if there is one, else the included generator.
        cache: a folder for converted copies of others' files, which load faster the second time; None for none.

    Returns:
        The generator in float32 on the CPU, in eval mode, without gradients. Its `metadata` says where it
        came from, and `metadata["notes"]` what the file left open. Its tensors are ordinary ones even under
        `torch.inference_mode`.

    Raises:
        CheckpointError: the file cannot be read, or is not such a generator; the message says what it is.
    """
    path = resolve(source)
    if cache is None:
        return _load(path)[0]
    copies = Cache(cache)
    if (copy := copies.find(path)) is not None:
        try:
            generator, _ = _load(copy)
            generator.metadata["source"]["file"] = path.name  # the same content may have another name now
            return generator
        except (CheckpointError, LookupError, TypeError):
            copies.drop(copy)
    generator, foreign = _load(path)
    if foreign:
        copies.keep(generator, path, generator.metadata["source"]["sha256"])
    return generator


def _load(path: Path) -> tuple[Generator, bool]:
    """The generator in a file, and whether somebody else wrote it."""
    with opened(path) as file:
        document, row = _recognize(file)
        blueprint = row.convert(document)
        generator = blueprint.build()
        if blueprint.metadata is not None:
            generator.metadata = blueprint.metadata
        else:
            generator.metadata = {
                "source": {"format": row.name, "file": path.name, "sha256": _sha256(file)},
                "notes": blueprint.notes,
            }
    return generator, blueprint.metadata is None


def inspect_file(source: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint file is, as plain data that `json.dumps` takes. The weights are not loaded.

    Args:
        source: as for `load_generator`.

    Returns:
        {"file", "size" in bytes, "sha256", "loadable"}; if it was recognized, {"container", "format"}; if it
        can be loaded, {"config", "tensors", "parameters", "notes", "metadata"}, where the last is what this
        project saved with it, otherwise {"reason"}.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
    """
    path = resolve(source)
    with opened(path) as file:
        report = {"file": path.name, "size": path.stat().st_size, "sha256": _sha256(file), "loadable": False}
        try:
            document, row = _recognize(file)
            report |= {"container": document.container, "format": row.name}
            report |= _summary(row.convert(document)) | {"loadable": True}
        except CheckpointError as error:
            report["reason"] = _cut(error)
    return report


def resolve(source: str | os.PathLike[str]) -> Path:
    """The file that the name of an included generator, or a path, stands for.

    Raises:
        CheckpointError: there is none.
    """
    name = os.fspath(source)
    if name in GENERATORS and (isinstance(source, str) or not os.path.isfile(name)):
        path = GENERATORS[name]
        if not path.is_file():
            raise CheckpointError(
                f"the generator {name!r} is missing from this installation ({path}); install it again"
            )
        return path
    path = Path(source)
    try:
        if path.is_file():
            return path
        if path.is_dir():
            raise CheckpointError(f"{source} is a folder; give the checkpoint file in it")
    except OSError as error:
        raise CheckpointError(f"{str(source)[:200]!r} is not the path of a file: {error.strerror}") from error
    if str(source).startswith(("http://", "https://", "http:/", "https:/")):
        raise CheckpointError(f"{source} is a web address; download the file, and give its path")
    names = ", ".join(map(repr, GENERATORS))
    raise CheckpointError(
        f"there is no file {str(source)!r}; give the path of a checkpoint, or a generator's name: {names}"
    )


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """The file; and its name before every complaint about it.

    Raises:
        CheckpointError: it cannot be read, or what is done with it inside the context raises one.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {_cut(error)}") from error


def _cut(error: CheckpointError, limit: int = 500) -> str:
    """The sentence, whatever long names and texts of the file it quotes."""
    text = str(error)
    return text[:limit] + ("..." if len(text) > limit else "")


def _recognize(file: BufferedReader) -> tuple[Document, Format]:
    size = file.seek(0, os.SEEK_END)
    document = read_document(Window(file, 0, size))
    return document, detect(document)


def _summary(blueprint: Blueprint) -> dict[str, Any]:
    return {
        "config": {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(blueprint.config).items()},
        "tensors": len(blueprint.tensors),
        "parameters": sum(v.numel for n, v in blueprint.tensors.items() if n != W_AVG and not n.endswith(NOISE)),
        "notes": blueprint.notes,
        "metadata": blueprint.metadata or {},
    }


def _sha256(file: BufferedReader) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
