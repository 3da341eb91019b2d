"""Face landmarks of a real ComfyUI (COMFYUI_PATH, 0.23 and later), found by its own nodes, in Align Photo."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.comfyui_server import HOME
from PIL import Image
from safetensors.torch import save_file

PORT = Path(HOME or "") / "comfy_extras" / "mediapipe" / "face_landmarker.py"
pytestmark = pytest.mark.skipif(not HOME or not PORT.is_file(), reason="COMFYUI_PATH names no ComfyUI with MediaPipe")

SIZE = (160, 120)  # width and height of the photo
EYES, MOUTH = ((70.0, 50.0), (96.0, 53.0)), ((72.0, 78.0), (92.0, 80.0))
LEFT_EYE, RIGHT_EYE = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)  # MediaPipe's face mesh
CORNERS = (61, 291)
MESH, MESH_SIDE, ROI = 478, 192, 1.5  # points; their square in px; its side as a multiple of the detected box
BOX = 10.0  # side of the box, as a multiple of the photo's: it covers all anchors, so that they count as one face
SURE, ABSENT = 10.0, -100.0  # logits of a detection


@pytest.fixture(scope="module")
def port() -> ModuleType:
    """ComfyUI's networks."""
    spec = importlib.util.spec_from_file_location("face_landmarker_of_comfyui", PORT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def landmarks() -> np.ndarray:
    """Points [478, 2] in pixels of the photo: eyes and corners of the mouth as above, everything else around them."""
    places = np.random.default_rng(0).uniform((50, 30), (110, 100), (MESH, 2))
    for (x, y), ring in zip(EYES, (LEFT_EYE, RIGHT_EYE), strict=True):
        angle = np.arange(len(ring)) * np.pi / 3
        places[list(ring)] = np.stack([x + 8 * np.cos(angle), y + 4 * np.sin(angle)], axis=1)
    places[list(CORNERS)] = MOUTH
    return places


def detector_file(port: ModuleType) -> dict[str, torch.Tensor]:
    """Weights with which ComfyUI's networks find one face with these landmarks in every picture: only biases count."""
    tensors = {}
    for variant in ("short", "full"):
        network = port.FaceLandmarker(detector_variant=variant).state_dict()
        for name, tensor in network.items():
            tensors[name.replace("detector.", f"detector_{variant}.", 1)] = torch.zeros_like(tensor)
    tensors["detector_short.cls_16.bias"].fill_(SURE)
    tensors["detector_short.cls_8.bias"].fill_(ABSENT)
    box = torch.zeros(16)
    box[2:4], box[4], box[6] = BOX, -0.2, 0.2  # width and height; x of the left and of the right eye
    tensors["detector_short.reg_16.bias"].copy_(box.repeat(2) * 128)
    places = torch.from_numpy(landmarks()).float()
    canonical = torch.rand(MESH, 3, generator=torch.Generator().manual_seed(0))
    canonical[:, :2] = (places - torch.tensor(SIZE) / 2) / (ROI * BOX * max(SIZE)) * MESH_SIDE + MESH_SIDE / 2
    tensors["mesh.head_landmarks.bias"].copy_(canonical.flatten())
    tensors["canonical_vertices"] = canonical * torch.tensor([1.0, -1.0, -1.0])
    tensors["procrustes_indices"] = torch.arange(MESH, dtype=torch.int32)
    tensors["procrustes_weights"] = torch.ones(MESH)
    ring = torch.tensor([[61, 291], [291, 33], [33, 61]], dtype=torch.int32)
    parts = ("face_oval", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "lips", "irises", "nose")
    return tensors | {f"topology.{part}": ring.clone() for part in parts}


@pytest.fixture(scope="module")
def photo(server, port) -> str:
    """Name of a photo in ComfyUI's input folder; the detector is in its folder of models."""
    folders = {name: server.base / name for name in ("input", "models/detection")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    save_file(detector_file(port), folders["models/detection"] / "constant.safetensors")
    picture = Image.effect_noise((20, 15), 90).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
    picture.save(server.base / "input" / "noise.png")
    return "noise.png"


def prompt(server, photo: str, frames: int = 1, confidence: float = 0.5) -> dict:
    """Two ways to the same squares: landmarks from ComfyUI's own nodes, and the four points by hand."""
    (face, *_) = server.get("/object_info")["NADAAlignPhoto"]["input"]["required"]["find"][1]["options"]
    numbers = ", ".join(f"{number:g}" for point in (*EYES, *MOUTH) for number in point)
    align = {"photo": ["frames", 0], "size": 128}
    nodes = {
        "photo": ("LoadImage", {"image": photo}),
        "frames": ("RepeatImageBatch", {"image": ["photo", 0], "amount": frames}),
        "model": ("LoadMediaPipeFaceLandmarker", {"model_name": "constant.safetensors"}),
        "detect": (
            "MediaPipeFaceLandmarker",
            {
                "face_detection_model": ["model", 0],
                "image": ["frames", 0],
                "detector_variant": "short",
                "num_faces": 1,
                "min_confidence": confidence,
                "missing_frame_fallback": "empty",
            },
        ),
        "found": ("NADAAlignPhoto", {**align, "find": face, "face_landmarks": ["detect", 0]}),
        "given": ("NADAAlignPhoto", {**align, "find": "four points by hand", "place": numbers}),
    }
    for name in ("found", "given"):
        nodes[f"save {name}"] = ("SaveImage", {"images": [name, 0], "filename_prefix": name})
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def test_landmarks_of_comfyui_place_the_squares(server, photo):
    result = server.result(server.queue(prompt(server, photo, frames=2)))
    assert result["status"]["status_str"] == "success", result["status"]
    found, given = (server.pictures(result, f"save {name}") for name in ("found", "given"))
    assert len(found) == len(given) == 2
    for one, other in zip(found, given, strict=True):
        difference = np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))
        assert difference.max() <= 2
        assert np.asarray(one).std() > 5, "it shows something"
    assert [path.name for path in (server.base / "models" / "detection").iterdir()] == ["constant.safetensors"]


def test_a_photo_without_a_face_gets_a_sentence(server, photo):
    result = server.result(server.queue(prompt(server, photo, confidence=1.0)))
    assert result["status"]["status_str"] == "error"
    assert "no face was found in this photo of 160 x 120 pixels" in json.dumps(result["status"])
