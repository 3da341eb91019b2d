"""Checkpoints: bytes -> container -> named tensors -> format -> generator. Nothing in a file ever runs.

`containers` reads the four containers into one `Document`, in which tensors are known by place and not yet
read; `formats` is the table of what a document can be; its rows make a `Blueprint`, checked, which builds the
generator.
"""

from .cache import file_stamp
from .exporting import save_rosinality
from .loading import inspect_file, load_generator
from .saving import save_generator

__all__ = ["file_stamp", "inspect_file", "load_generator", "save_generator", "save_rosinality"]
