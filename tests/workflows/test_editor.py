"""The additions to the editor, web/editor.js: run here in Node.js, with a stand-in for the editor."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.comfyui_server import ROOT

EDITOR = {  # the editor's modules that the script imports
    "app.js": """export const app = {
      graph: {}, nodePreviewImages: {}, ui: { settings: { getSettingValue() {} } },
      registerExtension(extension) { this.extension = extension; },
    };""",
    "api.js": "export const api = { addEventListener() {} };",
}
NODES = """
import { readFileSync } from "fs";
const [folder] = process.argv.slice(1);
const { app } = await import(`${folder}/scripts/app.js`);
const store = {};
const pinia = { _s: new Map([["nodeOutput", store]]) };
globalThis.LiteGraph = { vueNodesMode: true, NODE_WIDGET_HEIGHT: 20 };
globalThis.document = { querySelector: () => ({ __vue_app__: { config: { globalProperties: { $pinia: pinia } } } }) };
await import(`${folder}/extensions/pack/editor.js`);

/** A node as the editor makes it: the values of a file or a copied node are set without callbacks, then onConfigure. */
class EditorNode {
  size = [200, 100];
  constructor() {
    const { nodeData } = this.constructor;
    this.comfyClass = nodeData.name;
    this.widgets = nodeData.widgets.map(({ name, value, options }) => ({ name, value, options: { ...options } }));
    app.extension.nodeCreated(this);
  }
  addWidget(type, name, value, callback, options) {
    this.widgets.push({ type, name, value, callback, options });
    return this.widgets.at(-1);
  }
  computeSize() { return [200, 30 * this.widgets.filter(({ hidden }) => !hidden).length]; }
  setSize(size) { this.size = size; }
  clone() {
    const copy = new this.constructor();
    const values = this.widgets.filter(({ serialize }) => serialize !== false).map(({ value }) => value);
    copy.size = [...this.size];
    for (const widget of copy.widgets) if (widget.serialize !== false) widget.value = values.shift();
    copy.onConfigure?.({});
    return copy;
  }
}
const types = JSON.parse(readFileSync(0)).map((data) => {
  app.extension.beforeRegisterNodeDef(null, data);
  return class extends EditorNode { static nodeData = data; };
});
"""
CHOICES = """
const shown = (node) => [node.size[1], node.widgets.map((widget) => [Boolean(widget.hidden), widget.options?.hidden])];
const found = [];
for (const type of types) {
  for (const [number, { name, choices }] of type.nodeData.widgets.entries()) {
    for (const choice of choices) {
      const node = new type();
      node.widgets[number].value = choice;
      node.widgets[number].callback?.(choice);
      const [before, after] = [node, node.clone()].map(shown);
      found.push({ node: node.comfyClass, name, choice, before, after, first: shown(new type()) });
    }
  }
}
console.log(JSON.stringify(found));
"""
PICTURES = """
const [, counted, inside] = process.argv.slice(1).map(Boolean);
const released = [], revoked = [];
URL.revokeObjectURL = (url) => revoked.push(url);
const subgraph = { id: "s" };
const found = types.map((type) => {
  const node = Object.assign(new type(), { id: 7, graph: inside ? subgraph : app.graph });
  const place = inside ? "s:7" : "7";
  store.nodePreviewImages = { [place]: ["blob:preview"], 8: ["blob:another"] };
  app.nodePreviewImages = { ...store.nodePreviewImages };
  if (counted) store.revokePreviewsByLocatorId = (place) => released.push(place);
  node.onExecuted({ text: ["no picture"] });
  const before = [...released, ...revoked];
  node.onExecuted({ images: [{ filename: "a.png" }] });
  const left = [store.nodePreviewImages, app.nodePreviewImages].map(Object.keys);
  return { node: node.comfyClass, before, released: released.splice(0), revoked: revoked.splice(0), left };
});
console.log(JSON.stringify(found));
"""


@pytest.fixture
def editor(host, tmp_path):
    """A function that runs a script with the nodes of the pack, and returns what it prints."""
    program = shutil.which("node")
    if not program:
        pytest.skip("Node.js is not installed")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name, text in EDITOR.items():
        path = tmp_path / "scripts" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    pack = tmp_path / "extensions" / "pack"
    pack.mkdir(parents=True)
    for path in (ROOT / "web").glob("*.js"):
        shutil.copy(path, pack)
    nodes = asyncio.run(host.nodes.NADAExtension().get_node_list())
    definitions = json.dumps([definition(node.define_schema()) for node in nodes])

    def run(script: str, *arguments: str) -> list[dict]:
        command = [program, "--input-type=module", "--eval", NODES + script, Path(tmp_path).as_uri(), *arguments]
        done = subprocess.run(command, input=definitions, capture_output=True, encoding="utf-8", check=True)
        return json.loads(done.stdout)

    return run


def definition(schema) -> dict:
    """A node's definition as the editor gets it, and its widgets."""
    widgets = [
        {
            "name": socket.id,
            "value": socket.options.get("default"),
            "options": dict(socket.options.get("extra_dict") or {}),
            "choices": socket.options["options"] if socket.type == "COMBO" else [],
        }
        for socket in schema.inputs
        if socket.is_widget
    ]
    inputs = {socket.id: [socket.type, {"options": socket.options.get("options")}] for socket in schema.inputs}
    inputs = {name: value for name, value in inputs.items() if value[0] == "COMBO"}
    return {
        "name": schema.node_id,
        "category": schema.category,
        "widgets": widgets,
        "input": {"required": inputs, "optional": inputs},
    }


def test_a_copy_shows_the_widgets_of_its_node(editor):
    """Whatever is chosen on it: a copy, a node of a file and a restored node get their values without callbacks."""
    found = editor(CHOICES)
    assert len({case["node"] for case in found}) > 10
    for case in found:
        assert case["after"] == case["before"], case
    changed = {(case["node"], case["name"]) for case in found if case["before"] != case["first"]}
    assert changed == {("LoadStyleGAN2", "generator_name")}, "nothing else hides widgets"


@pytest.mark.parametrize("inside", ["", "a subgraph"])
def test_every_node_shows_one_picture(editor, inside):
    """The editor's own action counts the places that show a preview, such as the list of jobs; use it if it exists."""
    place = "s:7" if inside else "7"
    for counted in ("", "counted"):
        found = editor(PICTURES, counted, inside)
        assert len(found) > 20
        for case in found:
            assert case["before"] == [], case
            assert case["released"] == ([place] if counted else []), case
            assert case["revoked"] == ([] if counted else ["blob:preview"]), case
            assert all((place in left) == bool(counted) and "8" in left for left in case["left"]), case
