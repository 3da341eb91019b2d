"""Write the workflows that come with the pack, their texts in other languages, docs/api.md and docs/gallery.md.

    python tools/workflows/build.py

Nodes, values and links are in templates.py, what several workflows share in parts.py, and the texts in notes/,
translated in notes/LANGUAGE/. Whatever changes in a node's schema - another input, output or default - is in the files
after the next run. thumbnails.py makes the pictures of what they do, screenshots.py those of the graphs.
"""

from __future__ import annotations

import json

import api_page as api
import gallery_page as gallery
from graph import Graph, split_note
from kinds import ROOT, kinds, schemas
from parts import IDS, NOTES, Start
from templates import TEMPLATES


def graphs() -> dict[str, Graph]:
    """The workflows by name."""
    known = kinds()
    return {
        name: template.build(Start(known, name, 1 + IDS * number))
        for number, (name, template) in enumerate(TEMPLATES.items(), 1)
    }


def texts() -> dict[str, str]:
    """The contents of the files in workflows/ by name, without ending."""
    made = {TEMPLATES[name].file: graph for name, graph in graphs().items()}
    return {file: json.dumps(graph.to_json(file), indent=2) + "\n" for file, graph in made.items()}


def translations(language: str) -> str:
    """The content of web/texts/LANGUAGE.json: {English text: translation}, for web/editor.js."""
    folder = NOTES / language
    found = json.loads((folder / "titles.json").read_text("utf-8"))
    for name in TEMPLATES:
        notes = (split_note((path / f"{name}.md").read_text("utf-8")) for path in (NOTES, folder))
        found |= dict(zip(*notes, strict=True))
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def pages() -> dict[str, str]:
    """The contents of the pages of docs/ that are written from the workflows, by file name."""
    made, known = graphs(), schemas()
    files = {name: TEMPLATES[name].file for name in made}
    titles = {schema.node_id: schema.display_name for schema in known}
    return {"api.md": api.page(known, made), "gallery.md": gallery.page(made, files, titles)}


if __name__ == "__main__":
    for name, text in texts().items():
        (ROOT / "workflows" / f"{name}.json").write_text(text, encoding="utf-8")
        print(name)
    for folder in (path for path in NOTES.iterdir() if path.is_dir()):
        (ROOT / "web" / "texts" / f"{folder.name}.json").write_text(translations(folder.name), encoding="utf-8")
    for name, text in pages().items():
        (ROOT / "docs" / name).write_text(text, encoding="utf-8")
