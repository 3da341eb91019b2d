"""The page for people who script ComfyUI: every node with its inputs, and one prompt a task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from graph import MUTED, NOTE, Graph

INTRODUCTION = """\
# Nodes and prompts, for scripts

For people who script ComfyUI: a prompt for each task, then every node with its inputs and outputs. The page is written
by `python tools/workflows/build.py` from the schemas of the nodes and the templates in *workflows/*.

ComfyUI runs a *prompt*: {id: {"class_type", "inputs"}}, sent as {"prompt": ...} to `POST /prompt`. An input is a value,
or ["id", n] for output number n of another node. Optional inputs may be left out. `GET /history/ID` has the results.
Files that nodes save are in ComfyUI's *output* folder. `GET /object_info/NODE` lists the files that a loader offers.

Training nodes show before and after as their picture, and continue a cancelled training when the same prompt runs
again. Prompts from before *NADA Training Options* still run: their training nodes may give its settings themselves.
"""
TASKS = {  # task of a template, for readers of its prompt
    "quickstart": "Adapt a generator to a text and save the comparison",
    "sketch_demo": "Adapt, pick a snapshot, keep it as a style, and make pictures",
    "style_images": "Adapt towards pictures",
    "dog_to_pig_demo": "Adapt with options, and move latent codes with a mapper",
    "mix_styles": "Add a style to another generator, with a strength",
    "latent_walk_video": "Animate: a latent walk, a before/after wipe, and a video",
}


def page(schemas: list[Any], graphs: Mapping[str, Graph]) -> str:
    """Write the page as Markdown, from the schemas of the nodes and the templates by name."""
    tasks = [
        f"## {title}\n\n```json\n{json.dumps(prompt(graphs[name]), indent=1, ensure_ascii=False)}\n```\n"
        for name, title in TASKS.items()
    ]
    return "\n".join([INTRODUCTION, *tasks, "# Nodes\n", *(section(schema) for schema in schemas)])


def prompt(graph: Graph) -> dict[str, Any]:
    """A workflow in the server's format, without nodes that are switched off."""
    active = [node for node in graph.nodes if node.kind.name != NOTE and node.mode != MUTED]
    return {
        str(node.id): {
            "class_type": node.kind.name,
            "inputs": {**node.values, **{name: [str(o.node.id), o.slot] for name, o in node.links.items()}},
        }
        for node in active
    }


def section(schema: Any) -> str:
    """Section of a node: id, name and description, then its inputs and outputs as a table."""
    rows = ["| Input | Type | Default | What |", "|---|---|---|---|"]
    for socket in schema.inputs:
        rows.append(row(socket.id, socket))
        rows += [row(f"{socket.id}.{inner.id}", inner) for inner in socket.nested()]
    rows += ["", "| Output | Type | What |", "|---|---|---|"]
    rows += [f"| {i}: `{s.id}` | {s.type} | {cell(s.options['tooltip'])} |" for i, s in enumerate(schema.outputs)]
    if not schema.outputs:
        rows = rows[:-3]
    return "\n".join([f"## {schema.node_id}\n", f"*{schema.display_name}.* {schema.description}\n", *rows, ""])


def row(name: str, socket: Any) -> str:
    """Row of a table for an input."""
    options = socket.options
    default = options.get("default", "")
    required = "" if options.get("optional") else ", required"
    shown = f"`{cell(json.dumps(default, ensure_ascii=False))}`" if socket.is_widget else ""
    return f"| `{name}` | {socket.type.removeprefix('COMFY_')}{required} | {shown} | {cell(options['tooltip'])} |"


def cell(text: str) -> str:
    """Escape a text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
