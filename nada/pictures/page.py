"""The page of results: one HTML file that opens from disk, with the data inside and pictures beside it."""

from __future__ import annotations

import html
import re
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html")
CURVE = 64  # points of a loss curve, at most


def render(title: str, data: str) -> str:
    """The page as HTML. It needs no server and no network.

    Args:
        title: heading; any text.
        data: JSON text of {"rows": [...], "axes": [...], "metrics": [...]}. A row has "settings" and "status", and
            where there are results "folder", "curve", "loss", "seconds", "iterations_done", "measures", "command", and
            "before", "after" and "filmstrip" (paths of pictures, relative to the page), or "error". "axes" are the
            settings in which rows differ, "metrics" the measures to show.
    """
    # Inside a script element, "<" is all that could end it, and JSON can write it in another way.
    parts = {"TITLE": html.escape(title), "DATA": data.replace("<", "\\u003c")}
    return re.sub("<!--(TITLE|DATA)-->", lambda match: parts[match[1]], TEMPLATE.read_text("utf-8"))
