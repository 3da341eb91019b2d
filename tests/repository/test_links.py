"""The documentation leads somewhere: every link has its file and its heading, and the index names every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers.stub_comfyui import ROOT

DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PARTS = ("Install", "First run", "Results", "What it needs", "Nodes and templates", "Command line", "Library", "Files")
LONGEST = 200  # lines of the README


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(FENCED.sub("", path.read_text("utf-8"))):
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {f"{anchor}-{i}" if i else anchor for anchor, count in found.items() for i in range(count + 1)}


def broken(path: Path) -> Iterator[str]:
    """Yield the links of a page that lead to no file or heading of this repository. Other sites are not followed."""
    for link in LINK.findall(FENCED.sub("", path.read_text("utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / unquote(name) if name else path
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert not [*broken(page)]


def test_a_link_that_leads_nowhere_is_noticed(tmp_path):
    (tmp_path / "other.md").write_text("# One: two, three?\n\n## Again\n\n## Again\n\n```sh\n# no heading\n```\n")
    good = "[a](other.md) [b](other.md#one-two-three) [c](#here) [d](https://example.org) [e](other.md#again-1)"
    bad = ["gone.md", "other.md#two", "other.md#no-heading", "other.md#again-2", "#there"]
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n{good}\n" + "".join(f"[x]({link})\n" for link in bad))
    assert [*broken(page)] == bad


def test_the_index_names_every_page():
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(INDEX.read_text("utf-8"))}
    assert not [page.name for page in DOCS.rglob("*.md") if page != INDEX and page.resolve() not in linked]


def test_the_readme_is_short_and_in_its_order():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST
    headings = [heading for heading in HEADING.findall(FENCED.sub("", text)) if heading in PARTS]
    assert headings == [*PARTS]
