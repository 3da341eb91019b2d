"""Photos in a real ComfyUI on the CPU (COMFYUI_PATH): from a picture to the pasted result, Cancel, and wrong inputs."""

from __future__ import annotations

import asyncio
import json

import pytest
import torch
from helpers.comfyui_server import HOME, RUN_LIMIT
from PIL import Image

import nada
from nada.pictures.convert import to_pil

pytestmark = pytest.mark.skipif(not HOME, reason="COMFYUI_PATH does not name a checkout of ComfyUI")
SQUARE = {"find": "square by hand", "place": "60, 44, 48, 8", "size": 64}
MIDDLE = {"find": "middle", "size": 64}


@pytest.fixture(scope="module")
def pictures(server) -> dict[str, str]:
    """Names of pictures in ComfyUI's input folder, of several kinds, by kind."""
    generator = nada.load_generator("demo")
    dog = to_pil(nada.generate(generator, nada.sample_latents(generator, 1, 5, 1.0)))[0]
    yard = Image.new("RGB", (120, 90), (90, 130, 80))
    yard.paste(dog.resize((48, 48)).rotate(-8, fillcolor=(90, 130, 80)), (36, 20))
    kinds = {
        "yard": yard,
        "rgba": dog.convert("RGBA"),
        "grey": dog.convert("L"),
        "tiny": dog.resize((10, 10)),
        "huge": dog.resize((8000, 8000)),
    }
    (server.base / "input").mkdir(exist_ok=True)
    for name, picture in kinds.items():
        picture.save(server.base / "input" / f"{name}.png", compress_level=1)
    return {name: f"{name}.png" for name in kinds}


def way(picture: str, align: dict, **invert: object) -> dict:
    """Prompt from a picture to the pasted result, with a tuning instead of an adaptation."""
    options = {"optimize": True, "w_iterations": 2, "plus_iterations": 2, "smooth": 0.0, "seed": 0, "preview_every": 1}
    nodes = {
        "photo": ("LoadImage", {"image": picture}),
        "generator": ("LoadStyleGAN2", {"generator_name": "demo"}),
        "encoder": ("NADALoadEncoder", {"encoder_name": "demo"}),
        "align": ("NADAAlignPhoto", {"photo": ["photo", 0], **align}),
        "invert": (
            "NADAInvertPhoto",
            {"generator": ["generator", 0], "photo": ["align", 0], "encoder": ["encoder", 0], **options, **invert},
        ),
        "tune": (
            "NADATuneToPhoto",
            {
                "generator": ["generator", 0],
                "photo": ["align", 0],
                "latents": ["invert", 0],
                "iterations": 2,
                "learning_rate": 0.0,
                "rank": 4,
                "preview_every": 0,
            },
        ),
        "tuned": ("NADAApplyStyle", {"generator": ["generator", 0], "style": ["tune", 0], "strength": 1.0}),
        "image": ("GenerateImages", {"generator": ["tuned", 0], "latents": ["invert", 0], "noise": "const", "seed": 0}),
        "paste": (
            "NADAPasteBack",
            {
                "photo": ["photo", 0],
                "image": ["image", 0],
                "crops": ["align", 1],
                "region": "square",
                "feather": 0.1,
                "match_color": False,
            },
        ),
        "save": ("SaveImage", {"images": ["paste", 0], "filename_prefix": "photos"}),
    }
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def test_a_picture_goes_in_and_comes_out_pasted(server, pictures):
    result = server.result(server.queue(way(pictures["yard"], SQUARE)))
    assert result["status"]["status_str"] == "success", result["status"]
    assert all(server.pictures(result, node) for node in ("align", "invert", "tune"))
    (pasted,) = server.pictures(result, "save")
    with Image.open(server.base / "input" / pictures["yard"]) as photo:
        assert pasted.size == photo.size
        assert pasted.crop((0, 0, 20, 90)).tobytes() == photo.crop((0, 0, 20, 90)).tobytes()
        middle = [picture.convert("RGB").resize((30, 22)) for picture in (pasted, photo)]
        values = [torch.tensor(list(picture.getdata()), dtype=torch.float) for picture in middle]
        assert 0 < (values[0] - values[1]).abs().mean() < 12, "the dog is still the dog"


@pytest.mark.parametrize("kind", ["rgba", "grey", "tiny", "huge"])
def test_pictures_of_any_kind(server, pictures, kind):
    result = server.result(server.queue(way(pictures[kind], MIDDLE, optimize=False)))
    assert result["status"]["status_str"] == "success", result["status"]
    assert server.pictures(result, "save")


def test_two_hundred_frames(server):
    prompt = way("", MIDDLE, optimize=False, smooth=2.0)
    codes = {"generator": ["generator", 0], "seed": 3, "count": 200, "truncation_psi": 0.7}
    prompt["codes"] = {"class_type": "SampleLatents", "inputs": codes}
    frames = {"generator": ["generator", 0], "latents": ["codes", 0], "noise": "const", "seed": 0}
    prompt["photo"] = {"class_type": "GenerateImages", "inputs": frames}
    goal = {"partial_execution_targets": ["invert"]}
    result = server.result(server.queue(prompt, **goal))
    assert result["status"]["status_str"] == "success", result["status"]
    assert server.pictures(result, "invert")


def test_cancel_in_the_middle_of_a_projection_and_resume(server, pictures):
    aiohttp = pytest.importorskip("aiohttp")
    prompt = way(pictures["yard"], SQUARE, plus_iterations=200, seed=9)
    stored = server.base / "models" / "stylegan_runs"
    before = {*stored.glob("*.photo.safetensors")}

    async def watch() -> str:
        asked = False
        url = f"ws://{server.address}/ws?clientId=photos"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
            server.queue(prompt, "photos", partial_execution_targets=["invert"])
            async for message in connection:
                event = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {"type": "picture"}
                if event["type"] == "progress" and event["data"]["max"] == 200 and not asked:
                    asked = True
                    await asyncio.to_thread(server.bytes, "/interrupt", {})
                elif event["type"] in ("execution_interrupted", "execution_success", "execution_error"):
                    return event["type"]
        return "the connection ended"

    assert asyncio.run(asyncio.wait_for(watch(), RUN_LIMIT)) == "execution_interrupted"
    (state,) = {*stored.glob("*.photo.safetensors")} - before
    done = nada.load_photo_state(state).recipe["iterations_done"]
    assert 1 <= done < 200
    result = server.result(server.queue(prompt, partial_execution_targets=["invert"]))
    assert result["status"]["status_str"] == "success", result["status"]
    assert nada.load_photo_state(state).recipe["iterations_done"] == 200


def test_what_cannot_be_found_is_said(server, pictures):
    prompt = way(pictures["yard"], MIDDLE, optimize=False)
    del prompt["invert"]["inputs"]["encoder"]
    result = server.result(server.queue(prompt))
    assert result["status"]["status_str"] == "error"
    assert "there is no encoder; connect one" in json.dumps(result["status"])
