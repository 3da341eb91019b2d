"""Collect the lines that nodes show while they run, from the source, as templates for translators.

A template has numbered gaps for values, such as "continues after iteration {0}". web/status/LANGUAGE.json translates
each, and web/language.js does so to the lines that arrive in the editor. Sentences of errors are no such lines.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[1]
STATUS = ROOT / "web" / "status"
SEPARATOR = " | "  # between the parts of a line, each of which is translated alone
WORD = re.compile(r"[A-Za-z]{2}")
SCHEMA = {"define_schema", "validate_inputs", "fingerprint_inputs"}  # methods of nodes that say nothing on a node
LIBRARY = {  # functions of the library that return sentences for nodes, beside those that append to `notes`
    "checkpoint/tensorflow.py": {"_choose", "_contradictions"},
    "clip/alphabet.py": {"unreadable_remark"},
    "latents/files.py": {"latents_remark"},
    "pictures/fonts.py": {"_remark"},
    "published/download.py": {"_note"},
    "runs/durations.py": {"duration"},
    "runs/out_of_memory.py": {"sparing"},
    "styles/style.py": {"_record"},
    "training/config.py": {"recommendation_remark"},
}
UNSEEN = {"nodes/downloads.py", "nada/checkpoint/exporting.py"}  # entries of combos; notes of the command line
NO_LINES = {"NADA Adapt Many", "another process trains it"}  # title of a page, and reason in an error


def templates() -> set[str]:
    """The templates of all parts of lines."""
    found = set()
    for folder in ("nodes", "nada"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in UNSEEN:
                tree = ast.parse(path.read_text("utf-8"))
                found |= {part for text in _texts(name, tree) for part in _parts(text)}
    return found - NO_LINES


def read(language: str) -> dict[str, str]:
    """Translations of the templates into a language: {template: translation}."""
    return json.loads((STATUS / f"{language}.json").read_text("utf-8"))


def _texts(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a file that can be lines, with "{}" for values."""
    if name.startswith("nodes/"):
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                yield from _literals(node)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in LIBRARY.get(name.removeprefix("nada/"), ()):
            yield from _literals(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("notes.append"):
            yield from _literals(node.args[0])


def _literals(node: ast.AST) -> Iterator[str]:
    """Yield string literals, except docstrings, texts of schemas, errors and entries of the log."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.FunctionDef) and node.name in SCHEMA:
        return
    if isinstance(node, ast.Call) and re.search(r"^log\.|\.(Input|Output|Schema)$", ast.unparse(node.func)):
        return
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _literals(child)


def _parts(text: str) -> Iterator[str]:
    """Split a text into templates, and leave out single words, which are names, and parts without a word."""
    for part in map(str.strip, f" {text} ".split(SEPARATOR)):
        if " " in part and WORD.search(part):
            number = count()
            yield re.sub(r"\{\}", lambda _, number=number: f"{{{next(number)}}}", part)
