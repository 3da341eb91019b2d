"""Help pages have pictures, and quote only texts that the code contains."""

from __future__ import annotations

import ast
import asyncio
import re

from helpers.stub_comfyui import ROOT
from PIL import Image

DOCS = ROOT / "web" / "docs"
IMAGES = DOCS / "images"
PAGES = sorted(DOCS.rglob("*.md"))
PICTURE = re.compile(r"!\[(.+?)\]\((.+?)\)", re.DOTALL)
MAX_BYTES, WIDEST = 80_000, 1200
TROUBLE = ROOT / "docs" / "troubleshooting.md"
QUOTE = re.compile(r'"([^"]+)"')
OF_OTHERS = ("No module named", "operator torchvision", "Inference tensors", "... is not currently implemented")


def test_every_page_has_a_picture_with_a_description():
    for path in PAGES:
        pictures = PICTURE.findall(path.read_text("utf-8"))
        assert pictures, f"{path} has no picture"
        for description, target in pictures:
            assert len(description) > 10, f"{path} does not describe {target}"
            assert (DOCS / target).is_file(), f"{path}: the help panel looks for {target} beside the pages"


def test_translated_pages_name_every_socket(host):
    schemas = {node.__name__: node.define_schema() for node in asyncio.run(host.nodes.NADAExtension().get_node_list())}
    for path in DOCS.glob("*/*.md"):
        text, schema = path.read_text("utf-8"), schemas[path.parent.name]
        for socket in [*schema.inputs, *schema.outputs]:
            assert f"`{socket.id}`" in text, f"{path.parent.name}/{path.name} does not mention {socket.id}"


def test_pictures_are_small_and_shown():
    shown = {target for path in PAGES for _, target in PICTURE.findall(path.read_text("utf-8"))}
    assert {f"images/{path.name}" for path in IMAGES.iterdir()} == shown
    for path in IMAGES.iterdir():
        assert path.stat().st_size < MAX_BYTES, path.name
        with Image.open(path) as picture:
            assert picture.width <= WIDEST, path.name


def test_troubleshooting_quotes_what_the_code_says():
    said = "\n".join(text for folder in ("nada", "nodes") for text in texts_in(folder))
    quotes = [" ".join(quote.split()) for quote in QUOTE.findall(TROUBLE.read_text("utf-8"))]
    assert len(quotes) > 15
    for quote in (quote for quote in quotes if not quote.startswith(OF_OTHERS)):
        for part in filter(None, (part.strip() for part in quote.split("..."))):
            assert part in said, f"nothing says {part!r}"


def texts_in(folder: str) -> list[str]:
    """Texts in the code of a folder, with ... for inserted values."""
    found = []
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found
