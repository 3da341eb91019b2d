"""The project's own format: safetensors with canonical names, and a JSON description in the header."""

from __future__ import annotations

from dataclasses import asdict

from ..generators import Generator
from .blueprint import Blueprint, make_config
from .document import Document
from .metadata import GENERATOR, damaged, fits, header_json, read_description

KEY = "nada"
STYLE_KEY = "nada_style"  # key in style files, which hold only differences of weights
VERSION = 1


def matches(document: Document) -> bool:
    """Whether this project wrote the file."""
    return KEY in document.metadata


def is_style(document: Document) -> bool:
    """Whether the file is a style of this project."""
    return STYLE_KEY in document.metadata


def convert(document: Document) -> Blueprint:
    """Convert a generator that `save_generator` wrote.

    Raises:
        CheckpointError: the description is damaged, or of a later version.
    """
    description = read_description(document.metadata, KEY, VERSION, "file")
    match description:
        case {"config": dict() as config, "metadata": dict() as metadata} if fits(metadata, GENERATOR):
            return Blueprint(make_config(**config), document.tensors, metadata=metadata)
    raise damaged("file")


def describe(generator: Generator) -> dict[str, str]:
    """Return the safetensors metadata of a generator, for `convert` to read."""
    description = {"format": VERSION, "config": asdict(generator.config), "metadata": generator.metadata}
    return {KEY: header_json(description)}
