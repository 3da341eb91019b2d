"""Every template in a real ComfyUI on the CPU (COMFYUI_PATH): converted like `comfy run` does, checked, and run."""

from __future__ import annotations

import copy
import io
import shutil
from pathlib import Path

import pytest
import torch
from helpers.checkpoint_files import rosinality_checkpoint, torch_bytes
from helpers.comfyui_server import CHOICE, HOME, TEMPLATES, WIDGETS, all_inputs, to_prompt
from PIL import Image

from nada.published.catalog import find_published
from nada.stylegan2 import Generator, GeneratorConfig

PUBLISHED = {"sketch": "ffhq-1024", "pixar": "ffhq-1024", "dog_to_pig": "afhqdog-512", "photo_to_sketch": "ffhq-1024"}
SAVED = {"dog_to_pig": [], "photo_to_sketch": [64]}  # heights of saved pictures: the photo's own, otherwise 1024
CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64, 32)  # channels of config-f, from 4 px up
SHOWING = {"NADATextAdapt", "NADAImageAdapt", "NADACompareGrid", "NADALatentWalk", "NADAInvertPhoto"}
SHOWING |= {"PreviewImage", "SaveImage"}
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
TINY = "tiny"  # a CLIP of random weights
TRAINING = {"iterations": 2, "batch": 1, "preview_every": 0, "preview_images": 1}
SHORT = {
    "NADATextAdapt": TRAINING,
    "NADAImageAdapt": TRAINING,
    "NADATrainingOptions": {"select_batch": 1},
    "NADATrainMapper": {"iterations": 2, "batch": 1, "preview_every": 0, "preview_images": 1},
    "SampleLatents": {"count": 2},
    "NADAInvertPhoto": {"w_iterations": 1, "plus_iterations": 2, "preview_every": 0},
    "NADALatentWalk": {"frames": 4, "stops": 2, "size": 64},
    "NADABeforeAfterAnimation": {"frames": 4, "size": 64},
}
# One step is enough where each takes seconds.
SHORTEST = copy.deepcopy(SHORT)
SHORTEST["NADATextAdapt"] = {**TRAINING, "iterations": 1, "layers": "all"}
SHORTEST["NADATrainMapper"] |= {"iterations": 1}
SHORTEST["SampleLatents"] |= {"count": 1}
SHORTEST["NADAPickSnapshot"] = {"rows": 1}
SHORTEST["NADALoadCLIP"] = {"clip_name": TINY}
SHORTEST["NADAAlignPhoto"] = {"find": "middle"}

pytestmark = pytest.mark.skipif(not HOME, reason="COMFYUI_PATH does not name a checkout of ComfyUI")


@pytest.fixture(scope="module")
def models(server, clip_folder) -> Path:
    """ComfyUI's models folder, with files of random weights that the templates need."""
    folder = server.base / "models"
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / CHECKPOINT).touch()
    (server.base / "input").mkdir(exist_ok=True)
    Image.effect_noise((96, 64), 60).convert("RGB").save(
        server.base / "input" / "example.png"
    )  # as in ComfyUI's own folder
    shutil.copytree(clip_folder, folder / "open_clip" / TINY)
    return folder


def put_generator(models: Path, name: str) -> None:
    """A file with the tensors of a published one, in the place of its download."""
    model = find_published(name)
    path = models / "stylegan" / model.file
    if not path.exists():
        torch.manual_seed(0)
        channels = CHANNELS[: model.resolution.bit_length() - 2]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(torch_bytes(rosinality_checkpoint(Generator(GeneratorConfig(model.resolution, channels)))))


@pytest.fixture(scope="module")
def offered(server, models) -> dict:
    """The server's nodes with their inputs and choices."""
    return server.get("/object_info")


def prompt_of(server, offered: dict, name: str, changes: dict[str, dict]) -> dict:
    """A template as a prompt, with other values in nodes of some types."""
    prompt = to_prompt(server.template(name), offered)
    for node in prompt.values():
        node["inputs"] |= changes.get(node["class_type"], {})
    return prompt


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_is_valid(server, offered, name):
    prompt = prompt_of(server, offered, name, {})
    for node in prompt.values():
        kind, inputs = node["class_type"], dict(node["inputs"])
        groups = offered[kind]["input"]
        assert groups.get("required", {}).keys() <= inputs.keys(), f"{kind} lacks an input"
        for key, spec in all_inputs(groups).items():
            if key in inputs:
                check(f"{kind}.{key}", inputs.pop(key), spec, prompt, offered)
        assert all("." in key for key in inputs), f"{kind} has no input {', '.join(inputs)}"


def check(what: str, value: object, spec: list, prompt: dict, offered: dict) -> None:
    """Make a value that the server accepts for an input."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    if isinstance(value, list):
        source, slot = value
        assert offered[prompt[source]["class_type"]]["output"][slot] == kind, what
    elif choices is not None:
        assert value in choices, f"{what} is {value}"
    elif kind == CHOICE:
        assert value in [option["key"] for option in options["options"]], f"{what} is {value}"
    else:
        assert kind in WIDGETS, f"{what} needs a link"
        assert isinstance(value, {"STRING": str, "BOOLEAN": bool, "INT": int, "FLOAT": (int, float)}[kind]), what
        if kind in ("INT", "FLOAT"):
            assert options["min"] <= value <= options["max"], f"{what} is {value}"


def run(server, prompt: dict, **options: object) -> dict:
    result = server.result(server.queue(prompt, **options))
    assert result["status"]["status_str"] == "success", result["status"]
    return result


def saved(server, prompt: dict, result: dict) -> list[Image.Image]:
    """Load the pictures that all saving nodes have saved; none may have a single color."""
    nodes = [name for name, node in prompt.items() if node["class_type"] == "SaveImage" and name in result["outputs"]]
    pictures = [picture for node in nodes for picture in server.pictures(result, node)]
    assert all(any(low < high for low, high in picture.getextrema()) for picture in pictures)
    return pictures


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - PUBLISHED.keys() - {"chain_into_img2img"}))
def test_runs_without_a_download(server, offered, name):
    prompt = prompt_of(server, offered, name, SHORT)
    result = run(server, prompt)
    saved(server, prompt, result)
    shown = {key for key in prompt if result["outputs"].get(key, {}).get("images")}
    showing = {key for key, node in prompt.items() if node["class_type"] in SHOWING}
    assert showing <= shown, {prompt[key]["class_type"] for key in showing - shown}
    assert len(showing) > 1, "a training, and its results"


def test_walks_into_a_video_and_moving_pictures(server, offered):
    prompt = prompt_of(server, offered, "latent_walk_video", SHORT)
    run(server, prompt)
    folder = server.base / "output" / "stylegan-nada"
    (video,) = sorted(folder.glob("latent_walk_video*.mp4"))[-1:]
    assert video.stat().st_size > 1000
    for kind in ("walk", "wipe"):
        with Image.open(sorted(folder.glob(f"latent_walk_video_{kind}*.webp"))[-1]) as moving:
            assert moving.n_frames == 4


def test_frames_go_in_and_a_video_of_as_many_comes_out(server, offered):
    av = pytest.importorskip("av")
    prompt = prompt_of(server, offered, "photo_video", SHORT)
    result = run(server, prompt)
    walk, film = (
        next(key for key, node in prompt.items() if node["class_type"] == kind)
        for kind in ("NADALatentWalk", "SaveWEBM")
    )
    with av.open(io.BytesIO(server.files(result, film)[0])) as video:
        frames = [frame.to_image() for frame in video.decode(video=0)]
    with Image.open(io.BytesIO(server.files(result, walk)[0])) as moving:
        assert moving.n_frames == len(frames) == 4
        assert {frame.size for frame in frames} == {moving.size}
    assert frames[0].tobytes() != frames[2].tobytes(), "it moves"


def test_goes_as_far_as_the_checkpoint(server, offered):
    """The checkpoint here is empty, so the nodes after it do not run."""
    prompt = prompt_of(server, offered, "chain_into_img2img", SHORT)
    goal = next(k for k, n in prompt.items() if n["inputs"].get("filename_prefix", "").endswith("_in"))
    result = run(server, prompt, partial_execution_targets=[goal])
    assert [picture.size for picture in saved(server, prompt, result)] == [(512, 512)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_runs_with_a_generator_of_the_published_shape(server, offered, models, name):
    put_generator(models, PUBLISHED[name])
    prompt = prompt_of(server, offered, name, SHORTEST)
    for node in prompt.values():
        node["inputs"].pop("encoder", None)  # a file of random weights would have 0.8 GB
    prompt = {key: node for key, node in prompt.items() if node["class_type"] != "NADALoadEncoder"}
    result = run(server, prompt)
    pictures = saved(server, prompt, result)
    assert [picture.height for picture in pictures] == SAVED.get(name, [1024])
