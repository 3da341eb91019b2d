"""Checkpoints: bytes -> container -> named tensors -> format -> generator. Nothing in a file ever runs.

`containers` reads the four containers into one `Document`, in which tensors are known by place and not yet
read; `formats` is the table of what a document can be; its rows make a `Blueprint`, checked, which builds the
generator. `arrays` opens small files of codes and directions in the same way, and those of NumPy.
"""

from .arrays import open_arrays
from .cache import file_stamp
from .exporting import save_rosinality
from .loading import inspect_file, load_generator
from .saving import save_generator
from .tensors import TensorView

__all__ = [
    "TensorView",
    "file_stamp",
    "inspect_file",
    "load_generator",
    "open_arrays",
    "save_generator",
    "save_rosinality",
]
