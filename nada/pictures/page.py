"""The page of results of a sweep: an HTML file that opens from disk, with its data inside and pictures beside it."""

from __future__ import annotations

import html
import re
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html")
CURVE = 64  # largest number of points of a loss curve


def render(title: str, data: str) -> str:
    """Return the page as HTML, which needs no server and no network.

    Args:
        title: heading; any text.
        data: JSON text of {"rows": [...], "axes": [...], "metrics": [...]}. A row has "settings" and "status"; a
            finished one also "folder", "curve", "loss", "seconds", "iterations_done", "measures", "command", and
            "before", "after" and "filmstrip" (paths of pictures, relative to the page); a failed one "error". "axes"
            are the settings in which rows differ, "metrics" the measures to show.
    """
    # Only a "<" could end the script element that the data stand in, and JSON can write it as an escape.
    parts = {"TITLE": html.escape(title), "DATA": data.replace("<", "\\u003c")}
    return re.sub("<!--(TITLE|DATA)-->", lambda match: parts[match[1]], TEMPLATE.read_text("utf-8"))
