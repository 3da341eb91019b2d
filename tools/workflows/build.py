"""Write the workflows that come with the pack.

    python tools/workflows/build.py

Nodes, values and links are in templates.py, the texts in notes/. Whatever a node's schema says anew - an input more, an
output, another default - is in the files after the next run. The thumbnails beside them are made by hand from what the
workflows save.
"""

from __future__ import annotations

import json

from kinds import ROOT, kinds
from templates import TEMPLATES, Start


def texts() -> dict[str, str]:
    """The contents of the files by name, without ending."""
    known = kinds()
    graphs = {name: build(Start(known, name)) for name, build in TEMPLATES.items()}
    return {name: json.dumps(graph.to_json(name), indent=2) + "\n" for name, graph in graphs.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (ROOT / "workflows" / f"{name}.json").write_text(text, encoding="utf-8")
        print(name)
