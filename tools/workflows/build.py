"""Write the workflows that come with the pack.

    python tools/workflows/build.py

Nodes, values and links are in templates.py, the texts in notes/. Whatever changes in a node's schema - another
input, output or default - is in the files after the next run. The thumbnails beside them are made by hand from what the
workflows save.
"""

from __future__ import annotations

import json

from kinds import ROOT, kinds
from templates import IDS, TEMPLATES, Start


def texts() -> dict[str, str]:
    """The contents of the files by name, without ending."""
    known = kinds()
    graphs = {
        template.file: template.build(Start(known, name, 1 + IDS * number))
        for number, (name, template) in enumerate(TEMPLATES.items(), 1)
    }
    return {file: json.dumps(graph.to_json(file), indent=2) + "\n" for file, graph in graphs.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (ROOT / "workflows" / f"{name}.json").write_text(text, encoding="utf-8")
        print(name)
