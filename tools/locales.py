"""Write locales/en from the schemas of the nodes, and report texts that are missing or left over in other languages.

    python tools/locales.py

ComfyUI looks a text up as nodeDefs.<node>.inputs.<id>.tooltip and the like, and shows the schema's own where there is
none. Choices of a combo are never looked up: they are shown as they are. Lines that nodes show while they run are in
web/status/, see tools/status_lines.py.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCALES = ROOT / "locales"
SYNTAX = re.compile(r"[{}@|]")  # syntax of the frontend's messages; it cuts texts with these characters


def main() -> None:
    """Write locales/en, and compare the others with it."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from tools import status_lines

    schemas = read_schemas()
    write("en", "nodeDefs", english(schemas))
    write("en", "main", {"nodeCategories": {part: part for part in categories(schemas)}})
    wanted = {*flat(texts(schemas)), *flat({"nodeCategories": dict.fromkeys(categories(schemas), "")})}
    wanted |= status_lines.templates()
    for folder in sorted(path for path in LOCALES.iterdir() if path.name != "en"):
        found = {*flat(read(folder.name, "nodeDefs")), *flat(read(folder.name, "main"))}
        found |= status_lines.read(folder.name).keys()
        for what, names in (("lacks", wanted - found), ("has left over", found - wanted)):
            print(f"{folder.name} {what} {len(names)} texts", *sorted(names), sep="\n  ")


def read_schemas() -> list[Any]:
    """Schemas of all nodes, from the tests' stand-in for ComfyUI, which lists no files of a user."""
    from helpers import stub_comfyui

    with tempfile.TemporaryDirectory() as folder:
        sys.modules |= stub_comfyui.modules(stub_comfyui.Host(Path(folder)))
        stub_comfyui.load_pack()
        extension = importlib.import_module(f"{stub_comfyui.PACK}.nodes").NADAExtension()
        return [node.define_schema() for node in asyncio.run(extension.get_node_list())]


def texts(schemas: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Collect all texts that ComfyUI looks up: {node: {"display_name", "description", "inputs", "outputs"}}."""
    return {
        schema.node_id: {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": dict(entry for socket in schema.inputs for entry in _inputs(socket)),
            "outputs": {str(i): _socket(socket) for i, socket in enumerate(schema.outputs)},
        }
        for schema in schemas
    }


def _inputs(socket: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield an input and the inputs of its entries, named as in the frontend: "train.rank" is "train_rank"."""
    yield socket.id, _socket(socket)
    for inner in socket.nested():
        yield f"{socket.id}_{inner.id}", _socket(inner)


def _socket(socket: Any) -> dict[str, str]:
    return {"name": socket.id, "tooltip": socket.options["tooltip"]}


def english(schemas: Iterable[Any]) -> dict[str, Any]:
    """The texts of the schemas, except those that the frontend cannot show."""
    return _speakable(texts(schemas))


def _speakable(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _speakable(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if isinstance(value, dict) or not SYNTAX.search(value)
    }


def categories(schemas: Iterable[Any]) -> list[str]:
    """Parts of the nodes' categories, each once, since the frontend translates them one by one."""
    return list(dict.fromkeys(part for schema in schemas for part in schema.category.split("/")))


def flat(tree: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, str]:
    """Flatten nested dictionaries to {"node.inputs.seed.tooltip": text}."""
    return {".".join(keys): text for keys, text in _leaves(tree, path)}


def _leaves(tree: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def read(language: str, name: str) -> dict[str, Any]:
    """Read a file of a language, such as "zh" and "nodeDefs"."""
    return json.loads((LOCALES / language / f"{name}.json").read_text("utf-8"))


def write(language: str, name: str, content: dict[str, Any]) -> None:
    """Write a file of a language."""
    path = LOCALES / language / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
