"""Who may import whom. Arrows point one way, imports inside the pack are relative, and only nodes/ knows ComfyUI."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import nada

ROOT = Path(__file__).parents[2]


class Room(NamedTuple):
    """A folder, or a module on the ground floor: it may import itself and all rooms on lower floors."""

    floor: int
    packages: frozenset[str] = frozenset()
    """Packages that it may use beside the standard library."""


def room(floor: int, packages: str = "") -> Room:
    return Room(floor, frozenset(packages.split()))


ROOMS = {  # one row a folder, from the top down
    "__init__": room(13),
    "nodes": room(12, "torch numpy PIL comfy_api"),
    "nada/__main__": room(11),
    "nada/__init__": room(10),
    "nada/cli": room(10, "torch tqdm PIL"),
    "nada/runs": room(9, "torch PIL"),
    "nada/adapt": room(8, "torch"),
    "nada/text_edits": room(8, "torch"),
    "nada/measure": room(8, "torch"),
    "nada/training": room(7, "torch"),
    "nada/clip": room(6, "torch open_clip"),
    "nada/published": room(5, "huggingface_hub filelock"),
    "nada/styles": room(5, "torch PIL"),
    "nada/checkpoint": room(4, "torch numpy safetensors"),
    "nada/latents": room(4, "torch numpy safetensors"),
    "nada/layer_freeze": room(4, "torch"),
    "nada/stylegan2": room(3, "torch"),
    "nada/stylegan2/ops": room(2, "torch triton"),
    "nada/pictures": room(2, "torch numpy PIL"),
    "nada/settings": room(2),
    "nada/files": room(2),
    "nada/losses": room(1, "torch"),
    "nada/seeding": room(1, "torch"),
    "nada/demo": room(1),
    "nada/errors": room(1),
}
HOST = {"comfy", "comfy_execution", "folder_paths", "server", "nodes", "execution"}  # ComfyUI, but for its node API
DANGEROUS = {"pickle", "_pickle", "dill", "marshal", "shelve", "subprocess", "ctypes"}


class Import(NamedTuple):
    """One imported name: a path in the repository when it is relative, else a dotted module."""

    target: str
    relative: bool
    names: tuple[str, ...]
    at_import: bool


def room_of(path: str) -> str:
    """The most specific room that a module, given by its path without suffix, belongs to."""
    inside = [name for name in ROOMS if f"{path}/".startswith(f"{name}/")]
    return max(inside, key=len) if inside else f"{path}/__init__"


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, False, (), node not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            if not node.level:
                yield Import(node.module, False, names, node not in inside)
                continue
            base = path.parents[node.level - 1]
            modules = [base / node.module.replace(".", "/")] if node.module else [base / name for name in names]
            for module in modules:
                yield Import(module.relative_to(ROOT).as_posix(), True, names, node not in inside)


def files() -> list[Path]:
    """All modules of the pack."""
    return sorted([*(ROOT / "nada").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), *ROOT.glob("__init__.py")])


def home(path: Path) -> str:
    """The room of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return room_of("/".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts))


def upward(path: Path) -> list[str]:
    """Imports of a module from rooms that are not below its own, each as a sentence."""
    here = home(path)
    rooms = {room_of(found.target) for found in imports(path) if found.relative} - {here}
    return [
        f"{path.relative_to(ROOT)}: {here} must not import {there}"
        for there in sorted(rooms)
        if ROOMS[there].floor >= ROOMS[here].floor
    ]


def foreign(path: Path) -> list[str]:
    """Packages that a module must not use, each as a sentence."""
    here = home(path)
    allowed = sys.stdlib_module_names | ROOMS[here].packages | (HOST if path == ROOT / "nodes" / "host.py" else set())
    used = {found.target.split(".")[0] for found in imports(path) if not found.relative}
    return [
        f"{path.relative_to(ROOT)} must not use {package}" for package in sorted((used - allowed) | used & DANGEROUS)
    ]


def test_arrows_point_down():
    assert not [sentence for path in files() for sentence in upward(path)]


def test_packages():
    """`nada` is among the forbidden: inside the pack imports are relative, as ComfyUI does not put it on sys.path."""
    assert not [sentence for path in files() for sentence in foreign(path)]


def test_nothing_slow_at_import():
    for path in files():
        early = {found.target.split(".")[0] for found in imports(path) if found.at_import and not found.relative}
        assert not early & {"open_clip", "torchvision", "transformers", "huggingface_hub"}, path


def test_every_room_exists_and_the_ground_floor_stays_small():
    assert all((ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file() for name in ROOMS)
    assert len(list((ROOT / "nada").glob("*.py"))) <= 8


def test_nodes_use_public_names():
    for path in (ROOT / "nodes").rglob("*.py"):
        for found in imports(path):
            if found.relative and found.target == "nada":
                assert set(found.names) <= set(nada.__all__), f"{path.name} imports {found.names}"


@pytest.mark.parametrize(
    ("name", "source", "check"),
    [
        ("nada/losses/far.py", "from ..clip import load_clip", upward),
        ("nada/stylegan2/up.py", "from ..adapt import adapt", upward),
        ("nada/files.py", "from .cli import main", upward),
        ("nada/adapt.py", "from ..nodes import host", upward),
        ("nada/measure/sideways.py", "from ..text_edits import mapper", upward),
        ("nada/runs/host.py", "import comfy.utils", foreign),
        ("nada/runs/own.py", "import nada.clip", foreign),
        ("nada/checkpoint/bad.py", "def f():\n    import pickle", foreign),
        ("nodes/load.py", "import folder_paths", foreign),
    ],
)
def test_the_rules_catch_what_they_forbid(tmp_path, monkeypatch, name, source, check):
    """A rule that never fails checks nothing."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert check(path)
