"""Plain words: help that stands alone, docstrings that say what is done or returned, and none of the listed phrases.

Each rule yields the places that break it.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import functools
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.stub_comfyui import ROOT

import nada
from nada.cli.main import build_parser

FOLDERS = ("nada", "nodes", "web", "tools", "benchmarks", "docs", "tests")
GENERATED = {"docs/api.md", "docs/architecture.svg"}  # from texts that are checked where they stand
SOURCES = ("nada", "nodes", "tools", "benchmarks")  # whose docstrings are read; those of tests state what is tested
PROSE = {".py", ".md", ".js", ".html", ".toml", ".yml"}

# Help must stand alone: it does not continue the name of the option.
FRAGMENT = re.compile(
    r"(?:[Oo]f|[Tt]heir|[Ii]ts|[Ww]hose|[Tt]han|for|from|in|on|at|by|to|with|without|as|into|before|after|between"
    r"|about|and|or|but|that|which|those|them|it)\b"
)
NO_BEGINNING = re.compile(
    r"(?:about|after|and|as|at|because|before|between|both|but|by|for|from|getting|going|he|how|if|in|into|its?|of|on|or"
    r"|raises|some|than|that|their|them|these|they|those|to|what|whatever|when|where|whether|which|while|who|whoever"
    r"|whose|why|with|without)\b(?!-)",
    re.I,
)
GAP = r"""(?:\s|["#*]|(?<=\s)f(?="))+"""  # between two words of a phrase: also the seam of two lines or two literals
PHRASES = (
    "shall",
    "(?:go|goes|going|gone|went) on",
    "but for",
    "anew",
    "so many",
    r"what (?:[\w'-]+ ){1,6}came to",
    "(?:come|comes|coming|came) to (?:the same|its end|rest)",
    "makes? of",
    "becomes? of",
    "seldom",
    "for want of",
    "(?:not|cannot|can|could|will|would|may|might|it|that|which) bears?",
)
QUOTES = ('"', "'", "`")  # around a phrase that is spoken of, not used
LISTED = re.compile(rf"\b(?:{'|'.join(PHRASES).replace(' ', GAP)})\b", re.I)
OF = re.compile(r"(?:#|//) ?of\b")  # a comment that continues the line before it
# An iteration of a training that is called a step, which is one of an optimizer or of a list of things to do.
STEP = re.compile(
    r"\b(?:training|each|every|next|per|after|single|current|earlier|images an?|\d+(?:th)?|whole|ordinary) steps?\b"
    r"(?! size)|\bsteps? (?:done|left|between|of (?:the|a) training|of training|per second)\b|\bnumber of steps\b"
    r"|\bstep \{",
    re.I,
)
SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Attributes):$")
ENTRY = re.compile(r"^\**(\w+(?:, \**\w+)*):")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def files(folders: tuple[str, ...], root: Path) -> Iterator[Path]:
    """Yield the files in folders and beside them, except generated ones, other languages and this module."""
    for path in [*root.iterdir(), *(path for folder in folders for path in (root / folder).rglob("*"))]:
        foreign = "zh" in path.parts or path.stem == "zh" or path.relative_to(root).as_posix() in GENERATED
        if path.suffix in PROSE and not foreign and path != Path(__file__):
            yield path


@functools.lru_cache
def nodes(root: Path) -> list[tuple[str, ast.AST]]:
    """Return the modules, classes, functions and calls of the sources, each with the path of its file."""
    paths = [(path.relative_to(root).as_posix(), path) for path in files(SOURCES, root) if path.suffix == ".py"]
    walks = ((place, ast.walk(ast.parse(path.read_text("utf-8")))) for place, path in paths)
    kept = (ast.Module, ast.ClassDef, Function, ast.Call)
    return [(place, node) for place, walk in walks for node in walk if isinstance(node, kept)]


def helps(root: Path = ROOT) -> Iterator[str]:
    """Yield help texts, settings and tooltips that are fragments, and options without help."""
    for place, text in [*help_of_verbs(build_parser()), *help_in_code(root), *tooltips()]:
        if not text or FRAGMENT.match(text):
            yield f"{place}: {text or 'no help'}"


def help_of_verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield f"nada {choice.dest}", choice.help or ""
            for verb in action.choices.values():
                yield from help_of_verbs(verb)
        elif action.help != argparse.SUPPRESS:
            yield f"{parser.prog} {(action.option_strings or [action.dest])[-1]}", action.help or ""


def help_in_code(root: Path) -> Iterator[tuple[str, str]]:
    """Yield `help=`, `description=` and `tooltip=` of calls, and the text of each `Setting`."""
    for place, call in nodes(root):
        if isinstance(call, ast.Call):
            texts = [word.value for word in call.keywords if word.arg in ("help", "description", "tooltip")]
            if isinstance(call.func, ast.Name) and call.func.id == "Setting":
                texts += call.args[:1]
            for text in texts:
                first = text.values[0] if isinstance(text, ast.JoinedStr) else text
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield place, first.value


def tooltips() -> Iterator[tuple[str, str]]:
    """Yield what the nodes show, with the place of each: texts that another test compares with the schemas."""

    def walk(place: str, value: Any) -> Iterator[tuple[str, str]]:
        for key, part in value.items():
            if isinstance(part, dict):
                yield from walk(f"{place}.{key}", part)
            elif key in ("tooltip", "description"):
                yield f"{place}.{key}", part

    yield from walk("nodes", json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text("utf-8")))


def phrases(root: Path = ROOT) -> Iterator[str]:
    """Yield the lines with a listed phrase, in code, comments, texts and pages alike."""
    for path in files(FOLDERS, root):
        text = path.read_text("utf-8")
        for found in [*LISTED.finditer(text), *OF.finditer(text)]:
            mentioned = text[found.start() - 1] in QUOTES and text[found.end() : found.end() + 1] in QUOTES
            if not mentioned:
                start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
                line = " ".join(text[start : end if end >= 0 else None].split())
                yield f"{path.relative_to(root).as_posix()}: {line[:150]}"


def steps(root: Path = ROOT) -> Iterator[str]:
    """Yield texts for users that call an iteration a step: help, nodes, their pages and scripts, and documentation."""
    for place, text in [*help_of_verbs(build_parser()), *help_in_code(root), *tooltips()]:
        if STEP.search(text) and not place.startswith(("tools/", "benchmarks/")):  # some have an option --steps
            yield f"{place}: {text}"
    for path in files(("nodes", "web", "docs"), root):
        for line in path.read_text("utf-8").splitlines():
            found = STEP.search(line)
            if found and not (line[found.start() - 1] in QUOTES and line[found.end() : found.end() + 1] in QUOTES):
                yield f"{path.relative_to(root).as_posix()}: {line.strip()[:150]}"


def beginnings(root: Path = ROOT) -> Iterator[str]:
    """Yield docstrings that begin with neither a verb nor a noun phrase, and what is public in nada/ and has none."""
    for place, node in documented(root):
        text = ast.get_docstring(node) or "" if not isinstance(node, ast.Expr) else str(node.value.value)
        first = NO_BEGINNING.match(text.strip())
        returned = ast.unparse(node.returns) if isinstance(node, Function) and node.returns else ""
        fact = isinstance(node, ast.Expr) or re.search("bool|Tensor", returned)  # what "Whether" may describe
        if first and not (first[0] == "Whether" and fact):
            yield f"{place}: {text.strip().splitlines()[0]}"
        if isinstance(node, ast.Module) and place.startswith("nada/"):
            members = [part for part in node.body if isinstance(part, ast.ClassDef | Function)]
            silent = [part for part in members if not part.name.startswith("_") and not ast.get_docstring(part)]
            yield from (f"{place} {part.name}: no docstring" for part in silent)


def documented(root: Path) -> Iterator[tuple[str, Any]]:
    """Yield modules, classes, functions and the texts below fields, each with its place."""
    for where, node in nodes(root):
        if isinstance(node, ast.Module):
            yield where, node
        elif not isinstance(node, ast.Call):
            yield f"{where} {node.name}", node
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    yield f"{where} {node.name}.{ast.unparse(field.target)}", text


def arguments(root: Path = ROOT) -> Iterator[str]:
    """Yield functions and classes whose Args are not their parameters, or not all of them."""
    for place, node in documented(root):
        if not isinstance(node, ast.ClassDef | Function):
            continue
        listed = sections(ast.get_docstring(node) or "").get("Args")
        if listed is not None and listed != (expected := parameters(node)):
            yield f"{place}: {', '.join(sorted(set(listed) ^ set(expected))) or 'order'}"


def errors(root: Path = ROOT) -> Iterator[str]:
    """Yield public functions of the library with a long docstring that raise an error of ours without naming it, and
    names under Raises that are no errors."""
    ours = {kind.__name__: {base.__name__ for base in kind.__mro__} for kind in kinds(nada.NadaError)}
    for place, node in documented(root):
        if isinstance(node, Function) and "\n" in (text := ast.get_docstring(node) or ""):
            listed = {*sections(text).get("Raises", [])}
            wrong = {name for name in listed if name not in ours and not hasattr(builtins, name)}
            if place.startswith("nada/") and not node.name.startswith("_"):
                wrong |= {name for name in raised_by(node) if name in ours and not listed & ours[name]}
            if wrong:
                yield f"{place}: {', '.join(sorted(wrong))}"


def kinds(error: type[Exception]) -> set[type[Exception]]:
    """Return an error and all kinds of it."""
    return {error}.union(*map(kinds, error.__subclasses__()))


def raised_by(function: ast.AST) -> set[str]:
    """Return the names of the errors that a function itself raises, outside of any `try`."""
    names = set()
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            names.add(node.exc.func.id)
        elif not isinstance(node, ast.Try | Function | ast.Lambda | ast.ClassDef):
            names |= raised_by(node)
    return names


def interface() -> Iterator[str]:
    """Yield functions of `nada.__all__` that leave a parameter, or what they return, unexplained."""
    for name in nada.__all__:
        function = getattr(nada, name)
        if not inspect.isfunction(function):
            continue
        text, signature = inspect.getdoc(function) or "", inspect.signature(function)
        parts = sections(text)
        missing = [*signature.parameters] if "Args" not in parts else []
        silent = signature.return_annotation not in (None, "None") and not {"Returns", "Yields"} & parts.keys()
        if silent and not text.startswith(("Return ", "Yield ", "Whether ")):
            missing.append("Returns")
        if missing:
            yield f"nada.{name}: {', '.join(missing)}"


def parameters(node: Function | ast.ClassDef) -> list[str]:
    """Return the names that a caller may give, without `self` and `cls`: of a dataclass, those of its fields."""
    if isinstance(node, ast.ClassDef):
        inits = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if not inits:
            return [part.target.id for part in node.body if isinstance(part, ast.AnnAssign)]
        node = inits[0]
    a = node.args
    all_of_them = [*a.posonlyargs, *a.args, *filter(None, [a.vararg]), *a.kwonlyargs, *filter(None, [a.kwarg])]
    return [arg.arg for arg in all_of_them if arg.arg not in ("self", "cls")]


def sections(docstring: str) -> dict[str, list[str]]:
    """Return the names that each section (Args, Returns, Yields, Raises) of a docstring lists."""
    found: dict[str, list[str]] = {}
    section = None
    for line in docstring.splitlines():
        if header := SECTION.match(line):
            section = found.setdefault(header[1], [])
        elif line and not line.startswith(" "):
            section = None
        elif section is not None and re.match(r" {4}\S", line) and (entry := ENTRY.match(line.strip())):
            section += entry[1].replace("*", "").split(", ")
    return found


RULES = (helps, phrases, steps, beginnings, arguments, errors, interface)


@pytest.fixture(scope="module", autouse=True)
def forgotten_sources():
    """Free the memory of all syntax trees after these tests."""
    yield
    nodes.cache_clear()


@pytest.mark.parametrize("rule", RULES)
def test_words(rule):
    assert not (found := [*rule()]), "\n".join(["These places break the rule:", *found])


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (helps, "parser.add_argument('--seed', help='of the first image')"),
        (helps, "seed: Annotated[int, Setting('Of all random draws.')] = 0"),
        (phrases, "x = 1  # of the run"),
        (phrases, "# with one text, it goes\n# on"),
        (phrases, 'raise UsageError("w has not so "\n    "many dimensions")'),
        (steps, "parser.add_argument('--iterations', help='number of training steps')"),
        (steps, "batch: Annotated[int, Setting('Number of images per step.')] = 2"),
        (beginnings, '"""What is left."""'),
        (beginnings, 'def f() -> int:\n    """Whether it is one."""'),
        (beginnings, 'class A:\n    x: int\n    """Of a run."""'),
        (beginnings, "def f(): ..."),
        (arguments, 'def f(a, b):\n    """Return a.\n\n    Args:\n        a: a number.\n    """'),
        (arguments, 'class A:\n    """A pair.\n\n    Args:\n        a: one.\n    """\n    def __init__(self, b): ...'),
        (errors, 'def f(a):\n    """Return a.\n\n    Or not.\n    """\n    raise UsageError("a")'),
        (errors, 'def f(a):\n    """Return a.\n\n    Raises:\n        WrongError: never.\n    """'),
    ],
)
def test_the_rules_catch_what_they_forbid(tmp_path, rule, source):
    """A rule that never fails checks nothing."""
    (tmp_path / "nada").mkdir()
    (tmp_path / "nada" / "module.py").write_text(source)
    assert any(place.startswith("nada/module.py") for place in rule(tmp_path))
