"""Catalog of published models: name, content, size, license and address, read from catalog.json beside this module.

Nothing is downloaded by itself; `nada.published.download` fetches the model that a user picks. Sizes and hashes are
those that publishers and mirrors state. If only the ends of a hash are known ("ab12...ef34"), only the ends are
compared; if nothing is known, the first download records the hash of the received file. Addresses on the Hugging Face
hub name a revision where one is known. StyleGAN-NADA's own generators are offered under MIT; the catalog states
NVIDIA's license, which binds derivatives of its FFHQ generator.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from ..errors import NadaError, UsageError

CATALOG = Path(__file__).with_suffix(".json")
HUB_FILE = "open_clip_model.safetensors"
NVIDIA = "NVIDIA Source Code License: research and evaluation only"
UNSTATED = "not stated by the publisher"
MIT = "MIT"
_NUMBERS = {"resolution", "megabytes", "size"}  # fields with numbers; all others are texts
_PATTERNS = {
    "url": r"https://\S+\.\w+",
    "sha256": r"[0-9a-f]{64}|[0-9a-f]{8}\.\.\.[0-9a-f]+",
    "revision": r"[0-9a-f]{40}",
}


@dataclass(frozen=True)
class Published:
    """A generator that is published for download."""

    name: str
    """Name in this catalog; the file is saved under it."""
    resolution: int
    """Pixels on a side."""
    content: str
    """Subject of the images."""
    url: str
    license: str
    megabytes: int
    """Approximate size."""
    size: int | None = None
    """Exact size in bytes, if known."""
    sha256: str = ""
    """Hash of the file; "ab12...ef34" if only its ends are known, "" if it is unknown."""
    form: str = "rosinality .pt"
    """Format of the file, for the list."""
    encoder: str = ""
    """Kind of the encoder that the file also holds, "" for none."""

    @property
    def file(self) -> str:
        """Name of the downloaded file."""
        return self.name + self.url[self.url.rindex(".") :]

    @property
    def label(self) -> str:
        """Line for a list: name, size and a short form of the license."""
        short = {NVIDIA: "NVIDIA, non-commercial", UNSTATED: "license unknown"}.get(self.license, self.license)
        return f"{self.name} ({self.megabytes} MB, {short})"


@dataclass(frozen=True)
class PublishedClip:
    """A CLIP model that is published for download."""

    name: str
    """Name as `--clip` takes it."""
    architecture: str
    """open_clip's name for the network that these weights were trained in."""
    repository: str
    """Repository on the Hugging Face hub."""
    revision: str
    """Commit of the repository that size and hash belong to."""
    megabytes: int
    """Approximate size."""
    size: int | None = None
    """Exact size in bytes, if known."""
    sha256: str = ""
    """Hash of the file, if known."""
    license: str = MIT

    @property
    def file(self) -> str:
        """Name of the downloaded file."""
        return f"{self.architecture}.openai.safetensors"

    @property
    def url(self) -> str:
        """Address of the file."""
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{HUB_FILE}"


@dataclass(frozen=True)
class PublishedDetector:
    """A face detector that is published for download. A file with another size or hash is refused."""

    name: str
    """Name in this catalog."""
    content: str
    """Description of its results, and of the pictures it works on."""
    url: str
    size: int
    """Exact size in bytes."""
    sha256: str
    megabytes: int
    """Size, rounded up."""
    license: str = MIT

    @property
    def file(self) -> str:
        """Name of the downloaded file, which is the publisher's."""
        return self.url[self.url.rindex("/") + 1 :]


Model = TypeVar("Model", Published, PublishedClip, PublishedDetector)
AnyPublished = Published | PublishedClip | PublishedDetector


@dataclass(frozen=True)
class Catalog:
    """All published models, in the order of the file."""

    generators: tuple[Published, ...]
    clips: tuple[PublishedClip, ...]
    detectors: tuple[PublishedDetector, ...]


def read_catalog(text: str) -> Catalog:
    """Parse and check the text of a catalog.

    Args:
        text: JSON {"generators": [...], "clips": [...], "detectors": [...]}. A row has the fields of `Published`,
            `PublishedClip` or `PublishedDetector`, with "size" in bytes, or with "megabytes" if the exact size is
            unknown.

    Returns:
        The models, in the order of the rows.

    Raises:
        NadaError: the text is not such a catalog; the message names the row.
    """
    try:
        document = json.loads(text)
        generators = tuple(_model(Published, row) for row in document["generators"])
        clips = tuple(_model(PublishedClip, row) for row in document["clips"])
        detectors = tuple(_model(PublishedDetector, row) for row in document["detectors"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NadaError(f"the catalog of published models is damaged ({error}); install this package again") from error
    models: tuple[AnyPublished, ...] = (*generators, *clips, *detectors)
    names = [model.name for model in models]
    if twice := {name for name in names if names.count(name) > 1}:
        raise NadaError(f"the catalog of published models names {', '.join(sorted(twice))} twice; rename one of them")
    return Catalog(generators, clips, detectors)


def _model(kind: type[Model], row: dict[str, Any]) -> Model:
    """Make a model of a row of the catalog.

    Raises:
        ValueError: a value does not fit its field.
        TypeError: a field is missing or unknown.
    """
    for field, value in row.items():
        if type(value) is not (int if field in _NUMBERS else str) or not value:
            raise ValueError(f"{field} of {row.get('name')!r} is {value!r}")
        if field in _PATTERNS and not re.fullmatch(_PATTERNS[field], str(value)):
            raise ValueError(f"{field} of {row.get('name')!r} is {value!r}")
    if ("size" in row) == ("megabytes" in row):
        raise ValueError(f"{row.get('name')!r} must have either size or megabytes")
    return kind(**{"megabytes": ceil(row.get("size", 0) / 1e6), **row})


_read = read_catalog(CATALOG.read_text("utf-8"))
PUBLISHED, PUBLISHED_CLIPS = _read.generators, _read.clips
"""Generators, the smaller files first; and OpenAI's CLIP models that the paper uses, as safetensors."""
(YUNET,) = _read.detectors
ENCODERS = tuple(model for model in PUBLISHED if model.encoder)
"""The generators whose file also holds an encoder for them."""


def agrees(known: str, sha256: str) -> bool:
    """Whether a hash equals the known one, or agrees with the known ends of it; True if nothing is known."""
    head, dots, tail = known.partition("...")
    return sha256.startswith(head) and sha256.endswith(tail) if dots or not known else sha256 == known


def find_published(name: str) -> AnyPublished:
    """Return the published generator, CLIP model or face detector with a name.

    Args:
        name: name in the catalog.

    Raises:
        UsageError: no model has this name.
    """
    models: tuple[AnyPublished, ...] = (*PUBLISHED, *PUBLISHED_CLIPS, YUNET)
    for model in models:
        if model.name == name:
            return model
    raise UsageError(f"there is no published model {name!r}; `nada models` lists them, such as {PUBLISHED[0].name}")
