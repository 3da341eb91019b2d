"""Checkpoints: bytes -> container -> named tensors -> format -> generator. Nothing in a file is ever executed.

`containers` reads the four containers into one `Document`, whose tensors are known by place and not yet read. `formats`
is the table of checkpoint formats; its rows convert a document to a checked `Blueprint`, which builds the generator.
`arrays` opens small files of codes and directions in the same way, and NumPy's files.
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
