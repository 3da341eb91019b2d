"""Write the workflows that come with the pack, and the page for scripts, docs/api.md.

    python tools/workflows/build.py

Nodes, values and links are in templates.py, the texts in notes/. Whatever changes in a node's schema - another
input, output or default - is in the files after the next run. The thumbnails beside them are made by hand from what the
workflows save.
"""

from __future__ import annotations

import json

from api_page import page
from graph import Graph
from kinds import ROOT, kinds, schemas
from templates import IDS, TEMPLATES, Start


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


def api_page() -> str:
    """The content of docs/api.md."""
    return page(schemas(), graphs())


if __name__ == "__main__":
    for name, text in texts().items():
        (ROOT / "workflows" / f"{name}.json").write_text(text, encoding="utf-8")
        print(name)
    (ROOT / "docs" / "api.md").write_text(api_page(), encoding="utf-8")
