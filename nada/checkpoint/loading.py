"""Load and inspect checkpoints of all supported formats, without executing anything in them."""

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
from ..errors import CheckpointError, MissingFileError, UnreadableError
from ..files import patiently, storable
from ..stylegan2 import Generator
from .blueprint import Blueprint
from .cache import Cache, stamp_of
from .canonical import NOISE, W_AVG
from .containers import read_document
from .document import Document
from .formats import Format, detect
from .window import Window

ADVICE = (
    f"give the path of a checkpoint, or a generator's name: {', '.join(map(repr, GENERATORS))}, or on the command line "
    "a name that `nada models` lists"
)


def load_generator(source: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None) -> Generator:
    """Load a StyleGAN2 generator from a checkpoint, without executing anything in it.

    Args:
        source: a file, recognized by its content, of rosinality/stylegan2-pytorch, NVlabs/stylegan2, stylegan2-ada,
            stylegan2-ada-pytorch or stylegan3, of the encoders pSp, e4e or ReStyle, or of this project; or "demo" or
            "demo-person", the included small generators of dogs and of people. `Path("demo")` is a file of that name if
            there is one, else the included generator.
        cache: a folder for converted copies of other projects' files, which load faster the second time; None for no
            copies.

    Returns:
        The generator in float32 on the CPU, in eval mode, without gradients. Its `metadata["source"]` says where it
        comes from, and `metadata["notes"]` which values the file lacks. Its tensors are ordinary ones even under
        `torch.inference_mode`.

    Raises:
        CheckpointError: the file cannot be read, or is no such generator; the message says what it is.
    """
    path = resolve(source)
    if cache is None:
        return _load(path)[0]
    copies = Cache(cache)
    if (copy := copies.find(path)) is not None:
        try:
            generator, _ = _load(copy)
            generator.metadata["source"]["file"] = storable(path.name)  # the same content may have another name now
            return generator
        except (CheckpointError, LookupError, TypeError):
            copies.drop(copy)
    generator, stamp = _load(path)
    if stamp:
        copies.keep(generator, stamp, generator.metadata["source"]["sha256"])
    return generator


def _load(path: Path) -> tuple[Generator, str]:
    """Return the generator in a file, and the stamp of the file if another project wrote it, else ""."""
    with opened(path) as file:
        stamp = stamp_of(file)
        document, row = _recognize(file)
        blueprint = row.convert(document)
        generator = blueprint.build()
        if blueprint.metadata is not None:
            generator.metadata = blueprint.metadata
        else:
            generator.metadata = {
                "source": {"format": row.name, "file": storable(path.name), "sha256": _sha256(file)},
                "notes": blueprint.notes,
            }
    return generator, stamp if blueprint.metadata is None else ""


def inspect_file(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a checkpoint file as JSON-able data, without loading its weights.

    Args:
        source: a file or a name, as for `load_generator`.

    Returns:
        {"file", "size" in bytes, "sha256", "loadable"}; if the file is recognized, also {"container", "format"}; if it
        can be loaded, also {"config", "tensors", "parameters", "notes", "metadata"} (the metadata that this project
        saved with it), otherwise {"reason"}.

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


def resolve(source: str | os.PathLike[str], advice: str = ADVICE) -> Path:
    """Return the file for a path or for the name of an included generator.

    Args:
        source: the path or the name.
        advice: what to give instead, for the message.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is a folder, an impossible path, or missing from this installation.
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
            raise CheckpointError(f"{source} is a folder; give the file in it")
    except OSError as error:
        raise CheckpointError(f"{str(source)[:200]!r} is not the path of a file: {error.strerror}") from error
    if str(source).startswith(("http://", "https://", "http:/", "https:/")):
        raise CheckpointError(f"{source} is a web address; download the file, and give its path")
    raise MissingFileError(f"there is no file {str(source)!r}; {advice}")


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading, and prefix its name to every `CheckpointError` raised inside the context.

    Raises:
        MissingFileError: there is no such file.
        UnreadableError: the file cannot be read; the message says why.
        CheckpointError: the code inside the context raises one.
    """
    try:
        with patiently(lambda: open(path, "rb")) as file:
            yield file
    except FileNotFoundError as error:
        raise MissingFileError(f"there is no file {str(path)!r}; check its path") from error
    except OSError as error:
        reason = error.strerror or error
        raise UnreadableError(f"{path} cannot be read: {reason}; try again, or check its permissions") from error
    except UnreadableError as error:
        raise UnreadableError(f"{path.name}: {_cut(error)}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {_cut(error)}") from error


def _cut(error: CheckpointError, limit: int = 500) -> str:
    """Return an error's message, shortened: it may quote long names and texts of the file."""
    text = str(error)
    return text[:limit] + ("..." if len(text) > limit else "")


def _recognize(file: BufferedReader) -> tuple[Document, Format]:
    document = read_document(Window.whole(file))
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
