"""Kinds of nodes: the pack's own, from their schemas, and ComfyUI's, as far as the workflows use them."""

from __future__ import annotations

import asyncio
import importlib
import sys
import tempfile
from pathlib import Path

from graph import CORE, NOTE, Kind, Socket

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers import stub_comfyui  # noqa: E402  the tests' stand-in for ComfyUI, so that none is needed


def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    return {kind.name: kind for kind in (*pack_kinds(), *CORE_KINDS)}


def pack_kinds() -> list[Kind]:
    """The kinds of the pack's own nodes."""
    return [_from_schema(schema) for schema in schemas()]


def schemas() -> list[stub_comfyui.Schema]:
    """Schemas of the pack's nodes, on a machine without models."""
    with tempfile.TemporaryDirectory() as folder:
        modules = stub_comfyui.modules(stub_comfyui.Host(Path(folder)))
        before = {name: sys.modules.get(name) for name in modules}
        sys.modules |= modules
        try:
            stub_comfyui.load_pack()
            nodes = importlib.import_module(f"{stub_comfyui.PACK}.nodes")
            found = asyncio.run(nodes.NADAExtension().get_node_list())
            return [node.define_schema() for node in found]
        finally:
            stub_comfyui.forget_pack()
            for name, module in before.items():
                sys.modules.pop(name) if module is None else sys.modules.update({name: module})


def _from_schema(schema: stub_comfyui.Schema) -> Kind:
    inputs = map(_from_input, schema.inputs)
    outputs = tuple(Socket(socket.id, socket.type) for socket in schema.outputs)
    return Kind(schema.node_id, tuple(sorted(inputs, key=lambda socket: socket.optional)), outputs)


def _from_input(socket: stub_comfyui.Socket) -> Socket:
    entries = socket.options["options"] if socket.is_dynamic else ()
    choices = () if socket.is_dynamic else tuple(socket.options.get("options", ()))
    return Socket(
        socket.id,
        socket.type,
        socket.options.get("default"),
        bool(socket.options.get("optional")),
        bool(socket.options.get("control_after_generate")),
        bool(socket.options.get("extra_dict", {}).get("advanced")),
        {entry.key: tuple(map(_from_input, entry.inputs)) for entry in entries},
        choices,
    )


def _core(name: str, inputs: list[Socket], *outputs: str) -> Kind:
    """A kind of ComfyUI's own; outputs are named by their types."""
    return Kind(name, tuple(inputs), tuple(Socket(kind, kind) for kind in outputs), CORE)


def _image(name: str = "image") -> Socket:
    return Socket(name, "IMAGE")


METHOD = Socket("upscale_method", "COMBO", "lanczos")
CORE_KINDS = (
    _core(NOTE, [Socket("text", "STRING")]),
    _core("LoadImage", [Socket("image", "COMBO", "example.png")], "IMAGE", "MASK"),
    _core("SaveImage", [_image("images"), Socket("filename_prefix", "STRING")]),
    _core(
        "ImageStitch",
        [
            _image("image1"),
            Socket("direction", "COMBO", "right"),
            Socket("match_image_size", "BOOLEAN", True),
            Socket("spacing_width", "INT", 4),
            Socket("spacing_color", "COMBO", "white"),
            Socket("image2", "IMAGE", optional=True),
        ],
        "IMAGE",
    ),
    _core("PreviewImage", [_image("images")]),
    _core("Canny", [_image(), Socket("low_threshold", "FLOAT", 0.4), Socket("high_threshold", "FLOAT", 0.8)], "IMAGE"),
    _core("ImageInvert", [_image()], "IMAGE"),
    _core("ImageScaleBy", [_image(), METHOD, Socket("scale_by", "FLOAT", 4)], "IMAGE"),
    _core(
        "ImageScale",
        [
            _image(),
            METHOD,
            Socket("width", "INT", 512),
            Socket("height", "INT", 512),
            Socket("crop", "COMBO", "disabled"),
        ],
        "IMAGE",
    ),
    _core(
        "CreateVideo", [_image("images"), Socket("fps", "FLOAT", 24), Socket("audio", "AUDIO", optional=True)], "VIDEO"
    ),
    _core(
        "SaveVideo",
        [
            Socket("video", "VIDEO"),
            Socket("filename_prefix", "STRING"),
            Socket("format", "COMBO", "auto"),
            Socket("codec", "COMBO", "auto"),
        ],
    ),
    _core(
        "SaveWEBM",
        [
            _image("images"),
            Socket("filename_prefix", "STRING"),
            Socket("codec", "COMBO", "vp9"),
            Socket("fps", "FLOAT", 24),
            Socket("crf", "FLOAT", 32),
        ],
    ),
    _core("CheckpointLoaderSimple", [Socket("ckpt_name", "COMBO")], "MODEL", "CLIP", "VAE"),
    _core("CLIPTextEncode", [Socket("clip", "CLIP"), Socket("text", "STRING")], "CONDITIONING"),
    _core("VAEEncode", [Socket("pixels", "IMAGE"), Socket("vae", "VAE")], "LATENT"),
    _core("VAEDecode", [Socket("samples", "LATENT"), Socket("vae", "VAE")], "IMAGE"),
    _core(
        "KSampler",
        [
            Socket("model", "MODEL"),
            Socket("positive", "CONDITIONING"),
            Socket("negative", "CONDITIONING"),
            Socket("latent_image", "LATENT"),
            Socket("seed", "INT", 0, control=True),
            Socket("steps", "INT", 20),
            Socket("cfg", "FLOAT", 7),
            Socket("sampler_name", "COMBO", "dpmpp_2m"),
            Socket("scheduler", "COMBO", "karras"),
            Socket("denoise", "FLOAT", 0.4),
        ],
        "LATENT",
    ),
)
