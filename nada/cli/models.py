"""`nada models`: list published models, or download one."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..published.catalog import PUBLISHED, PUBLISHED_CLIPS, YUNET, find_published
from .parsing import add_command, show_tree
from .shared import fetch


def add(commands: Any) -> None:
    """Add the verb `models` with its arguments to the parser."""
    models = add_command(commands, "models", "list published models, or download one", run, show)
    models.add_argument("name", nargs="?", metavar="NAME", help="model to download; omit it to list all")
    models.add_argument(
        "--to", type=Path, default=Path(), metavar="DIR", help="folder for the download (default: the current folder)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """List the published models, or download the named one into a folder."""
    if args.name is None:
        rows = [{**asdict(m), "file": m.file} for m in PUBLISHED]
        clips = [{**asdict(c), "file": c.file, "url": c.url} for c in PUBLISHED_CLIPS]
        return {"generators": rows, "clips": clips, "detectors": [{**asdict(YUNET), "file": YUNET.file}]}
    model = find_published(args.name)
    path, notes = fetch(model, args.to)
    size = path.stat().st_size
    return {"name": model.name, "file": str(path), "bytes": size, "license": model.license, "notes": notes}


def show(result: dict[str, Any]) -> str:
    """Format the list as a table, or the result of a download."""
    if "generators" not in result:
        return show_tree(result)
    rows = [("NAME", "PX", "MB", "FROM", "WHAT IT MAKES")]
    rows += [(g["name"], g["resolution"], g["megabytes"], g["form"], g["content"]) for g in result["generators"]]
    width = max(len(row[0]) for row in rows)
    lines = [f"{name:{width}} {px:>5} {mb:>5}  {form:21}  {content}" for name, px, mb, form, content in rows]
    licenses: dict[str, list[str]] = {}
    for g in result["generators"]:
        licenses.setdefault(g["license"], []).append(g["name"])
    most = max(licenses, key=lambda name: len(licenses[name]))
    lines += ["", "`nada models NAME --to DIR` downloads one. Licenses:", f"  {most}: all but those below"]
    lines += [f"  {name}: {', '.join(names)}" for name, names in licenses.items() if name != most]
    clips = ", ".join(f"{m['name']} ({m['megabytes']} MB, {m['license']})" for m in result["clips"])
    detectors = ", ".join(f"{m['name']} ({m['size'] / 1e6:.1f} MB, {m['license']})" for m in result["detectors"])
    lines.append(f"CLIP models, downloaded at first use or in the same way: {clips}")
    lines.append(f"Face detector, downloaded when a command first looks for a face in a photo: {detectors}")
    return "\n".join(lines)
