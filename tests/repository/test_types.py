"""The type check itself; `python tools/check_types.py` shows its findings."""

from __future__ import annotations

import pytest

from tools import check_types


@pytest.mark.parametrize(
    ("use", "complaint"),
    [
        ("half(1)", None),
        ("half('one')", "incompatible type"),
        ("double(1)", "has no attribute"),
    ],
)
def test_nodes_are_checked_against_the_library(tmp_path, use, complaint):
    """Relative imports out of nodes/ are followed: otherwise their names would count as Any."""
    pytest.importorskip("mypy")
    name = use.partition("(")[0]
    for path, text in {
        "__init__.py": "",
        "nada/__init__.py": "def half(number: int) -> float:\n    return number / 2\n",
        "nodes/__init__.py": f"from ..nada import {name}\n\nprint({use})\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    found = check_types.findings(tmp_path)
    assert [path for path, _ in found] == (["nodes/__init__.py"] if complaint else [])
    assert all(complaint in line for _, line in found)
