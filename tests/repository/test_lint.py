"""The habits that keep the code readable and the registry's scanner calm."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*(ROOT / "nada").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"])
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {"system", "popen", "Popen", "environ", "getenv"}


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff(command):
    pytest.importorskip("ruff")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_shipped_code_runs_no_code_of_others(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in FORBIDDEN_ATTRIBUTES, f"line {node.lineno}: .{node.attr}"
        elif isinstance(node, ast.Name):
            assert node.id not in FORBIDDEN_CALLS, f"line {node.lineno}: {node.id}"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] + [getattr(node, "module", None)]
            assert not {"pickle", "subprocess", "marshal", "ctypes"} & set(names), f"line {node.lineno}: {names}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_modules_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, node.name


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_error_has_a_message(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            silent = isinstance(node.exc, ast.Name) and node.exc.id not in (
                "StopIteration",
                "KeyboardInterrupt",
                "error",
            )
            empty = isinstance(node.exc, ast.Call) and not node.exc.args and not node.exc.keywords
            assert not silent, f"line {node.lineno} raises without a sentence"
            assert not empty, f"line {node.lineno} raises without a sentence"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno} catches everything"
