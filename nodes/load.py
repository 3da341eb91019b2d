"""Nodes that load generators and CLIP models, and that save generators."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from comfy_api.latest import io, ui

from ..nada import (
    EMBEDDED,
    PUBLISHED,
    Published,
    UsageError,
    download,
    file_stamp,
    load_clip,
    load_generator,
    save_generator,
)
from ..nada.clip.loading import local_weights
from ..nada.generators import Generator
from . import host
from .downloads import published_choices
from .sockets import ADVANCED, LOADING, SAVING, NADAClip, NADAGenerator, known_options

DEMO, CUSTOM = "demo", "custom"
DOWNLOAD = "download a published model..."
DOWNLOADS = published_choices()
FIRST_DOWNLOAD = next(iter(DOWNLOADS))
FORMER_DOWNLOADS = {f"(download) {model.label}": model for model in PUBLISHED}  # entries of earlier versions
CLIP_PRESETS = {
    DEMO: "demo",
    "ViT-B/32 + ViT-B/16 (OpenAI, downloads 1.2 GB on first use)": "ViT-B/32,ViT-B/16",
    "ViT-B/32 (OpenAI, downloads 600 MB on first use)": "ViT-B/32",
}
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin")


class LoadStyleGAN2(io.ComfyNode):
    """Load a generator from a file, a download or the demo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadStyleGAN2",
            display_name="Load StyleGAN2",
            category=LOADING,
            description="Loads a StyleGAN2 generator: from models/stylegan, from output/stylegan (where Save "
            "StyleGAN2 writes), as a download, or a small demo that comes with the pack. Files are read without "
            "executing anything in them.",
            inputs=[
                io.Combo.Input(
                    "generator_name",
                    options=[*host.files(host.GENERATORS), *EMBEDDED, DOWNLOAD],
                    default=DEMO,
                    tooltip="Change this first. Files in models/stylegan and output/stylegan come first: .safetensors "
                    "of this pack, rosinality .pt, NVIDIA StyleGAN2 .pkl (PyTorch and TensorFlow), e4e .pt. After "
                    "adding a file, press R. 'demo' draws dogs and 'demo-person' people, at 128 px and without a "
                    "download. The last entry opens a list of published models.",
                ),
                io.Combo.Input(
                    "download",
                    options=[*DOWNLOADS],
                    default=FIRST_DOWNLOAD,
                    optional=True,
                    tooltip="Published model, only for the last entry of generator_name: what it makes, its name, size "
                    "and license. It is downloaded into models/stylegan when it first runs.",
                ),
            ],
            outputs=[
                NADAGenerator.Output(
                    "generator",
                    tooltip="The generator, for NADA Text Adapt, Sample Latents and Generate Images.",
                )
            ],
            **known_options(search_aliases=["stylegan", "stylegan2-ada", "gan loader", "pkl", "rosinality", "ffhq"]),
        )

    @classmethod
    def validate_inputs(cls, generator_name: str | None = None) -> bool | str:
        # None: it comes through a link. Prompts of earlier versions name downloads here.
        known = (None, *EMBEDDED, DOWNLOAD, *FORMER_DOWNLOADS)
        if generator_name in known or generator_name in host.files(host.GENERATORS):
            return True
        return f"there is no generator {generator_name!r} in models/{host.GENERATORS}; put it there, or choose another"

    @classmethod
    def fingerprint_inputs(cls, generator_name: str | None, download: str | None = FIRST_DOWNLOAD) -> str:
        if model := _chosen_download(generator_name, download):
            return model.name  # not the file's stamp: the download must not make the next run another one
        return host.file_key(host.GENERATORS, generator_name, *EMBEDDED, DOWNLOAD)

    @classmethod
    @host.explained
    def execute(cls, generator_name: str, download: str = FIRST_DOWNLOAD) -> io.NodeOutput:
        path, remarks = _generator_source(generator_name, download)
        generator = load_generator(path, host.cache_folder())
        parameters = sum(p.numel() for p in generator.parameters())
        facts = [f"{generator.config.resolution} px", f"{parameters / 1e6:.1f} M parameters"]
        host.say(" | ".join([*facts, *remarks, *generator.metadata.get("notes", [])]))
        return io.NodeOutput(generator)


def _chosen_download(name: str | None, entry: str | None) -> Published | None:
    """Return the published model that the two widgets name, or None if they name none."""
    return DOWNLOADS.get(entry or "") if name == DOWNLOAD else FORMER_DOWNLOADS.get(name or "")


def _generator_source(name: str, entry: str) -> tuple[str, list[str]]:
    """Return what `nada.load_generator` takes for the two widgets, downloaded if needed, and remarks for the user."""
    if name in EMBEDDED:
        return name, []
    model = _chosen_download(name, entry)
    if model is None:
        return host.file_path(host.GENERATORS, name), []
    return fetched(model)


def fetched(model: Published) -> tuple[str, list[str]]:
    """Return the path of a published model in models/stylegan, downloaded if needed, and remarks for the user."""
    if (path := host.download_folder() / model.file).is_file():
        return str(path), []
    host.say(f"downloading {model.name}, {model.megabytes} MB; license: {model.license}")
    path, remarks = download(model, host.download_folder(), _progress(f"downloading {model.name}"))
    return str(path), remarks


def _progress(what: str) -> Callable[[int, int], None]:
    """Return a callback that shows downloads on the node, one after another."""
    bar: host.Progress | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None or bar.total != total:
            bar = host.Progress(total)
        bar.update(done)
        if bar.text_is_due():
            host.say(f"{what}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

    return show


class NADALoadCLIP(io.ComfyNode):
    """Load the CLIP models that guide a training, one or several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADALoadCLIP",
            display_name="Load CLIP for NADA (StyleGAN)",
            category=LOADING,
            description="Loads the CLIP models that compare images with texts while a generator is adapted. These are "
            "whole CLIP models (text and image), not the text encoders of Stable Diffusion.",
            inputs=[
                io.Combo.Input(
                    "clip_name",
                    options=[*CLIP_PRESETS, *host.clip_folders(), CUSTOM],
                    default=DEMO,
                    tooltip="Change this together with the generator: 'demo' knows only the demo's drawings. For real "
                    "photos take ViT-B/32 + ViT-B/16, the pair of the paper; both are downloaded when first used. "
                    "Folders in models/open_clip with an open_clip_config.json and weights are listed too.",
                ),
                io.String.Input(
                    "custom",
                    default="",
                    optional=True,
                    tooltip="Only for 'custom': names of open_clip models with weights, such as "
                    "ViT-B/32:1,ViT-L/14:0.5 or ViT-B-32@laion2b_s34b_b79k. ARCHITECTURE@FILE and folder names refer "
                    "to models/open_clip.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[NADAClip.Output("clip", tooltip="The CLIP models with their weights, for NADA Text Adapt.")],
            **known_options(search_aliases=["open_clip", "openai clip", "clip loader", "vit-b/32", "nada clip"]),
        )

    @classmethod
    def fingerprint_inputs(cls, clip_name: str | None, custom: str | None = "") -> list[str]:
        if clip_name is None or custom is None:  # comes through a link, whose own node decides
            return []
        spec = clip_spec(clip_name, custom)
        return [spec, *map(file_stamp, local_weights(spec))]

    @classmethod
    @host.explained
    def execute(cls, clip_name: str, custom: str = "") -> io.NodeOutput:
        spec = clip_spec(clip_name, custom)
        clip = load_clip(spec, folder=host.download_folder(host.CLIPS), progress=_progress("downloading CLIP"))
        host.say(" + ".join(f"{model['name']} x {model['weight']:g}" for model in clip.describe()))
        return io.NodeOutput(clip)


def clip_spec(name: str, custom: str = "") -> str:
    """Return the specification for `nada.load_clip` that an entry of the list stands for.

    Workflows come from strangers, so no path may leave models/open_clip.

    Raises:
        UsageError: a part of a custom specification is a path outside models/open_clip, or there is none.
    """
    if name in CLIP_PRESETS:
        return CLIP_PRESETS[name]
    entries = custom.split(",") if name == CUSTOM else [name]
    if not any(entry.strip() for entry in entries):
        raise UsageError("custom is empty; write a model such as ViT-B/32, or choose an entry of clip_name")
    found = [_with_path(entry.strip()) for entry in entries]
    if len(found) > 1 and (split := [path for path in found if "," in path]):
        raise UsageError(f"{split[0]!r} has a comma, which separates models; only a single model may have one")
    return ",".join(found)


def _with_path(entry: str) -> str:
    """Return an entry with the path of the file or folder that it names in models/open_clip, or unchanged."""
    if not entry.isprintable():
        raise UsageError(f"custom has the entry {entry[:80]!r}; write the models on one line, separated by commas")
    weighted = re.search(r":[-+.\deE]+$", entry)
    weight = weighted[0] if weighted else ""
    body = entry.removesuffix(weight)
    name, at, tail = body.partition("@")
    wanted = tail if at else name
    if found := host.clip_path(wanted) if wanted else None:
        return (f"{name}@{found}" if at else found) + weight
    looks_like_a_path = re.search(r"^[/\\~]|^\w:|\.\.|\\", wanted) or body.lower().endswith(WEIGHT_FILES)
    if looks_like_a_path or os.path.isdir(body) or os.path.isfile(tail):
        raise UsageError(f"{wanted!r} is not in models/open_clip; put the CLIP file or folder there")
    return entry


class NADASaveGenerator(io.ComfyNode):
    """Save a generator to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADASaveGenerator",
            display_name="Save StyleGAN2",
            category=SAVING,
            description="Saves a generator as .safetensors in output/stylegan, with the recipe of its adaptation. "
            "Load StyleGAN2 lists it.",
            inputs=[
                NADAGenerator.Input("generator", tooltip="The generator to save, usually from NADA Text Adapt."),
                io.String.Input(
                    "filename_prefix",
                    default="adapted",
                    tooltip="Change this first: beginning of the file name, such as 'sketch' or "
                    "'dogs/sketch_%year%-%month%-%day%'. A number is added, so nothing is overwritten.",
                ),
            ],
            outputs=[],
            is_output_node=True,
            **known_options(search_aliases=["save stylegan", "export generator", "safetensors", "save model"]),
        )

    @classmethod
    @host.explained
    def execute(cls, generator: Generator, filename_prefix: str) -> io.NodeOutput:
        path = host.next_save_path(filename_prefix)
        save_generator(generator, path, new=True)
        text = host.saved(path)
        host.say(text)
        return io.NodeOutput(ui=ui.PreviewText(text))
