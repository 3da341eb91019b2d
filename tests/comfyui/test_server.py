"""The pack in a real ComfyUI on the CPU: set COMFYUI_PATH to a checkout whose requirements this Python has."""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
import urllib.error
from dataclasses import asdict
from urllib.parse import quote

import pytest
from helpers.comfyui_server import HOME, PACK, RUN_LIMIT, TEMPLATES, to_prompt
from PIL import ImageChops

from nada import AdaptConfig, RunFolder, load_generator, load_state
from nada.cli import main

ADAPT, SAVE_IMAGE, SAVE_GENERATOR = "NADATextAdapt", "SaveImage", "NADASaveGenerator"
NODES = ("LoadStyleGAN2", "NADALoadCLIP", ADAPT, "SampleLatents", "GenerateImages", SAVE_GENERATOR)
NODES += ("NADAMixLatents", "NADAInterpolateLatents", "NADAEditLatents", "NADACompareGrid")
NODES += ("NADALoadStyle", "NADAApplyStyle", "NADASaveStyle")
NODES += ("NADAImageAdapt", "NADAPickSnapshot", "NADABlendGenerators", "NADAEvaluate")
NODES += ("NADATrainingOptions", "NADABeforeAfterAnimation", "NADALatentWalk")
NODES += ("NADAAdaptMany", "NADALoadLatents", "NADATrainMapper", "NADAApplyMapper", "NADASaveMapper", "NADALoadMapper")
NODES += ("NADAAlignPhoto", "NADAPasteBack", "NADALoadEncoder", "NADAInvertPhoto", "NADATuneToPhoto")
NODES += ("NADATextDirection",)
FILMSTRIP = f"/extensions/{PACK}/filmstrip.js"
TEXT_EVENT, PREVIEW_EVENTS = 3, {1, 4}

pytestmark = pytest.mark.skipif(not HOME, reason="COMFYUI_PATH does not name a checkout of ComfyUI")


@pytest.fixture
def quickstart(server):
    """The template as a shortened prompt, and the ids of its nodes by type."""
    prompt = to_prompt(server.template("quickstart"), server.get("/object_info"))
    ids = {node["class_type"]: name for name, node in prompt.items()}
    prompt[ids[ADAPT]]["inputs"] |= {"iterations": 4, "batch": 1, "preview_every": 2, "select_batch": 2}
    return prompt, ids


def test_loads_and_serves_its_files(server):
    start = server.log_text().partition("got prompt")[0]  # prompts of other tests fail on purpose
    assert "IMPORT FAILED" not in start
    assert "Traceback" not in start
    assert PACK in server.get("/workflow_templates")
    assert server.bytes(f"/api/workflow_templates/{PACK}/{quote(TEMPLATES['quickstart'])}.jpg")
    for path in (f"/extensions/{PACK}/docs/{ADAPT}.md", FILMSTRIP):
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
    (grid,) = server.pictures(result, ids[SAVE_IMAGE])
    left, right = grid.crop((0, 0, grid.width // 2 - 6, grid.height)), grid.crop((grid.width // 2 + 6, 0, *grid.size))
    assert max(high for _, high in left.getextrema()) > 0
    pictures = [part.crop((0, 32, part.width, part.height)) for part in (left, right)]  # without the labels
    assert ImageChops.difference(*pictures).getbbox(), "the adapted generator makes the same picture"


def test_many_targets_give_pictures_and_a_style_each(server, quickstart):
    prompt, ids = quickstart
    models = {name: prompt[ids[ADAPT]]["inputs"][name] for name in ("generator", "clip")}
    widgets = {"targets": "sketch\nneon sign", "source": "photo", "iterations": 2, "batch": 1, "learning_rate": -1.0}
    widgets |= {"seed": 0, "preview_every": 1}
    loaders = (ids["LoadStyleGAN2"], ids["NADALoadCLIP"], ids["SampleLatents"])
    graph = {name: prompt[name] for name in loaders}
    graph["many"] = {"class_type": "NADAAdaptMany", "inputs": {**models, **widgets}}
    graph["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["many", 1]}}
    styled = {"generator": models["generator"], "style": ["many", 2], "strength": 1.0}
    graph["styled"] = {"class_type": "NADAApplyStyle", "inputs": styled}
    latents = [ids["SampleLatents"], 0]
    drawn = {"generator": ["styled", 0], "latents": latents, "noise": "const", "seed": 0}
    graph["drawn"] = {"class_type": "GenerateImages", "inputs": drawn}
    graph["each"] = {"class_type": "PreviewImage", "inputs": {"images": ["drawn", 0]}}
    result = server.result(server.queue(graph))
    assert result["status"]["status_str"] == "success", result["status"]
    assert len(server.pictures(result, "many")) == 1
    assert len(server.pictures(result, "shown")) == 2 * 4
    count = prompt[ids["SampleLatents"]]["inputs"]["count"]
    assert len(server.pictures(result, "each")) == 2 * count, "what follows runs once for each style"


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
    assert sum(kind in PREVIEW_EVENTS for kind in kinds) == 2, "after iterations 2 and 4"
    texts = [data.decode(errors="replace") for data, kind in zip(received, kinds, strict=True) if kind == TEXT_EVENT]
    assert any(re.search(r"iteration 4/4 \| loss \d\.\d+ \| .*it", text) for text in texts), texts


def interrupt(server, prompt: dict, total: int, after: int = 1) -> tuple[str, int]:
    """Press Cancel after `after` iterations of a training of `total`; return the run's end, and the iterations done."""
    aiohttp = pytest.importorskip("aiohttp")

    async def watch() -> tuple[str, int]:
        done, asked = 0, False
        url = f"ws://{server.address}/ws?clientId=canceller"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
            server.queue(prompt, "canceller")
            async for message in connection:
                event = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {"type": "picture"}
                if event["type"] == "progress" and event["data"]["max"] == total:
                    done = event["data"]["value"]
                    if done >= after and not asked:
                        asked = True
                        await asyncio.to_thread(server.bytes, "/interrupt", {})
                elif event["type"] in ("execution_interrupted", "execution_success", "execution_error"):
                    return event["type"], done
        return "the connection ended", done

    return asyncio.run(watch())


def test_cancel_stops_soon_and_the_next_run_works(server, quickstart):
    prompt, ids = quickstart
    server.result(server.queue(prompt))  # loads the models, so that the next run trains from the first second
    prompt[ids[ADAPT]]["inputs"] |= {"iterations": 50_000, "seed": 2}
    end, done = interrupt(server, prompt, 50_000)
    assert end == "execution_interrupted"
    assert 1 <= done < 1000, "it trained on; even on a busy machine the request takes no time of a thousand iterations"
    prompt[ids[ADAPT]]["inputs"]["iterations"] = 2
    assert server.result(server.queue(prompt))["status"]["status_str"] == "success"


def test_a_cancelled_run_is_resumed_on_the_command_line_and_the_other_way_round(server, quickstart):
    prompt, ids = quickstart
    runs, training = server.base / "models" / "stylegan_runs", prompt[ids[ADAPT]]["inputs"]
    training |= {"iterations": 500, "seed": 77}
    known = set(runs.iterdir()) if runs.is_dir() else set()
    end, done = interrupt(server, prompt, 500, after=3)
    assert end == "execution_interrupted"
    (folder,) = set(runs.iterdir()) - known
    (state,) = RunFolder(folder).states().values()
    recipe = load_state(state).recipe
    assert done <= recipe["iterations_done"] < 500
    more = str(recipe["iterations_done"] + 2)
    assert main(["adapt", "--resume", str(folder), "--iterations", more, "--quiet", "--device", "cpu"]) == 0
    adapted = load_generator(folder / "photo_to_sketch.safetensors")
    assert adapted.metadata["adaptations"][-1]["iterations_done"] == int(more)
    training["iterations"] = int(more)
    before = (folder / "states").stat().st_mtime_ns
    assert server.result(server.queue(prompt))["status"]["status_str"] == "success"
    assert (folder / "states").stat().st_mtime_ns == before, "it trained again"

    config = asdict(AdaptConfig.from_recipe(recipe | {"seed": 78, "iterations": 3}))
    words = [f"--{name.replace('_', '-')}={value}" for name, value in config.items() if value not in (None, "", False)]
    out = ["--out", str(runs / "mine"), "--quiet", "--device", "cpu"]
    assert main(["adapt", "--generator", "demo", "--clip", "demo", *words, *out]) == 0
    training |= {"iterations": 5, "seed": 78}
    assert server.result(server.queue(prompt))["status"]["status_str"] == "success"
    assert list(RunFolder(runs / "mine").states()) == [3, 5], "the node continued the run where it lay"


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

    prompt["load"] = {"class_type": "LoadStyleGAN2", "inputs": {"generator_name": name}}
    prompt[ids["NADACompareGrid"]]["inputs"]["generator_b"] = ["load", 0]
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
    name = os.path.join("test", "sketch_00001_.safetensors")
    assert name in spec[1]["options"]
    prompt["file"] = {"class_type": "NADALoadStyle", "inputs": {"style_name": name}}
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
    prompt[ids[ADAPT]]["inputs"] |= {"layers": "count", "layer_count": 18}  # as before NADA Training Options
    status = server.result(server.queue(prompt))["status"]
    error = next(content for name, content in status["messages"] if name == "execution_error")
    assert error["node_type"] == ADAPT
    assert "layers is 18" in error["exception_message"]

    prompt[ids[ADAPT]]["inputs"]["target"] = " "
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.queue(prompt)
    answer = json.loads(refused.value.read())
    (error,) = answer["node_errors"][ids[ADAPT]]["errors"]
    assert "the target text is empty" in error["details"]
    assert error["extra_info"]["input_name"] == "target", "one widget is marked"


def test_former_prompts_and_options_train_the_same(server, quickstart):
    """Settings that were moved to NADA Training Options still work on the training node, and nothing trains twice."""
    prompt, ids = quickstart
    runs = server.base / "models" / "stylegan_runs"
    settings = {"train": "lora", "mixing": 0.5, "select_every": 2, "layers": "count"}
    prompt[ids[ADAPT]]["inputs"] |= settings | {"rank": 2, "layer_count": 3, "seed": 99, "preset": "none"}
    known = set(runs.iterdir()) if runs.is_dir() else set()
    assert server.result(server.queue(prompt))["status"]["status_str"] == "success"
    (folder,) = set(runs.iterdir()) - known
    (state,) = RunFolder(folder).states().values()
    recipe = load_state(state).recipe
    assert (recipe["train"], recipe["rank"], recipe["mixing"], recipe["layers"]) == ("lora", 2, 0.5, 3)

    for name in (*settings, "rank", "layer_count", "preset"):
        prompt[ids[ADAPT]]["inputs"].pop(name)
    options = {"train": "lora", "train.rank": 2, "mixing": 0.5, "select_every": 2, "layer_count": 3}
    prompt["options"] = {"class_type": "NADATrainingOptions", "inputs": options | {"select_batch": 2}}
    prompt[ids[ADAPT]]["inputs"] |= {"layers": "count", "options": ["options", 0]}
    assert server.result(server.queue(prompt))["status"]["status_str"] == "success"
    assert set(runs.iterdir()) == known | {folder}, "it trained again"
