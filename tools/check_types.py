"""Check the types of nada/ and nodes/ with mypy, by the rules in pyproject.toml.

    python tools/check_types.py

Imports inside the pack are relative, because ComfyUI imports the checkout as one package. mypy follows them only where
the checkout's folder has a name that Python allows, so the modules are copied into a package with such a name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Print the findings; returns 0 if there are none, else 1."""
    found = findings(ROOT)
    print(*(line for _, line in found), f"types: {len(found)} errors", sep="\n")
    return 1 if found else 0


def findings(root: Path) -> list[tuple[str, str]]:
    """mypy's errors in the pack at `root`, as pairs of a path relative to it and the line that reports the error.

    Raises:
        RuntimeError: mypy could not check the pack; the message is mypy's.
    """
    cache = root / ".mypy_cache"
    pack = copy_modules(root, cache / "checkout" / "pack")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    done = subprocess.run([*command, "-p", pack.name], cwd=pack.parent, capture_output=True, text=True)
    lines = [line.removeprefix("pack")[1:] for line in done.stdout.splitlines() if ": error: " in line]
    if bool(lines) != bool(done.returncode):
        raise RuntimeError(f"mypy could not check the types: {done.stdout}{done.stderr}")
    return [(line.partition(":")[0].replace("\\", "/"), line) for line in lines]


def copy_modules(root: Path, pack: Path) -> Path:
    """Copy the modules of the pack to the folder `pack`, keeping modification times, on which mypy's cache relies."""
    shutil.rmtree(pack, ignore_errors=True)
    for path in [root / "__init__.py", *(root / "nada").rglob("*.py"), *(root / "nodes").rglob("*.py")]:
        copy = pack / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return pack


if __name__ == "__main__":
    sys.exit(main())
