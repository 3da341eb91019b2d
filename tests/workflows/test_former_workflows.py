"""Workflows from before NADA Training Options, which web/training_settings.js converts; run here in Node.js."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.comfyui_server import ROOT

from nada import PRESETS

FORMER = Path(__file__).parent / "former"  # templates of version 0.1, with 26 values on each training node
SCRIPT = ROOT / "web" / "training_settings.js"
TRAININGS = ("NADATextAdapt", "NADAImageAdapt")
FORMER_WIDGETS = """
preset source target iterations batch learning_rate seed preview_every layers layer_count select_every select_batch
mixing preview_images views train rank train_torgb train_const train_mapping angle_weight norm_weight patch_weight
snapshots precision cuda_graphs
"""
CALLS = """
import { createInterface } from "readline";
const settings = await import(process.argv[1]);
for await (const line of createInterface({ input: process.stdin })) {
  const { call, args } = JSON.parse(line);
  const result = settings[call](...args);
  console.log(JSON.stringify({ result: result ?? null, args }));
}
"""


@pytest.fixture(scope="module", autouse=True)
def node():
    """Node.js with the script: one process for all calls, which change nothing but their arguments."""
    program = shutil.which("node")
    if not program:
        pytest.skip("Node.js is not installed")
    command = [program, "--input-type=module", "--eval", CALLS, SCRIPT.as_uri()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        called.process = process
        yield
        process.stdin.close()


def called(function: str, *args: object) -> tuple[object, list]:
    """Result of a function of the script, and its arguments afterwards."""
    print(json.dumps({"call": function, "args": args}), file=called.process.stdin, flush=True)
    answer = json.loads(called.process.stdout.readline())
    return answer["result"], answer["args"]


def converted(workflow: dict, names: tuple = ("demo", "download"), downloads: tuple = ()) -> dict:
    settings = {name: preset.settings for name, preset in PRESETS.items()}
    loader = {"names": names, "downloads": downloads}
    return called("convertWorkflow", workflow, settings, loader)[1][0]


@pytest.fixture
def schemas(host) -> dict:
    nodes = asyncio.run(host.nodes.NADAExtension().get_node_list())
    return {schema.node_id: schema for schema in (node.define_schema() for node in nodes)}


def values_by_name(node: dict, schema) -> dict:
    """Values of a node's widgets by their names in a prompt."""
    found, values = {}, list(node["widgets_values"])
    for socket in (socket for socket in schema.inputs if socket.is_widget):
        found[socket.id] = values.pop(0)
        if socket.is_dynamic:
            (entry,) = (entry for entry in socket.options["options"] if entry.key == found[socket.id])
            found |= {f"{socket.id}.{inner.id}": values.pop(0) for inner in entry.inputs}
    assert not values, "more values than widgets"
    return found


def training(workflow: dict) -> dict:
    return next(node for node in workflow["nodes"] if node["type"] in TRAININGS)


def options_of(workflow: dict, node: dict) -> dict | None:
    """The options node linked to a training."""
    slot, socket = next((i, s) for i, s in enumerate(node["inputs"]) if s["name"] == "options")
    (link,) = (link for link in workflow["links"] if link[0] == socket["link"])
    assert link[3:5] == [node["id"], slot]
    return next(node for node in workflow["nodes"] if node["id"] == link[1])


def former(name: str, **values: object) -> dict:
    """A former template with other values in its training node: v0, v1, ..."""
    workflow = json.loads((FORMER / f"{name}.json").read_text("utf-8"))
    for place, value in values.items():
        training(workflow)["widgets_values"][int(place[1:])] = value
    return workflow


def test_the_script_knows_the_widgets_of_today(schemas):
    """The script repeats the former names, order and defaults, since files have values without names."""
    result, _ = called("presetValues", {}, [dict.fromkeys(AUTOMATIC), {"train": "lora", "rank": 8}])
    for kind in TRAININGS:
        known = {socket.id: socket.options.get("default") for socket in schemas[kind].inputs}
        assert {name: known[name] for name in result["node"]} == result["node"]
    workflow = converted(former("sketch_demo", v15="lora", v16=64))
    options = options_of(workflow, training(workflow))
    expected = {socket.id: socket.options["default"] for socket in schemas["NADATrainingOptions"].inputs}
    assert values_by_name(options, schemas["NADATrainingOptions"]) == expected | {"train": "lora", "train.rank": 64}


AUTOMATIC = ("iterations", "batch", "learning_rate", "layers")


@pytest.mark.parametrize("name", sorted(path.stem for path in FORMER.glob("*.json")))
def test_every_former_template_is_converted(schemas, name):
    before, after = former(name), converted(former(name))
    assert converted(json.loads(json.dumps(after))) == after, "what is converted stays as it is"
    for old in (node for node in before["nodes"] if node["type"] in TRAININGS):
        new = next(node for node in after["nodes"] if node["id"] == old["id"])
        values = values_by_name(new, schemas[new["type"]])
        if new["type"] == "NADATextAdapt":
            preset = PRESETS[old["widgets_values"][0]].settings if old["widgets_values"][0] != "none" else {}
            texts = dict(zip(("source", "target"), old["widgets_values"][1:3], strict=True)) | preset
            assert (values["source"], values["target"]) == (texts["source"], texts["target"])
        assert values["iterations"] == old["widgets_values"][3]
        sockets = (socket for socket in schemas[new["type"]].inputs if not socket.is_widget)
        expected = [socket.id for socket in sorted(sockets, key=lambda socket: bool(socket.options.get("optional")))]
        assert [socket["name"] for socket in new["inputs"]] in (expected, expected[:-1])
    nodes = {node["id"]: node for node in after["nodes"]}
    assert len(nodes) == len(after["nodes"])
    assert after["last_node_id"] == max(nodes)
    for link, source, output, target, slot, kind in after["links"]:
        assert nodes[target]["inputs"][slot]["link"] == link
        assert link in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["type"] == kind
    assert len({link[0] for link in after["links"]}) == len(after["links"])


def test_options_appear_only_where_something_was_set(schemas):
    assert not any(node["type"] == "NADATrainingOptions" for node in converted(former("sketch_demo"))["nodes"])
    workflow = converted(former("dog_to_pig_demo"))
    assert training(workflow)["widgets_values"][:6] == ["dog", "pig", 300, 0, -1.0, "auto"]
    found = values_by_name(options_of(workflow, training(workflow)), schemas["NADATrainingOptions"])
    assert (found["select_every"], found["select_batch"], found["mixing"]) == (4, 4, 0)


def test_downloads_move_to_their_list(schemas):
    names, downloads = (socket.options["options"] for socket in schemas["LoadStyleGAN2"].inputs)
    workflow = converted(former("sketch"), names, downloads)
    loader = next(node for node in workflow["nodes"] if node["type"] == "LoadStyleGAN2")
    assert loader["widgets_values"] == [names[-1], downloads[0]]
    assert converted(former("sketch"))["nodes"][1]["widgets_values"][0].startswith("(download) ffhq-1024 ")


def test_a_former_preset_is_written_into_the_widgets(schemas):
    workflow = converted(former("sketch_demo", v0="white-walker", v1="x", v2="y", v3=7))
    assert training(workflow)["widgets_values"][:6] == ["human", "white walker", 201, 0, -1.0, "all"]
    assert values_by_name(options_of(workflow, training(workflow)), schemas["NADATrainingOptions"])["mixing"] == 0.9
    workflow = converted(former("sketch_demo", v0="plastic-puppet"))
    assert training(workflow)["widgets_values"][5] == "count"
    assert values_by_name(options_of(workflow, training(workflow)), schemas["NADATrainingOptions"])["layer_count"] == 5


def test_named_values_and_linked_widgets_are_kept(schemas):
    """The current editor saves names too, and an input slot for each widget, to which a link may lead."""
    workflow = former("sketch_demo")
    node = training(workflow)
    names = FORMER_WIDGETS.split()
    node["widgets_values_named"] = dict(zip(names, node["widgets_values"], strict=True)) | {"target": "pig"}
    node["inputs"] += [{"name": name, "type": "FLOAT", "link": None, "widget": {"name": name}} for name in names]
    node["inputs"][-2 - names[::-1].index("mixing") + 1]["link"] = 900
    number = {"id": 900, "type": "PrimitiveFloat", "pos": [0, 0], "size": [200, 80], "flags": {}, "order": 0, "mode": 0,
              "inputs": [], "outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [900]}], "properties": {},
              "widgets_values": [0.5]}  # fmt: skip
    workflow["nodes"].append(number)
    workflow["links"].append([900, 900, 0, node["id"], len(node["inputs"]) - 1, "FLOAT"])
    workflow = converted(workflow)
    assert training(workflow)["widgets_values"][1] == "pig"
    options = options_of(workflow, training(workflow))
    (socket,) = options["inputs"]
    assert socket["name"] == socket["widget"]["name"] == "mixing"
    assert [900, 900, 0, options["id"], 0, "FLOAT"] in workflow["links"]


def test_trainings_in_subgraphs_are_converted_too():
    workflow = former("dog_to_pig_demo")
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    inner = {**workflow, "links": [dict(zip(names, link, strict=True)) for link in workflow["links"]]}
    outer = {**former("quickstart"), "nodes": [], "links": [], "definitions": {"subgraphs": [inner]}}
    (inner,) = converted(outer)["definitions"]["subgraphs"]
    (added,) = (node for node in inner["nodes"] if node["type"] == "NADATrainingOptions")
    node = training(inner)
    (link,) = (link for link in inner["links"] if link["origin_id"] == added["id"])
    assert node["inputs"][link["target_slot"]] == {
        "name": "options", "type": "NADA_OPTIONS", "shape": 7, "link": link["id"],
    }  # fmt: skip


def test_presets_say_the_same_in_widgets(schemas):
    """A preset resets what the preset chosen before has set."""
    names = {socket.id for kind in (*TRAININGS, "NADATrainingOptions") for socket in schemas[kind].inputs}
    every = [preset.settings for preset in PRESETS.values()]
    for preset in PRESETS:
        result, _ = called("presetValues", PRESETS[preset].settings, every)
        settings = {**result["node"], **result["options"]}
        for name, value in PRESETS[preset].settings.items():
            if name == "layers" and isinstance(value, int):
                assert (settings["layers"], settings["layer_count"]) == ("count", value), preset
            else:
                assert settings[name] == value, (preset, name)
        assert {"iterations", "layers", "batch"} <= result["node"].keys(), preset
        assert {"mixing", "train", "train_torgb", "angle_weight", "select_every"} <= result["options"].keys(), preset
        assert settings.keys() <= names, preset
