"""The templates: as written by the tool, consistent with the schemas, tidy on the canvas, and with a picture."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import re
import uuid
from collections.abc import Iterator
from itertools import combinations
from operator import mul
from pathlib import Path

import pytest
from helpers.comfyui_server import CONTROL, ROOT, TEMPLATES
from helpers.scripts import importable
from PIL import Image

CORE = {"MarkdownNote", "ImageStitch", "ImageScaleBy", "ImageScale", "SaveImage", "CreateVideo", "SaveVideo"}
CORE |= {
    "SaveWEBM",
    "LoadImage",
    "PreviewImage",
    "Canny",
    "ImageInvert",
    "CheckpointLoaderSimple",
    "CLIPTextEncode",
    "VAEEncode",
    "VAEDecode",
    "KSampler",
}
DOWNLOADING = ("sketch", "pixar", "dog_to_pig", "chain_into_img2img", "photo_to_sketch")
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TITLE = 30  # px, drawn above a node's position
WIDEST, HIGHEST = 1900, 1290  # px: at 1600 x 1000, the editor shows larger graphs without texts
IMAGE_WIDTH = 360  # px of nodes that show pictures
SLOT, FIRST_SLOT = 20, 14  # px from slot to slot, and from the top of a node to its first slot
SLACK = 12  # px that a wire may extend behind the edge of a node
SHOW_PICTURES = {
    "NADATextAdapt",
    "NADAImageAdapt",
    "NADAPickSnapshot",
    "NADACompareGrid",
    "NADATrainMapper",
    "NADASaveStyle",
    "NADALatentWalk",
    "NADABeforeAfterAnimation",
}
DEMO_TWINS = ("sketch_demo", "pixar_demo", "dog_to_pig_demo")
READABLE = 14  # px of a note's text, as of the titles of nodes
LARGEST_THUMBNAIL, LARGEST_IN_GALLERY = 300_000, 150_000  # bytes
DOWNLOADABLE = (".safetensors", ".sft", ".ckpt", ".pth", ".pt")  # endings that the frontend offers to download


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def each() -> Iterator[tuple[str, dict]]:
    """The name and content of every template."""
    return ((path.stem, read(path)) for path in WORKFLOWS)


@pytest.fixture
def tool():
    """Import tools/workflows/build.py, which is not part of the package."""
    with importable(ROOT / "tools" / "workflows"):
        yield importlib.import_module("build")


def test_the_files_are_those_that_the_tool_writes(tool):
    written = {path.stem: path.read_text(encoding="utf-8") for path in WORKFLOWS}
    made = tool.texts()
    assert written.keys() == made.keys() == {*TEMPLATES.values()}
    for name, text in made.items():
        assert written[name] == text, f"{name}.json is not up to date: python tools/workflows/build.py"


def test_the_templates_are_translated(tool):
    """web/editor.js translates notes and titles; each has a translation, with the same file names."""
    languages = [path.name for path in tool.NOTES.iterdir() if path.is_dir()]
    assert languages == [path.name for path in (ROOT / "locales").iterdir() if path.name != "en"]
    script = (ROOT / "web" / "editor.js").read_text("utf-8") + (ROOT / "web" / "filmstrip.js").read_text("utf-8")
    for language in languages:
        text = (ROOT / "web" / "texts" / f"{language}.json").read_text("utf-8")
        assert text == tool.translations(language), "not up to date: python tools/workflows/build.py"
        known = json.loads(text)
        for name, workflow in each():
            titles = {group["title"] for group in workflow["groups"]}
            titles |= {node["title"] for node in workflow["nodes"] if "title" in node}
            notes = {n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote"}
            assert titles | notes <= known.keys(), f"{name}: {titles - known.keys()}"
            for note in notes:
                for word in re.findall(r"\((https[^)]+)\)|\*\*(\d\d [^*]+)\*\*", note):
                    assert "".join(word) in known[note], f"{name} loses {word}"
        assert {*re.findall(r'said\("([^"]+)"\)', script)} <= known.keys()


def test_the_page_for_scripts_is_what_the_tool_writes(tool, schemas):
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert text == tool.pages()["api.md"], "docs/api.md is not up to date: python tools/workflows/build.py"
    prompts = [json.loads(part) for part in re.findall(r"```json\n(.+?)\n```", text, re.DOTALL)]
    assert len(prompts) >= 6
    for prompt in prompts:
        for node in prompt.values():
            if schema := schemas.get(node["class_type"]):
                known = {socket.id for socket in schema.inputs}
                assert {name.partition(".")[0] for name in node["inputs"]} <= known
                required = {socket.id for socket in schema.inputs if not is_optional(socket)}
                assert required <= node["inputs"].keys()
    assert all(f"## {name}\n" in text for name in schemas)


def test_the_gallery_is_what_the_tool_writes(tool):
    """Every template has a place in it, every picture is there and small, and no other is left over."""
    text = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    assert text == tool.pages()["gallery.md"], "docs/gallery.md is not up to date: python tools/workflows/build.py"
    for title in TEMPLATES.values():
        assert f"[{title}]" in text
    pictures = {path.name: path for path in (ROOT / "docs" / "gallery").iterdir()}
    assert {*re.findall(r"\(gallery/([^)]+)\)", text)} == pictures.keys()
    assert all(path.stat().st_size < LARGEST_IN_GALLERY for path in pictures.values())


@pytest.fixture
def schemas(host):
    nodes = asyncio.run(host.nodes.NADAExtension().get_node_list())
    return {node.define_schema().node_id: node.define_schema() for node in nodes}


def test_nodes_fit_the_schemas(schemas):
    for name, workflow in each():
        for node in (node for node in workflow["nodes"] if node["type"] not in CORE):
            schema, what = schemas[node["type"]], f"{name}: {node['type']}"
            sockets = [s.id for s in sorted(schema.inputs, key=is_optional) if not s.is_widget]
            assert [i["name"] for i in node["inputs"]] == sockets, what
            assert [o["name"] for o in node["outputs"]] == [s.id for s in schema.outputs], what
            linked = {i["name"] for i in node["inputs"] if i["link"]}
            assert {s.id for s in schema.inputs if not s.is_widget and not s.options.get("optional")} <= linked, what
            values = list(node["widgets_values"])
            for socket in (s for s in sorted(schema.inputs, key=is_optional) if s.is_widget):
                value = values.pop(0)
                check_value(f"{what}.{socket.id}", socket, value)
                if socket.is_dynamic:
                    (entry,) = (entry for entry in socket.options["options"] if entry.key == value)
                    for inner in entry.inputs:
                        check_value(f"{what}.{socket.id}.{inner.id}", inner, values.pop(0))
                if socket.options.get("control_after_generate"):
                    assert values.pop(0) in CONTROL, what
            assert not values, f"{what} has more values than widgets"


def is_optional(socket) -> bool:
    """The editor shows required inputs first."""
    return bool(socket.options.get("optional"))


def check_value(what: str, socket, value) -> None:
    options = socket.options
    if socket.is_dynamic:
        assert value in [entry.key for entry in options["options"]], what
    elif socket.type == "COMBO":
        assert value in options["options"], what
    elif socket.type in ("INT", "FLOAT"):
        assert options["min"] <= value <= options["max"], f"{what} is {value}"
    else:
        assert isinstance(value, bool if socket.type == "BOOLEAN" else str), what


def test_links_agree():
    for name, workflow in each():
        assert workflow["version"] == 0.4, name
        assert uuid.UUID(workflow["id"]), name
        nodes = {node["id"]: node for node in workflow["nodes"]}
        assert len(nodes) == len(workflow["nodes"]), name
        for link, source, output, target, slot, kind in workflow["links"]:
            end, start = nodes[target]["inputs"][slot], nodes[source]["outputs"][output]
            assert end["link"] == link, name
            assert link in start["links"], name
            assert end["type"] == start["type"] == kind, name
            assert source < target, f"{name}: nodes are in the order in which they run"
        used = [i["link"] for n in nodes.values() for i in n["inputs"] if i["link"]]
        begun = [link for n in nodes.values() for o in n["outputs"] for link in o["links"]]
        assert sorted(used) == sorted(begun) == sorted(link[0] for link in workflow["links"]), name
        assert workflow["last_node_id"] == max(nodes), name
        assert workflow["last_link_id"] >= max(used), name


def node_boxes(workflow: dict) -> Iterator[tuple]:
    for node in workflow["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        yield node["type"], (x, y - TITLE, x + width, y + height)


def group_boxes(workflow: dict) -> Iterator[tuple]:
    for group in workflow["groups"]:
        x, y, width, height = group["bounding"]
        yield group["title"], (x, y, x + width, y + height)


def apart(a: tuple, b: tuple) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def inside(a: tuple, b: tuple) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def test_nothing_overlaps():
    for template, workflow in each():
        nodes, groups = list(node_boxes(workflow)), list(group_boxes(workflow))
        for boxes in (nodes, groups):
            for (one, a), (other, b) in combinations(boxes, 2):
                assert apart(a, b), f"{template}: {one} and {other} overlap"
        for name, box in nodes:
            around = [title for title, group in groups if inside(box, group)]
            cut = [title for title, group in groups if title not in around and not apart(box, group)]
            assert not cut, f"{template}: the group {cut} cuts {name}"
            assert around or name == "MarkdownNote", f"{template}: {name} is in no group"


def test_fits_on_a_screen():
    for template, workflow in each():
        boxes = [box for _, box in node_boxes(workflow)]  # the rectangle that the editor fits into its window
        left, top = (min(box[side] for box in boxes) for side in (0, 1))
        right, bottom = (max(box[side] for box in boxes) for side in (2, 3))
        assert right - left <= WIDEST, template
        assert bottom - top <= HIGHEST, template
        notes, others = [], []
        for name, box in node_boxes(workflow):
            (notes if name == "MarkdownNote" else others).append(box)
        assert max(box[3] for box in notes) < min(box[1] for box in others), f"{template}: the note is not on top"
        for name, box in node_boxes(workflow):
            if name in SHOW_PICTURES:
                assert box[2] - box[0] >= IMAGE_WIDTH or name in ("PreviewImage", "SaveImage"), f"{template}: {name}"


def test_wires_lead_to_the_right_and_behind_no_node():
    for template, workflow in each():
        nodes = {node["id"]: node for node in workflow["nodes"]}
        boxes = dict(zip(nodes, (box for _, box in node_boxes(workflow)), strict=True))
        for _, source, output, target, slot, _ in workflow["links"]:
            start = (boxes[source][2], nodes[source]["pos"][1] + FIRST_SLOT + SLOT * output)
            end = (boxes[target][0], nodes[target]["pos"][1] + FIRST_SLOT + SLOT * slot)
            what = f"{template}: the wire from {nodes[source]['type']} to {nodes[target]['type']}"
            assert start[0] < end[0], f"{what} loops back"
            others = {id: box for id, box in boxes.items() if id not in (source, target)}
            for x, y in curve(start, end):
                behind = [nodes[id]["type"] for id, box in others.items() if within(x, y, box)]
                assert not behind, f"{what} passes behind {behind}"


def curve(start: tuple, end: tuple) -> Iterator[tuple[float, float]]:
    """Points of a wire as the editor draws it: a Bezier curve with handles of a quarter of the distance."""
    handle = math.dist(start, end) / 4
    for t in (i / 24 for i in range(1, 24)):
        weights = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3)
        xs, ys = (start[0], start[0] + handle, end[0] - handle, end[0]), (start[1], start[1], end[1], end[1])
        yield sum(map(mul, weights, xs)), sum(map(mul, weights, ys))


def within(x: float, y: float, box: tuple) -> bool:
    return box[0] + SLACK < x < box[2] - SLACK and box[1] < y < box[3]


def test_ids_are_of_one_template_only():
    """The editor shows a node's progress in every open tab with a node of the same id."""
    seen = [node["id"] for _, workflow in each() for node in workflow["nodes"]]
    assert len(seen) == len(set(seen))


def test_apps_have_inputs_and_outputs(schemas):
    """The widgets and output nodes of the app exist."""
    apps = {name: workflow for name, workflow in each() if workflow["extra"].get("linearMode")}
    assert set(apps) == {TEMPLATES[name] for name in ("quickstart", *DEMO_TWINS)}
    for name, workflow in apps.items():
        types = {node["id"]: node["type"] for node in workflow["nodes"]}
        data = workflow["extra"]["linearData"]
        for node, widget in data["inputs"]:
            assert any(socket.is_widget and socket.id == widget for socket in schemas[types[node]].inputs), name
        assert data["outputs"], name
        assert all(types[id] == "SaveImage" or schemas[types[id]].is_output_node for id in data["outputs"]), name


def test_the_quickstart_comes_first():
    assert WORKFLOWS[0].stem == TEMPLATES["quickstart"]
    titles = [path.stem for path in WORKFLOWS]  # titles in the template browser
    assert all(re.fullmatch(r"\d\d [A-Z][A-Za-z0-9 ]+", title) for title in titles)


def test_notes_say_how_large_their_text_is():
    script = (ROOT / "web" / "notes.js").read_text("utf-8")
    name = re.search(r'SIZE = "(\w+)"', script)[1]
    for title, workflow in each():
        for note in (node for node in workflow["nodes"] if node["type"] == "MarkdownNote"):
            assert note["properties"][name] >= READABLE, title


def test_has_a_note_and_a_picture():
    for path in WORKFLOWS:
        note = next(node for node in read(path)["nodes"] if node["type"] == "MarkdownNote")
        assert note["widgets_values"][0].startswith("# "), path.stem
        thumbnail = path.with_suffix(".jpg")
        assert thumbnail.stat().st_size < LARGEST_THUMBNAIL, path.stem
        with Image.open(thumbnail) as picture:
            assert picture.format == "JPEG", path.stem
            assert min(picture.size) >= 256, path.stem


def test_what_it_downloads_is_named():
    """Each demo runs without a network, and the others name their files and where to find them."""
    for name, workflow in each():
        models = [model for node in workflow["nodes"] for model in node.get("properties", {}).get("models", [])]
        downloads = name in {TEMPLATES[key] for key in DOWNLOADING}
        assert bool(models) == downloads, name
        note = workflow["nodes"][0]["widgets_values"][0]
        for model in models:
            assert model["name"].endswith(DOWNLOADABLE), name
            repository = re.match(r"https://huggingface\.co/[^/]+/[^/]+", model["url"])[0]
            assert repository in note, name
            assert model["directory"] in ("stylegan", "open_clip", "checkpoints"), name
        others = (node for node in workflow["nodes"] if node["type"] != "MarkdownNote")
        values = [str(value) for node in others for value in node["widgets_values"]]
        assert downloads or not any("download" in value for value in values), name


def test_what_notes_name_exists(schemas):
    """Bold snake case names a template or an input; italics that begin like a node's title name a node."""
    inputs = {socket.id for schema in schemas.values() for socket in schema.inputs}
    names = (schema.display_name.removesuffix(" (StyleGAN)") for schema in schemas.values())
    titles = {name.removeprefix("StyleGAN-") for name in names}
    titles |= {"Load Image", "Load Video", "Load Checkpoint"}
    for path in WORKFLOWS:
        note = "\n".join(n["widgets_values"][0] for n in read(path)["nodes"] if n["type"] == "MarkdownNote")
        for name in re.findall(r"\*\*([a-z0-9]+(?:_[a-z0-9]+)+)\*\*", note):
            assert name in inputs, f"{path.stem} names {name}"
        for title in re.findall(r"\*\*(\d\d [^*]+)\*\*", note):
            assert title in TEMPLATES.values(), f"{path.stem} names {title}"
        for name in re.findall(r"\*((?:NADA|Load|Save|Sample|Apply|Interpolate|Compare) [^*]+)\*", note):
            assert name in titles, f"{path.stem} names {name}"
