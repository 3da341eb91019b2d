"""Every path named on the pages for contributors exists."""

from __future__ import annotations

import re

import pytest
from helpers.stub_comfyui import ROOT

PATH = re.compile(r"`((?:nada|nodes|tests|tools|docs|locales|web|benchmarks|workflows|\.ci)/[\w./-]*)`")
PLACEHOLDER = re.compile(r"\b(NODE|CODE)\b")  # to be replaced by the reader


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_paths_exist(page):
    named = PATH.findall((ROOT / page).read_text("utf-8"))
    assert len(named) > 10
    assert not [path for path in named if not PLACEHOLDER.search(path) and not (ROOT / path).exists()]


def test_the_house_rules_are_ten():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rules = text.partition("## House rules")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d+)\. ", rules, re.MULTILINE) == [str(i) for i in range(1, 11)]
