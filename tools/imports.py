"""Read the imports of the pack's modules, and assign modules to rooms: a folder, or a module on a ground floor."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Import(NamedTuple):
    """An imported module, or an imported name that is a module."""

    target: str
    """Path in the repository, without suffix, if the import is relative; else a dotted name."""
    relative: bool
    names: tuple[str, ...]
    """Names imported from it."""
    at_import: bool
    """Whether it is imported with the module that imports it, not later in a function."""


def modules(root: Path = ROOT) -> list[Path]:
    """Files of all modules that ship: nada/, nodes/ and ComfyUI's entry."""
    return sorted([*(root / "nada").rglob("*.py"), *(root / "nodes").rglob("*.py"), *root.glob("__init__.py")])


@cache
def imports(path: Path, root: Path = ROOT) -> tuple[Import, ...]:
    """Return all imports in a file, including those in functions. A file is read once."""
    return tuple(_read(path, root))


def _read(path: Path, root: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, early = waiting.pop()
        early = early and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += ((child, early) for child in ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, False, (), early) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            if not node.level:
                yield Import(str(node.module), False, names, early)
                continue
            base = path.parents[node.level - 1]
            for module in _targets(base, node.module, names):
                yield Import(module.relative_to(root).as_posix(), True, names, early)


def _targets(base: Path, module: str | None, names: tuple[str, ...]) -> list[Path]:
    """Modules behind `from <module> import <names>`, relative to a folder."""
    if module:
        return [base / module.replace(".", "/")]
    found = [base / name for name in names if (base / name).is_dir() or (base / f"{name}.py").is_file()]
    return found if len(found) == len(names) else [*found, base / "__init__"]


def room_of(path: Path, root: Path = ROOT) -> str:
    """Room of a module, whose path has a suffix or not: "nada/clip", "nada/adapt", "nada/__init__", "nodes"."""
    path = path.relative_to(root).with_suffix("")
    if (root / path).is_dir():
        path /= "__init__"
    ground = path.parent.as_posix() in (".", "nada")
    return path.as_posix() if ground else path.parent.as_posix()


def arrows(root: Path = ROOT) -> dict[str, set[str]]:
    """{room: the rooms that it imports}."""
    found: dict[str, set[str]] = {}
    for path in modules(root):
        here = room_of(path, root)
        targets = {room_of(root / target.target, root) for target in imports(path, root) if target.relative}
        found[here] = found.get(here, set()) | targets - {here}
    return found
