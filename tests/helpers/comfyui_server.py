"""Run a real ComfyUI in tests: COMFYUI_PATH names a checkout whose requirements this Python has."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote, urlencode

from PIL import Image

ROOT = Path(__file__).parents[2]
TEMPLATES = {
    "quickstart": "01 Quickstart photo to sketch",
    "sketch_demo": "02 Faces to sketches demo",
    "pixar_demo": "03 Faces to Pixar demo",
    "dog_to_pig_demo": "04 Dogs to pigs demo",
    "mix_styles": "05 Mix two styles",
    "compare": "06 Compare two targets",
    "style_images": "07 Towards pictures",
    "latent_walk_video": "08 Latent walk video",
    "chain_into_img2img": "09 Into image to image",
    "photo_to_sketch_demo": "10 Your photo to sketch demo",
    "sketch": "11 Faces to sketches 1024px",
    "pixar": "12 Faces to Pixar 1024px",
    "dog_to_pig": "13 Dogs to pigs 512px",
    "photo_to_sketch": "14 Your photo to sketch 1024px",
    "photo_video": "15 Video to sketch demo",
}
HOME = os.environ.get("COMFYUI_PATH")
PACK = "StyleGAN-NADA.test"  # with a dot and a hyphen, so that no absolute import of the pack works
CONTROL = {"fixed", "increment", "decrement", "randomize"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
CHOICE = "COMFY_DYNAMICCOMBO_V3"  # a combo whose entries have inputs of their own
MUTED, BYPASSED = 2, 4
FILE_FIELDS = ("filename", "subfolder", "type")
NOTES = {"Note", "MarkdownNote"}
START_LIMIT, RUN_LIMIT = 1800, 3600  # seconds, far more than a busy machine needs: only to end a hang


class Client:
    """Client of a ComfyUI.

    Args:
        address: its host and port.
    """

    def __init__(self, address: str):
        self.address = address

    def bytes(self, path: str, data: dict | None = None) -> bytes:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=RUN_LIMIT) as answer:
            return answer.read()

    def get(self, path: str) -> dict:
        return json.loads(self.bytes(path))

    def queue(self, prompt: dict, client: str = "test", **options: object) -> str:
        return json.loads(self.bytes("/prompt", {"prompt": prompt, "client_id": client, **options}))["prompt_id"]

    def result(self, prompt_id: str, limit: float = RUN_LIMIT) -> dict:
        """Wait for the end of a prompt, within `limit` seconds; returns its history."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if history := self.get(f"/history/{prompt_id}"):
                return history[prompt_id]
            time.sleep(0.2)
        raise TimeoutError(f"the prompt did not end within {limit:.0f} seconds")

    def files(self, result: dict, node: str) -> list[bytes]:
        """Texts or files that a node shows or has saved."""
        shown = result["outputs"][node]["images"]
        return [
            self.bytes("/view?" + urlencode({key: i[key] for key in ("filename", "subfolder", "type")})) for i in shown
        ]

    def pictures(self, result: dict, node: str) -> list[Image.Image]:
        """Pictures that a node shows or has saved."""
        return [Image.open(io.BytesIO(data)).convert("RGB") for data in self.files(result, node)]


class Server(Client):
    """Run a ComfyUI with only this pack."""

    def __init__(self, base: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            super().__init__(f"127.0.0.1:{free.getsockname()[1]}")
        self.base, self.log = base, base / "log.txt"
        (base / "custom_nodes").mkdir(parents=True)
        (base / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
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
        raise RuntimeError(f"ComfyUI did not start:\n{self.log_text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def template(self, name: str) -> dict:
        """One of the pack's workflows, as the editor receives it."""
        return self.get(f"/api/workflow_templates/{PACK}/{quote(TEMPLATES[name])}.json")


def to_prompt(workflow: dict, object_info: dict) -> dict:
    """Convert a workflow in the editor's format to a prompt in the server's."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES or node["mode"] in (MUTED, BYPASSED):
            continue
        inputs = widget_inputs(list(node["widgets_values"]), object_info[node["type"]]["input"])
        inputs |= {i["name"]: sources[i["link"]] for i in node["inputs"] if i.get("link")}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def widget_inputs(values: list, groups: dict, prefix: str = "") -> dict:
    """Assign values in the order of the inputs; a seed's value is followed by its control after a run.

    Args:
        values: list of values, from which used ones are removed.
        groups: required and optional inputs of a node.
        prefix: prefix of their names.
    """
    inputs = {}
    for name, spec in all_inputs(groups).items():
        kind, options = spec[0], spec[1] if len(spec) > 1 else {}
        if not values or not (isinstance(kind, list) or kind in WIDGETS or kind == CHOICE):
            continue
        inputs[prefix + name] = values.pop(0)
        if options.get("control_after_generate") and values and values[0] in CONTROL:
            values.pop(0)
        if kind == CHOICE:
            chosen = next(option for option in options["options"] if option["key"] == inputs[prefix + name])
            inputs |= widget_inputs(values, chosen["inputs"], f"{prefix}{name}.")
    return inputs


def all_inputs(groups: dict) -> dict:
    """Inputs of a node, the required ones first."""
    return {**groups.get("required", {}), **groups.get("optional", {})}
