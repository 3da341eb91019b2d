"""The type check itself; `python tools/check_types.py` shows its findings."""

from __future__ import annotations

import pytest

from tools import check_types

USES = {  # a module of nodes/ -> what it computes, and the complaint about it
    "right": ("half(1)", None),
    "wrong": ("half('one')", "incompatible type"),
    "unknown": ("double(1)", "has no attribute"),
}


@pytest.mark.slow
def test_nodes_are_checked_against_the_library(tmp_path):
    """Relative imports out of nodes/ are followed: otherwise their names would count as Any."""
    pytest.importorskip("mypy")
    texts = {
        "__init__.py": "",
        "nodes/__init__.py": "",
        "nada/__init__.py": "def half(number: int) -> float:\n    return number / 2\n",
    }
    for module, (use, _) in USES.items():
        texts[f"nodes/{module}.py"] = f"from ..nada import {use.partition('(')[0]}\n\nprint({use})\n"
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    found = dict(check_types.findings(tmp_path))
    assert found.keys() == {f"nodes/{module}.py" for module, (_, complaint) in USES.items() if complaint}
    assert all(USES[module][1] in found[f"nodes/{module}.py"] for module in ("wrong", "unknown"))
