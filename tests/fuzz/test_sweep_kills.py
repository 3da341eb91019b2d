"""A sweep that is killed a few times; `sweep_kills.py` kills a longer one ten times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_killed_sweep_ends_the_same_and_repeats_nothing():
    words = ["sweep_kills.py", "--tiny", "--kills", "3", "--targets", "2", "--seeds", "2", "--iterations", "6"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills of 4 jobs, 0 faults" in done.stdout
    assert "killed" in done.stdout
