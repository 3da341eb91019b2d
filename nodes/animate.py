"""Nodes that make animated WebP files: before and after, and a walk through latent space."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..nada import EASINGS, UsageError, generate, interpolate_latents, sample_latents
from ..nada.generators import Generator
from ..nada.pictures.animation import paired, wipe
from ..nada.pictures.grids import tiles_of
from . import host
from .sample import check_latents, generation_bytes
from .sockets import ADVANCED, IMAGES, MAX_SEED, NADAGenerator, NADALatents, known_options

QUALITY, EFFORT = 85, 4  # WebP settings: quality 0-100, and effort of the compression 0-6
CHUNK = 8  # number of images that are in memory in full resolution
FPS = 1.0, 60.0  # least and most frames per second
FRAMES_HELP = "The frames as a batch, for Create Video and Save Video."


def _size_and_speed() -> list[io.Input]:
    return [
        io.Int.Input(
            "size",
            default=256,
            min=64,
            max=1024,
            step=64,
            tooltip="Longer side of each picture in pixels.",
        ),
        io.Float.Input(
            "fps", default=24.0, min=FPS[0], max=FPS[1], step=1.0, tooltip="Frames per second of the animated file."
        ),
        io.String.Input(
            "filename_prefix",
            default="stylegan-nada/animation",
            optional=True,
            tooltip="Beginning of the file name in ComfyUI's output folder. A number is added.",
            extra_dict=ADVANCED,
        ),
    ]


class NADABeforeAfterAnimation(io.ComfyNode):
    """Animate a line that wipes from before to after."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADABeforeAfterAnimation",
            display_name="Before and After Animation (StyleGAN)",
            category=IMAGES,
            description="Shows what an adaptation changed as a picture that moves: a line wipes from before to after "
            "and back, over the same latents. Saved as an animated WebP that plays in browsers and chats.",
            inputs=[
                NADAGenerator.Input("before", tooltip="The generator before: what went into NADA Text Adapt."),
                NADAGenerator.Input("after", tooltip="The generator after: what came out of NADA Text Adapt."),
                NADALatents.Input(
                    "latents", tooltip="Latent codes from Sample Latents, one per picture; 4 are enough."
                ),
                io.Int.Input(
                    "frames",
                    default=48,
                    min=2,
                    max=1000,
                    tooltip="Change this first: number of frames, there and back. 48 take two seconds.",
                ),
                *_size_and_speed(),
            ],
            outputs=[io.Image.Output("images", tooltip=FRAMES_HELP)],
            is_output_node=True,
            **known_options(search_aliases=["animated before after", "wipe", "webp", "gif", "comparison animation"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        before: Generator,
        after: Generator,
        latents: Tensor,
        frames: int,
        size: int,
        fps: float,
        filename_prefix: str = "stylegan-nada/animation",
    ) -> io.NodeOutput:
        _check(filename_prefix, fps)
        original, adapted = _pictures(before, latents, size), _pictures(after, latents, size)
        if original[0].size != adapted[0].size:
            raise UsageError("the generators make pictures of different shapes; give a generator and its adaptation")
        return _animation(cls, wipe(original, adapted, frames), fps, filename_prefix)


class NADALatentWalk(io.ComfyNode):
    """Animate a walk through latent space that ends where it began."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADALatentWalk",
            display_name="Latent Walk (StyleGAN)",
            category=IMAGES,
            description="Makes a walk from picture to picture that ends where it began, so that it plays in a loop. "
            "With a base, it shows the same walk before and after side by side. Saved as an animated WebP.",
            inputs=[
                NADAGenerator.Input("generator", tooltip="The generator to walk through, usually an adapted one."),
                NADAGenerator.Input(
                    "base", optional=True, tooltip="The generator before its adaptation, shown on the left."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Change this first: seed of the first picture. Picture i has seed + i.",
                ),
                io.Int.Input("stops", default=4, min=2, max=64, tooltip="Number of pictures that the walk passes."),
                io.Int.Input("frames", default=96, min=2, max=2000, tooltip="Number of frames. 96 take four seconds."),
                io.Float.Input(
                    "truncation_psi",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Variety of the pictures: 0.5 gives a calm walk, 1.0 full variety.",
                ),
                io.Combo.Input(
                    "easing",
                    options=[*EASINGS],
                    default="linear",
                    optional=True,
                    tooltip="linear: even speed. smooth: rests a moment at each picture.",
                    extra_dict=ADVANCED,
                ),
                *_size_and_speed(),
            ],
            outputs=[io.Image.Output("images", tooltip=FRAMES_HELP)],
            is_output_node=True,
            **known_options(search_aliases=["interpolation", "morph", "latent space walk", "loop", "webp", "gif"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        seed: int,
        stops: int,
        frames: int,
        truncation_psi: float,
        size: int,
        fps: float,
        base: Generator | None = None,
        easing: str = "linear",
        filename_prefix: str = "stylegan-nada/animation",
    ) -> io.NodeOutput:
        _check(filename_prefix, fps)
        models = [*filter(None, (base, generator))]
        if len({(model.config.image_size, model.num_ws) for model in models}) > 1:
            raise UsageError("the base makes pictures of another size; give the generator before its adaptation")
        walks = []
        for model in models:  # each maps the latents itself: its mapping may have been trained
            codes = sample_latents(model, stops, seed, truncation_psi)
            codes = interpolate_latents(codes, frames, loop=True, method="cubic", easing=easing)
            walks.append(_pictures(model, codes, size))
        return _animation(cls, walks[0] if base is None else paired(*walks), fps, filename_prefix)


def _check(prefix: str, fps: float) -> None:
    """Check what the file depends on, before the frames are made; ComfyUI's own check lets NaN pass."""
    host.check_prefix(prefix)
    if not FPS[0] <= fps <= FPS[1]:
        raise UsageError(f"fps is {fps}; it must be in {FPS[0]:g}..{FPS[1]:g}")


def _pictures(generator: Generator, codes: Tensor, size: int) -> list[Image.Image]:
    """Return the image of each code as a picture; its longer side is `size`.

    Images are made and reduced in chunks, since a walk of hundreds of frames in full resolution takes gigabytes.
    """
    check_latents(generator, codes)
    progress = host.Progress(len(codes))
    progress.add()
    with host.on_device(generator, needs=generation_bytes(generator)):
        chunks = (generate(generator, part, progress=progress.add) for part in codes.split(CHUNK))
        return [picture for images in chunks for picture in tiles_of(images, size)]


def _animation(cls: type[io.ComfyNode], pictures: list[Image.Image], fps: float, prefix: str) -> io.NodeOutput:
    """Return the frames for other nodes, and save them as the file that the node shows."""
    images = torch.cat([host.picture_to_image(picture) for picture in pictures])
    shown = ui.ImageSaveHelper.get_save_animated_webp_ui(
        images, prefix, cls=cls, fps=fps, lossless=False, quality=QUALITY, method=EFFORT
    )
    return io.NodeOutput(images, ui=shown)
