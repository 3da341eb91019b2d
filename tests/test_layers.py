"""Who may import whom. Arrows point one way, imports inside the pack are relative, and only nodes/ knows ComfyUI."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import nada

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "nada").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"])

BASE = {"nada/errors", "nada/files"}
NETWORKS = {"nada/stylegan2", "nada/stylegan2/ops"}
TOP = {"nada/cli", "nada/arguments", "nada/training", "nada/commands", "nada/edit_cli", "nada/edit_commands"}
TOP |= {"nada/evaluate_command", "nada/__main__"}
MAY_IMPORT = {  # layer -> the layers it may import besides itself; the most specific entry counts
    "nada/errors": set(),
    "nada/files": {"nada/errors"},
    "nada/losses": set(),
    "nada/stylegan2/ops": set(),
    "nada/stylegan2": {"nada/stylegan2/ops", "nada/errors"},
    "nada/layer_freeze": {*NETWORKS, "nada/errors"},
    "nada/checkpoint": {*NETWORKS, *BASE},
    "nada": {*NETWORKS, *BASE, "nada/losses", "nada/layer_freeze", "nada/checkpoint"},
    "nada/commands": {"nada", *NETWORKS, *BASE, "nada/checkpoint"},
    "nada/edit_commands": {"nada", "nada/commands", *BASE, "nada/stylegan2", "nada/checkpoint"},
    "nada/evaluate_command": {"nada", "nada/arguments", "nada/commands", *NETWORKS, *BASE, "nada/checkpoint"},
    "nada/edit_cli": {"nada", "nada/arguments", "nada/commands", "nada/edit_commands"},
    "nada/training": {"nada", "nada/commands", *NETWORKS, *BASE, "nada/checkpoint"},
    "nada/arguments": {"nada"},
    "nada/cli": {"nada", *NETWORKS, *BASE, "nada/checkpoint", *TOP},
    "nada/__main__": {"nada/cli"},
    "nodes": {"nada", "nada/images"},
    "__init__": {"nodes"},
}
TORCH = {"torch"}
PACKAGES = {  # layer -> packages it may use besides the standard library
    "nada": {*TORCH, "numpy", "PIL", "open_clip", "safetensors", "huggingface_hub"},
    "nada/errors": set(),
    "nada/files": set(),
    "nada/losses": TORCH,
    "nada/stylegan2": TORCH,
    "nada/stylegan2/ops": {*TORCH, "triton"},
    "nada/layer_freeze": TORCH,
    "nada/checkpoint": {*TORCH, "numpy", "safetensors"},
    "nada/commands": {*TORCH, "tqdm"},
    "nada/edit_commands": {*TORCH, "tqdm"},
    "nada/edit_cli": set(),
    "nada/evaluate_command": TORCH,
    "nada/training": {*TORCH, "tqdm", "PIL"},
    "nada/arguments": set(),
    "nada/cli": {*TORCH, "tqdm"},
    "nada/__main__": set(),
    "nodes": {*TORCH, "numpy", "PIL", "comfy_api"},
    "__init__": set(),
}
HOST = {"comfy", "comfy_execution", "folder_paths", "server", "nodes", "execution"}  # ComfyUI, but for its node API
DANGEROUS = {"pickle", "_pickle", "dill", "marshal", "shelve", "subprocess", "ctypes"}


class Import(NamedTuple):
    """One imported name: a path in the repository when it is relative, else a dotted module."""

    target: str
    relative: bool
    names: tuple[str, ...]
    at_import: bool


def layer(path: str) -> str:
    """The most specific layer that a module belongs to."""
    return max((name for name in MAY_IMPORT if f"{path}/".startswith(f"{name}/")), key=len)


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


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def home(path: Path) -> str:
    """The layer of a file."""
    return layer(path.relative_to(ROOT).with_suffix("").as_posix())


@pytest.mark.parametrize("path", FILES, ids=label)
def test_arrows_point_one_way(path):
    here = home(path)
    for found in imports(path):
        if found.relative:
            there = layer(found.target)
            assert there == here or there in MAY_IMPORT[here], f"{here} must not import {there}"


@pytest.mark.parametrize("path", FILES, ids=label)
def test_packages(path):
    here = home(path)
    allowed = PACKAGES[here] | (HOST if path == ROOT / "nodes" / "host.py" else set())
    for found in imports(path):
        if not found.relative:
            package = found.target.split(".")[0]
            assert package != "nada", "inside the pack, import relatively: ComfyUI does not put it on sys.path"
            assert package not in DANGEROUS, f"{package} must not be used here"
            assert package in sys.stdlib_module_names | allowed, f"{here} must not use {package}"


@pytest.mark.parametrize("path", FILES, ids=label)
def test_nothing_slow_at_import(path):
    early = {found.target.split(".")[0] for found in imports(path) if found.at_import and not found.relative}
    assert not early & {"open_clip", "torchvision", "transformers", "huggingface_hub"}


def test_nodes_use_public_names():
    for path in (ROOT / "nodes").rglob("*.py"):
        for found in imports(path):
            if found.relative and found.target == "nada":
                assert set(found.names) <= set(nada.__all__), f"{path.name} imports {found.names}"


def test_the_rules_catch_what_they_forbid(tmp_path, monkeypatch):
    """A rule that never fails checks nothing."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for name, source in {
        "nada/losses/far.py": "from ..clip import load_clip",
        "nada/stylegan2/up.py": "from ..adapt import adapt",
        "nada/low.py": "from .cli import main",
        "nada/sideways.py": "from ..nodes import host",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        with pytest.raises(AssertionError, match="must not import"):
            test_arrows_point_one_way(path)
    for name, source in {
        "nada/host.py": "import comfy.utils",
        "nada/self.py": "import nada.clip",
        "nada/checkpoint/bad.py": "def f():\n    import pickle",
        "nodes/load.py": "import folder_paths",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        with pytest.raises(AssertionError):
            test_packages(path)
