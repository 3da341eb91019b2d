"""Measure how many small faults the tests notice: `python tools/mutation.py --count 100 --seed 0`.

A mutant is the library with one small fault: another operator, constant or comparison, a condition turned around, a
statement left out. A random sample of them is made in a temporary copy of the checkout, one at a time. One run of the
tests of the rooms in question notes which tests execute which lines; on each mutant run those tests that execute its
lines (or its file, where only the import executes them), the fastest first. A mutant that none of them fails on has
survived, and is listed as a diff: it is a gap in the tests, or no fault at all (another value that does the same). Code
that only runs in processes that tests start counts as not tested.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PLACES = ["nada/losses", "nada/layer_freeze.py", "nada/training", "nada/runs", "nada/styles"]
TESTS = [  # the fastest first
    *("tests/losses", "tests/test_layer_freeze.py", "tests/styles", "tests/training", "tests/test_adapt.py"),
    *("tests/runs", "tests/nodes", "tests/cli"),
]
PATIENCE = 10  # multiple of the library's own processor time after which a mutant is taken to run endlessly
LEAST_SECONDS = 120  # smallest limit in processor time, which includes the start of Python and the collection of tests
KILLED, SURVIVED = 1, 0  # exit codes of pytest: a test failed, none failed
LARGE = ("torch", "open_clip", "numpy", "PIL.Image", "safetensors", "pytest")
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
BRANCHES = {ast.And: ast.Or, ast.Or: ast.And}


class Mutant(NamedTuple):
    """A file of the library with one small fault."""

    path: Path
    """Path relative to the repository."""
    lines: range
    """Lines of the original file that the fault replaces, counted from 1."""
    source: str
    """Text of the whole file."""

    def __str__(self) -> str:
        return f"{self.path}:{self.lines[0]}"


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield all mutants of a file."""
    source = (ROOT / path).read_text("utf-8")
    for node in code_nodes(ast.parse(source)):
        for place, text in faults(node):
            yield Mutant(path, range(place.lineno, place.end_lineno + 1), replaced(source, place, text))


def code_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the syntax nodes that affect behavior, without annotations and messages of errors."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from () if isinstance(child, ast.Raise) else code_nodes(child)


def faults(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield possible faults of a node: the node to replace, and the text to replace it with."""
    if isinstance(node, ast.BinOp) and (other := OPERATORS.get(type(node.op))):
        yield node, unparsed(ast.BinOp(node.left, other(), node.right))
    elif isinstance(node, ast.AugAssign) and (other := OPERATORS.get(type(node.op))):
        yield node, ast.unparse(ast.AugAssign(node.target, other(), node.value))
    elif isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            ops = [*node.ops[:i], COMPARISONS[type(operator)](), *node.ops[i + 1 :]]
            yield node, unparsed(ast.Compare(node.left, ops, node.comparators))
    elif isinstance(node, ast.BoolOp):
        yield node, unparsed(ast.BoolOp(BRANCHES[type(node.op)](), node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node, unparsed(node.operand)
    elif isinstance(node, ast.Constant):
        yield from ((node, text) for text in constants(node.value))
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield node.test, unparsed(ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield node, "return None"
    if left_out(node):
        yield node, "pass"


def constants(value: object) -> Iterator[str]:
    """Yield other values close to a constant, except for texts."""
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int):
        yield repr(value + 1)
    elif isinstance(value, float):
        yield repr(2 * value if value else 1.0)


def left_out(node: ast.AST) -> bool:
    """Whether a statement can be removed from running code: a call, a raise, an assignment to a part."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break)


def unparsed(node: ast.expr) -> str:
    """Source of an expression in parentheses, so that it fits in the place of any other."""
    return f"({ast.unparse(node)})"


def replaced(source: str, node: ast.AST, text: str) -> str:
    """Replace a node's source by another text. Columns of syntax trees count bytes."""
    lines = source.encode().splitlines(keepends=True)
    begin = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    data = source.encode()
    return (data[:begin] + text.encode() + data[end:]).decode()


def sample(count: int, seed: int, only: list[str]) -> list[Mutant]:
    """Draw random mutants of the files below `only`; the same count and seed give the same mutants."""
    files = sorted({path for place in only for path in python_files(place)})
    everything = [mutant for path in files for mutant in mutants(path)]
    return random.Random(seed).sample(everything, min(count, len(everything)))


def python_files(place: str) -> list[Path]:
    path = ROOT / place
    return [p.relative_to(ROOT) for p in (path.rglob("*.py") if path.is_dir() else [path])]


class Coverage:
    """The tests that execute a line, and the seconds of each test."""

    def __init__(self, data: Path, report: Path, folder: Path):
        """Read the results of pytest in `folder`: coverage with a context per test, and a report in JUnit's format."""
        from coverage import CoverageData

        self.data, self.folder = CoverageData(data), folder
        self.data.read()
        cases = ElementTree.parse(report).iter("testcase")
        self.seconds = {(case.get("classname"), case.get("name")): float(case.get("time")) for case in cases}

    @property
    def total(self) -> float:
        """Seconds of all tests together."""
        return sum(self.seconds.values())

    def tests(self, mutant: Mutant) -> list[str]:
        """Ids of the tests that execute a line of a mutant, the fastest first.

        If only the import executes those lines, ids of the tests that execute any line of the file.
        """
        lines = self.data.contexts_by_lineno(str(self.folder / mutant.path))
        found = {line: {context.rpartition("|")[0] for context in contexts} - {""} for line, contexts in lines.items()}
        own = set().union(*(found.get(line, ()) for line in mutant.lines))
        return sorted(own or set().union(*found.values()), key=lambda test: (self.time(test), test))

    def time(self, test: str) -> float:
        """Seconds of a test."""
        path, *classes, name = test.split("::")
        return self.seconds.get((".".join([*Path(path).with_suffix("").parts, *classes]), name), 0.0)


class Copy:
    """A temporary copy of the checkout, in which files are damaged."""

    def __init__(self, folder: Path):
        self.folder = folder
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)

    def test(self, arguments: list[str], limit: float | None = None) -> int:
        """Run pytest and return its exit code, which is negative after more than `limit` seconds of processor time.

        It runs in a fork of this process, which has imported the large libraries, but not the pack; this saves most of
        the time of a test.
        """
        for name in LARGE:
            importlib.import_module(name)
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            status = 1
            os.chdir(self.folder)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")  # for processes that tests start
            sys.dont_write_bytecode = True
            sys.modules["torch"].set_num_threads(1)
            if limit:
                limit_time(limit)
            status = int(sys.modules["pytest"].main(["-q", "-p", "no:cacheprovider", *arguments]))
        finally:
            os._exit(status)

    def cover(self) -> Coverage:
        """Run the tests on the original library, on which they must pass, and return their coverage.

        Raises:
            SystemExit: they fail.
        """
        report = self.folder / "report.xml"
        contexts = ["--cov=nada", "--cov-context=test", "--cov-report=", f"--junitxml={report}"]
        if self.test([*contexts, *TESTS]) != SURVIVED:
            sys.exit(f"the tests fail without a fault too: python -m pytest {' '.join(TESTS)}")
        return Coverage(self.folder / ".coverage", report, self.folder)

    def survives(self, mutant: Mutant, coverage: Coverage) -> bool:
        """Whether all tests that execute a mutant's lines pass on it."""
        target, tests = self.folder / mutant.path, coverage.tests(mutant)
        limit = LEAST_SECONDS + PATIENCE * (sum(map(coverage.time, tests)) or coverage.total)
        honest = target.read_text("utf-8")
        target.write_text(mutant.source, "utf-8")
        (self.folder / "chosen.txt").write_text("\n".join(tests or TESTS), "utf-8")
        try:
            return self.test(["-x", "@chosen.txt"], limit) == SURVIVED
        finally:
            target.write_text(honest, "utf-8")


def limit_time(seconds: float) -> None:
    """End this process after this much processor time."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))


def difference(mutant: Mutant) -> str:
    """The fault as the lines of a diff."""
    lines = difflib.unified_diff((ROOT / mutant.path).read_text("utf-8").split("\n"), mutant.source.split("\n"), n=0)
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="number of mutants (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", default=PLACES, metavar="PATH", help="folders and files to damage (default: %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="show the sample and run nothing")
    args = parser.parse_args()
    chosen = sample(args.count, args.seed, args.only)
    if args.list:
        print("\n".join(f"{mutant}\n{difference(mutant)}" for mutant in chosen))
        return
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder).resolve())
        coverage = copy.cover()
        for i, mutant in enumerate(chosen, 1):
            survived = copy.survives(mutant, coverage)
            survivors += [mutant] if survived else []
            print(f"{i}/{len(chosen)} {'SURVIVED' if survived else 'killed'} {mutant}", flush=True)
    for mutant in survivors:
        print(f"\n{mutant}\n{difference(mutant)}")
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mutants killed (seed {args.seed})")


if __name__ == "__main__":
    main()
