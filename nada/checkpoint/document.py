"""A checkpoint as flat tables: tensors and attributes by dotted name, whatever the container."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError
from .inert import Record, dict_of
from .numpy_values import array_view
from .tensors import TensorView

MAX_DEPTH = 32
MAX_NODES = 200_000
MAX_NAME = 200
MAX_TENSORS = 20_000  # more than the thousands of a diffusion model, which is recognized to be refused by name
COMPILED = "_orig_mod."  # prefix that torch.compile adds to the names of a compiled module
AVERAGED = re.compile(r"(?i:(ema|avg|swa)(?![a-z])|(?<![a-z])ema|averag|smooth|running|shadow|polyak)|\bGs\b")
RAW = re.compile(r"(?i)(^|[._])(net_?)?(g|gen|generator)([._]|$)")
_TORCHSCRIPT = "__torch__."  # prefix of class names in a TorchScript archive, whose records have one dict as state
_MODULE_TABLES = ("_parameters", "_buffers", "_modules")
_TENSORFLOW = "dnnlib.tflib.network.Network"
MAX_VARIABLES = 1000  # variables of one TensorFlow network; StyleGAN2 has 150
_Scalar = (bool, int, float, str, type(None))
_Table = tuple[dict[Any, Any] | list[Any] | tuple[Any, ...], Callable[[Any, Any], bool]]
"""A collection, and a predicate that selects the entries to visit."""


@dataclass
class Document:
    """The content of a checkpoint whose format is not known yet.

    Lists count as dicts with keys 0, 1, ... The tensors of a pickled network have the names of its state dict, those of
    a TensorFlow network the names of its variables.
    """

    container: str
    """ "safetensors", "torch zip", "torch legacy" or "pickle"."""
    tensors: dict[str, TensorView] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    """Numbers, texts and truth values: entries of dicts, and public attributes of pickled networks."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Class names of the objects in the file."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Metadata in the header of a safetensors file."""

    @classmethod
    def of_table(cls, container: str, tensors: dict[str, TensorView], metadata: dict[str, str]) -> Document:
        """Make a document of a file that has only tensors by name, and metadata.

        Raises:
            CheckpointError: two tensors have the same name.
        """
        document = cls(container, metadata=metadata)
        for name, view in tensors.items():
            document._note(name, view)
        return document

    @classmethod
    def of_tree(cls, container: str, root: Any) -> Document:
        """Flatten a tree of dicts, lists, records and tensors.

        Raises:
            CheckpointError: the tree is too deep, too large, or cyclic, or two tensors have the same name.
        """
        document, budget = cls(container), MAX_NODES
        pending: list[tuple[str, Any, int]] = [("", root, 0)]
        while pending:
            name, value, depth = pending.pop()
            if depth > MAX_DEPTH:
                raise CheckpointError(f"the file is damaged or hostile: it is nested more than {MAX_DEPTH} deep")
            document._note(name, value)
            prefix = f"{name}." if name else ""
            for table, wanted in _tables(value):
                budget -= len(table) + 1
                if budget < 0:
                    raise CheckpointError(f"the file holds more than {MAX_NODES} values; no generator has that many")
                for key, child in table.items() if isinstance(table, dict) else enumerate(table):
                    if isinstance(key, (str, int)) and wanted(key, child):
                        pending.append(((prefix + str(key)[:MAX_NAME])[:MAX_NAME], child, depth + 1))
        return document

    def _note(self, name: str, value: Any) -> None:
        if isinstance(value, Record):
            value = array_view(value) or value
        if isinstance(value, TensorView):
            name = name.replace(COMPILED, "")
            if name in self.tensors:
                raise CheckpointError(f"the file is damaged or hostile: two tensors are called {name}")
            self.tensors[name] = value
            if len(self.tensors) > MAX_TENSORS:
                raise CheckpointError(f"the file holds more than {MAX_TENSORS} tensors; no generator has that many")
        elif isinstance(value, Record):
            self.kinds[name] = value.kind
        elif isinstance(value, _Scalar):
            self.attributes[name] = value

    def prefixes_of(self, marks: Sequence[str]) -> list[str]:
        """Return the key prefixes under which the file holds networks with some names, the preferred one first.

        A wrapper around a network (a dict, a module, a trainer's state) shows only as such a prefix. Moving averages of
        weights come before raw weights, and short prefixes before long ones.

        Args:
            marks: names of tensors that every such network has.
        """
        ends = [name.removesuffix(marks[0]) for name in self.tensors if name.endswith(marks[0])]
        prefixes = [p for p in ends if (not p or p.endswith(".")) and all(p + mark in self.tensors for mark in marks)]
        return sorted(prefixes, key=lambda p: (-_averages(p), p.count("."), p))

    def choose(self, marks: Sequence[str]) -> tuple[str, list[str]]:
        """Return the first of `prefixes_of`, which must not be empty, with notes for the user on the choice."""
        prefixes = self.prefixes_of(marks)
        chosen, notes = prefixes[0], []
        if not _averages(chosen) and RAW.search(chosen):
            notes.append(f"The file has no moving average of the weights; those under {_shown(chosen)} are raw ones.")
        if rivals := [_shown(p) for p in prefixes[1:] if _averages(p) == _averages(chosen)]:
            listed = ", ".join(rivals[:3]) + (f" and {len(rivals) - 3} more" if len(rivals) > 3 else "")
            notes.append(f"The file holds several generators; {_shown(chosen)} was loaded, and {listed} was not.")
        return chosen, notes

    def under(self, prefix: str) -> Document:
        """Return the entries whose names begin with a prefix, with the prefix removed."""

        def cut(table: dict[str, Any]) -> dict[str, Any]:
            return {name.removeprefix(prefix): value for name, value in table.items() if name.startswith(prefix)}

        return Document(self.container, cut(self.tensors), cut(self.attributes), cut(self.kinds), self.metadata)


def _averages(prefix: str) -> int:
    """Count the words in a prefix that mark the weights as averages."""
    return len(AVERAGED.findall(prefix))


def _shown(prefix: str) -> str:
    return repr(prefix.removesuffix(".")[:MAX_NAME])


def _tables(value: Any) -> list[tuple[dict[Any, Any] | list[Any] | tuple[Any, ...], Callable[[Any, Any], bool]]]:
    """Return the child containers of a value, each with a predicate that selects the entries to visit."""
    if isinstance(value, (dict, list, tuple)):
        return [(value, _everything)]
    if isinstance(value, Record) and isinstance(value.state, dict):
        tables = [table for name in _MODULE_TABLES if isinstance(table := value.state.get(name), dict)]
        if len(tables) == len(_MODULE_TABLES):  # a torch module; names leave out "_parameters" and the like
            return [*((table, _everything) for table in tables), (value.state, _public_and_plain)]
    if isinstance(value, Record) and value.kind.startswith(_TORCHSCRIPT) and isinstance(value.state, dict):
        return [(value.state, _everything)]
    if isinstance(value, Record) and value.kind == _TENSORFLOW and isinstance(value.state, dict):
        return _tensorflow_tables(value.state)
    return []


def _tensorflow_tables(state: dict[Any, Any]) -> list[_Table]:
    """Return the child containers of a network of NVIDIA's tflib: arguments, networks inside it, and variables."""
    tables: list[_Table] = [({"static_kwargs": state.get("static_kwargs")}, _everything), (state, _public_and_plain)]
    if isinstance(components := state.get("components"), dict):
        tables.append((components, _everything))
    variables = state.get("variables")
    if isinstance(variables, list) and len(variables) <= MAX_VARIABLES:
        pairs = [pair for pair in variables if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)]
        tables.append((dict_of(pairs), _everything))
    return tables


def _everything(key: Any, value: Any) -> bool:
    return True


def _public_and_plain(key: Any, value: Any) -> bool:
    return not str(key).startswith("_") and isinstance(value, _Scalar)
