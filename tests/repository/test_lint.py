"""Rules that keep the code readable and the registry's scanner quiet; each lists all places that break it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {"system", "popen", "Popen", "environ", "getenv"}
FORBIDDEN_MODULES = {"pickle", "subprocess", "marshal", "ctypes"}
SIGNALS = {"StopIteration", "KeyboardInterrupt", "error"}  # raised by name, without a message
LONGEST_MODULE, LONGEST_FUNCTION = 400, 80  # lines


def shipped() -> list[Path]:
    return [*(ROOT / "nada").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def parsed_only_here():
    """Forget the syntax trees after these tests."""
    yield
    parsed.cache_clear()


def nodes(paths: list[Path]) -> Iterator[tuple[str, ast.AST]]:
    """Every syntax node of the files, with its place if it has one."""
    for path in paths:
        for node in ast.walk(parsed(path)):
            yield f"{path.name}:{getattr(node, 'lineno', 0)}", node


def code_of_others(paths: list[Path]) -> list[str]:
    """Ways to execute code that is not in the repository."""
    found = []
    for place, node in nodes(paths):
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            found.append(f"{place} .{node.attr}")
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_CALLS:
            found.append(f"{place} {node.id}")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            found += [f"{place} {name}" for name in names & FORBIDDEN_MODULES]
    return found


def large(paths: list[Path]) -> list[str]:
    """Modules and functions that are too long to be read at once."""
    found = [path.name for path in paths if path.read_text(encoding="utf-8").count("\n") > LONGEST_MODULE]
    functions = ((place, node) for place, node in nodes(paths) if isinstance(node, ast.FunctionDef))
    return found + [f"{place} {f.name}" for place, f in functions if f.end_lineno - f.lineno >= LONGEST_FUNCTION]


def silent(paths: list[Path]) -> list[str]:
    """Errors raised without a message, and handlers that catch everything."""
    found = []
    for place, node in nodes(paths):
        raised = node.exc if isinstance(node, ast.Raise) else None
        named = isinstance(raised, ast.Name) and raised.id not in SIGNALS
        empty = isinstance(raised, ast.Call) and not raised.args and not raised.keywords
        if named or empty or (isinstance(node, ast.ExceptHandler) and node.type is None):
            found.append(place)
    return found


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff(command):
    pytest.importorskip("ruff")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", [code_of_others, large, silent])
def test_shipped_code_keeps_the_rules(rule):
    assert rule(shipped()) == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (code_of_others, "eval('1')"),
        (code_of_others, "import pickle"),
        (code_of_others, "from subprocess import run"),
        (code_of_others, "os.environ['A']"),
        (large, "x = 1\n" * (LONGEST_MODULE + 1)),
        (large, "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION),
        (silent, "raise ValueError"),
        (silent, "raise ValueError()"),
        (silent, "try:\n    f()\nexcept:\n    pass"),
    ],
)
def test_the_rules_catch_what_they_forbid(tmp_path, rule, source):
    """A rule that never fails checks nothing."""
    (tmp_path / "module.py").write_text(source)
    assert rule([tmp_path / "module.py"])
