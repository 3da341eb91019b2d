"""A few kills of verbs and nodes that write, and a check that faults are detected; `kills.py` makes many kills."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork"),
]


def python(*arguments: str) -> tuple[int, str]:
    """Run Python in a separate process, as a process that forks must not have used threads before."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=FOLDER)
    return done.returncode, done.stdout + done.stderr


def test_killed_work_leaves_nothing_half_and_can_be_completed():
    ways = "adapt", "adapt --overwrite", "mapper", "node adapts, store full"
    code, printed = python("kills.py", "--count", "8", "--seed", "5", "--ways", *ways)
    assert code == 0, printed
    assert "4 + 4 kills, 0 with faults" in printed


DIRECT = """
@contextlib.contextmanager
def direct(path, new=False):
    yield Path(path)
nada.checkpoint.exporting.atomic_path = direct
"""


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("nada.files.sweep = lambda *_: None", "is left behind"),
        (DIRECT, "result.pt is not whole"),
    ],
)
def test_kills_show_what_must_not_happen(damage, fault):
    start = "import contextlib, kills, nada.checkpoint.exporting, nada.files, torch\nfrom pathlib import Path\n"
    run = "\ntorch.set_num_threads(1)\nkills.kills(6, ways=['convert --overwrite'])"
    code, printed = python("-c", start + damage + run)
    assert code == 0, printed
    assert fault in printed
