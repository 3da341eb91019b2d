"""Import scripts that are not part of the package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """Make the scripts of folders importable by their bare names, even if scripts of other folders have the same."""
    names = {path.stem for folder in folders for path in folder.glob("*.py")}
    others = _unload(names)
    paths = [str(folder) for folder in folders]
    sys.path[:0] = paths
    try:
        yield
    finally:
        for path in paths:
            sys.path.remove(path)
        _unload(names)
        sys.modules.update(others)


def _unload(names: set[str]) -> dict[str, object]:
    """Remove modules from `sys.modules`, and return them by name."""
    found = {name: module for name, module in sys.modules.items() if name.split(".")[0] in names}
    for name in found:
        del sys.modules[name]
    return found
