"""The pack in a real ComfyUI on the CPU: set COMFYUI_PATH to a checkout whose requirements this Python has."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image, ImageChops

ROOT = Path(__file__).parents[1]
HOME = os.environ.get("COMFYUI_PATH")
PACK = "StyleGAN-NADA.test"  # a dot and a hyphen: names that no absolute import survives
CONTROL = {"fixed", "increment", "decrement", "randomize"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
MUTED, BYPASSED = 2, 4
ADAPT, SAVE_IMAGE, SAVE_GENERATOR = "NADATextAdapt", "SaveImage", "NADASaveGenerator"
NODES = ("LoadStyleGAN2", "NADALoadCLIP", ADAPT, "SampleLatents", "GenerateImages", SAVE_GENERATOR)
NODES += ("NADAMixLatents", "NADAInterpolateLatents", "NADAEditLatents", "NADACompareGrid")
NODES += ("NADALoadStyle", "NADAApplyStyle", "NADASaveStyle")
NODES += ("NADAImageAdapt", "NADAPickSnapshot", "NADABlendGenerators", "NADAEvaluate")
NODES += ("NADATrainMapper", "NADAApplyMapper", "NADASaveMapper", "NADALoadMapper")
FILMSTRIP = f"/extensions/{PACK}/filmstrip.js"
TEXT_EVENT, PREVIEW_EVENTS = 3, {1, 4}
START_LIMIT, RUN_LIMIT = 180, 240  # seconds

pytestmark = pytest.mark.skipif(not HOME, reason="COMFYUI_PATH does not name a checkout of ComfyUI")


class Server:
    """A running ComfyUI with nothing in it but this pack."""

    def __init__(self, base: Path):
        self.base, self.log = base, base / "log.txt"
        (base / "custom_nodes").mkdir(parents=True)
        (base / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", self.address.split(":")[1]]
        command += ["--disable-auto-launch", "--disable-api-nodes", "--base-directory", str(base)]
        command += ["--database-url", f"sqlite:///{base}/comfyui.db"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=HOME, stdout=log, stderr=subprocess.STDOUT)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.5)
        self.stop()
        pytest.fail(f"ComfyUI did not start:\n{self.log_text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def bytes(self, path: str, data: dict | None = None) -> bytes:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def get(self, path: str) -> dict:
        return json.loads(self.bytes(path))

    def queue(self, prompt: dict, client: str = "test") -> str:
        return json.loads(self.bytes("/prompt", {"prompt": prompt, "client_id": client}))["prompt_id"]

    def result(self, prompt_id: str) -> dict:
        """The history of a prompt once it is over."""
        limit = time.monotonic() + RUN_LIMIT
        while time.monotonic() < limit:
            if history := self.get(f"/history/{prompt_id}"):
                return history[prompt_id]
            time.sleep(0.2)
        pytest.fail(f"the prompt did not end:\n{self.log_text()[-3000:]}")

    def pictures(self, result: dict, node: str) -> list[Image.Image]:
        found = []
        for image in result["outputs"][node]["images"]:
            query = f"filename={image['filename']}&subfolder={image['subfolder']}&type={image['type']}"
            found.append(Image.open(io.BytesIO(self.bytes(f"/view?{query}"))).convert("RGB"))
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("comfyui"))
    yield server
    server.stop()


def to_prompt(workflow: dict, object_info: dict) -> dict:
    """A workflow as the editor saves it -> a prompt as the server runs it."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] not in object_info or node["mode"] in (MUTED, BYPASSED):
            continue
        inputs = widget_inputs(list(node["widgets_values"]), object_info[node["type"]]["input"])
        inputs |= {i["name"]: sources[i["link"]] for i in node["inputs"] if i.get("link")}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def widget_inputs(values: list, groups: dict) -> dict:
    """Values lie in the order of the inputs; a seed's is followed by what to do with it after a run."""
    inputs = {}
    for name, spec in [*groups.get("required", {}).items(), *groups.get("optional", {}).items()]:
        if not values or not (isinstance(spec[0], list) or spec[0] in WIDGETS):
            continue
        inputs[name] = values.pop(0)
        if len(spec) > 1 and spec[1].get("control_after_generate") and values and values[0] in CONTROL:
            values.pop(0)
    return inputs


@pytest.fixture
def quickstart(server):
    """The template as a prompt, shortened; and the ids of its nodes by type."""
    workflow = json.loads(server.bytes(f"/api/workflow_templates/{PACK}/quickstart.json"))
    prompt = to_prompt(workflow, server.get("/object_info"))
    ids = {node["class_type"]: name for name, node in prompt.items()}
    prompt[ids[ADAPT]]["inputs"] |= {"iterations": 4, "batch": 1, "preview_every": 2, "select_batch": 2}
    return prompt, ids


def test_loads_and_serves_its_files(server):
    assert "IMPORT FAILED" not in server.log_text()
    assert "Traceback" not in server.log_text()
    assert PACK in server.get("/workflow_templates")
    for path in (f"/api/workflow_templates/{PACK}/quickstart.jpg", f"/extensions/{PACK}/docs/{ADAPT}.md", FILMSTRIP):
        assert server.bytes(path)


def test_every_node_is_offered_with_its_tooltips(server):
    offered = server.get("/object_info")
    for name in NODES:
        schema = offered[name]
        inputs = {**schema["input"].get("required", {}), **schema["input"].get("optional", {})}
        assert all(len(spec[1]["tooltip"]) > 10 for spec in inputs.values()), name
        assert all(schema["output_tooltips"]), name


def test_quickstart_runs(server, quickstart):
    prompt, ids = quickstart
    result = server.result(server.queue(prompt))
    assert result["status"]["status_str"] == "success", result["status"]
    before_after = server.pictures(result, ids[ADAPT])
    assert len(before_after) == 1
    pairs = server.pictures(result, ids[SAVE_IMAGE])
    assert len(pairs) == prompt[ids["SampleLatents"]]["inputs"]["count"]
    width, height = pairs[0].size
    left, right = pairs[0].crop((0, 0, height, height)), pairs[0].crop((width - height, 0, width, height))
    assert max(high for _, high in left.getextrema()) > 0
    assert ImageChops.difference(left, right).getbbox(), "the adapted generator makes the same picture"


def test_previews_and_texts_arrive(server, quickstart):
    aiohttp = pytest.importorskip("aiohttp")
    prompt, ids = quickstart
    prompt[ids[ADAPT]]["inputs"]["seed"] = 1

    async def listen() -> list[bytes]:
        received = []
        url = f"ws://{server.address}/ws?clientId=listener"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
            server.queue(prompt, "listener")
            async for message in connection:
                if message.type == aiohttp.WSMsgType.BINARY:
                    received.append(message.data)
                elif "execution_success" in message.data or "execution_error" in message.data:
                    return received
        return received

    received = asyncio.run(asyncio.wait_for(listen(), RUN_LIMIT))
    kinds = [struct.unpack(">I", data[:4])[0] for data in received]
    assert sum(kind in PREVIEW_EVENTS for kind in kinds) == 2, "after steps 2 and 4"
    texts = [data.decode(errors="replace") for data, kind in zip(received, kinds, strict=True) if kind == TEXT_EVENT]
    assert any(re.search(r"step 4/4 \| loss \d\.\d+ \| .*it", text) for text in texts), texts


def test_cancel_stops_at_once_and_the_next_run_works(server, quickstart):
    prompt, ids = quickstart
    server.result(server.queue(prompt))  # loads the models, so that the next run trains from the first second
    prompt[ids[ADAPT]]["inputs"] |= {"iterations": 50_000, "seed": 2}
    prompt_id = server.queue(prompt)
    time.sleep(4)
    assert not server.get(f"/history/{prompt_id}")
    server.bytes("/interrupt", {})
    asked = time.monotonic()
    result = server.result(prompt_id)
    assert time.monotonic() - asked < 10
    assert any(name == "execution_interrupted" for name, _ in result["status"]["messages"])
    prompt[ids[ADAPT]]["inputs"]["iterations"] = 2
    assert server.result(server.queue(prompt))["status"]["status_str"] == "success"


def test_saved_generator_makes_the_same_pictures(server, quickstart):
    prompt, ids = quickstart
    prompt["save"] = {
        "class_type": SAVE_GENERATOR,
        "inputs": {"generator": [ids[ADAPT], 0], "filename_prefix": "test/sketch"},
    }
    first = server.result(server.queue(prompt))
    name = os.path.join("test", "sketch_00001_.safetensors")
    assert (server.base / "output" / "stylegan" / name).is_file()
    spec = server.get("/object_info/LoadStyleGAN2")["LoadStyleGAN2"]["input"]["required"]["generator_name"]
    assert name in spec[1]["options"]

    after = next(
        n for n in prompt.values() if n["inputs"].get("generator") == [ids[ADAPT], 0] and "latents" in n["inputs"]
    )
    prompt["load"] = {"class_type": "LoadStyleGAN2", "inputs": {"generator_name": name}}
    after["inputs"]["generator"] = ["load", 0]
    del prompt["save"]
    second = server.result(server.queue(prompt))
    pairs = zip(server.pictures(first, ids[SAVE_IMAGE]), server.pictures(second, ids[SAVE_IMAGE]), strict=True)
    assert not any(ImageChops.difference(a, b).getbbox() for a, b in pairs)


def test_saved_style_is_listed_and_has_a_strength(server, quickstart):
    prompt, ids = quickstart
    adapt, latents = prompt[ids[ADAPT]], [ids["SampleLatents"], 0]
    save = {"base": adapt["inputs"]["generator"], "adapted": [ids[ADAPT], 0], "filename_prefix": "test/sketch"}
    prompt["style"] = {"class_type": "NADASaveStyle", "inputs": save}

    def show(name: str, generator: list) -> None:
        images = {"class_type": "GenerateImages", "inputs": {"generator": generator, "latents": latents}}
        images["inputs"] |= {"noise": "const"}
        prompt[f"{name} images"] = images
        inputs = {"images": [f"{name} images", 0], "filename_prefix": name}
        prompt[name] = {"class_type": SAVE_IMAGE, "inputs": inputs}

    def apply(name: str, style: str, strength: float) -> None:
        inputs = {"generator": adapt["inputs"]["generator"], "style": [style, 0], "strength": strength}
        prompt[f"{name} style"] = {"class_type": "NADAApplyStyle", "inputs": inputs}
        show(name, [f"{name} style", 0])

    show("base", adapt["inputs"]["generator"])
    show("adapted", [ids[ADAPT], 0])
    apply("nothing", "style", 0.0)
    first = server.result(server.queue(prompt))
    assert first["status"]["status_str"] == "success", first["status"]
    assert server.pictures(first, "style"), "the node shows before and after"

    spec = server.get("/object_info/NADALoadStyle")["NADALoadStyle"]["input"]["required"]["style_name"]
    prompt["file"] = {"class_type": "NADALoadStyle", "inputs": {"style_name": spec[1]["options"][0]}}
    apply("everything", "file", 1.0)
    second = server.result(server.queue(prompt))
    assert second["status"]["status_str"] == "success", second["status"]
    assert server.pictures(second, "file")

    def difference(one: str, other: str) -> int:
        pairs = zip(server.pictures(second, one), server.pictures(second, other), strict=True)
        return max(high for a, b in pairs for _, high in ImageChops.difference(a, b).getextrema())

    assert difference("base", "nothing") == 0
    assert difference("adapted", "everything") <= 1
    assert difference("base", "adapted") > 1


def test_mistakes_are_explained_on_the_node(server, quickstart):
    prompt, ids = quickstart
    prompt[ids[ADAPT]]["inputs"] |= {"layers": "count", "layer_count": 18}
    status = server.result(server.queue(prompt))["status"]
    error = next(content for name, content in status["messages"] if name == "execution_error")
    assert error["node_type"] == ADAPT
    assert "layers is 18" in error["exception_message"]

    prompt[ids[ADAPT]]["inputs"]["target"] = " "
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.queue(prompt)
    assert "the target text is empty" in refused.value.read().decode()
