"""Nodes that load, mix, interpolate and edit latent codes."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..nada import (
    EASINGS,
    METHODS,
    UsageError,
    blend_latents,
    edit_latents,
    interpolate_latents,
    latents_remark,
    load_direction,
    load_latents,
    principal_directions,
)
from ..nada.generators import Generator
from ..nada.photo.codes import has_fitted_noise
from . import host
from .sockets import ADVANCED, LATENTS, LOADING, NADAGenerator, NADALatents, known_options

PRINCIPAL = "principal direction"
NO_FILES = f"(no codes yet: put a file into models/{host.CODES})"
LATENTS_HELP = "Latent codes, from Sample Latents."


def _share(name: str, what: str) -> io.Input:
    return io.Float.Input(
        name, default=0.0, min=0.0, max=1.0, step=0.05, tooltip=f"Share of the second in {what}, from 0 to 1."
    )


class NADALoadLatents(io.ComfyNode):
    """Load latent codes from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = host.files(host.CODES) or [NO_FILES]
        return io.Schema(
            node_id="NADALoadLatents",
            display_name="Load Latents (StyleGAN)",
            category=LOADING,
            description="Loads latent codes that another program found, such as those of a photo: NVIDIA's projector, "
            "e4e, pSp, PTI and others. Files are read without executing anything in them.",
            inputs=[
                NADAGenerator.Input(
                    "generator", tooltip="The generator that the codes belong to. Its adaptations take them too."
                ),
                io.Combo.Input(
                    "latents_name",
                    options=files,
                    default=files[0],
                    tooltip="Change this first: files in models/stylegan_latents (.npz, .npy, .pt, .safetensors). "
                    "After adding one, press R.",
                ),
            ],
            outputs=[NADALatents.Output("latents", tooltip="All codes of the file, for Generate Images.")],
            **known_options(search_aliases=["projected_w", "npz", "w plus", "inversion", "e4e", "pti", "load latent"]),
        )

    @classmethod
    def fingerprint_inputs(cls, latents_name: str | None, **_: object) -> str:
        return host.file_key(host.CODES, latents_name, NO_FILES)

    @classmethod
    @host.explained
    def execute(cls, generator: Generator, latents_name: str) -> io.NodeOutput:
        if latents_name == NO_FILES:
            raise UsageError(f"there is no file with codes yet; put one into models/{host.CODES} and press R")
        with host.normal_tensors():
            path = host.file_path(host.CODES, latents_name)
            latents, remark = load_latents(path, generator), latents_remark(path, generator)
        lost = "the fitted noise of the file is left out; nada generate uses it" if has_fitted_noise(path) else ""
        many = "codes for 1 picture" if len(latents) == 1 else f"codes for {len(latents)} pictures"
        host.say(" | ".join(filter(None, (many, lost, remark))))
        return io.NodeOutput(latents)


class NADAMixLatents(io.ComfyNode):
    """Mix two sets of codes in three bands of layers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAMixLatents",
            display_name="Mix Latents (StyleGAN)",
            category=LATENTS,
            description="Takes pose from one picture and features or colors from another: style mixing in three bands "
            "of layers.",
            inputs=[
                NADALatents.Input("first", tooltip="The codes to start from."),
                NADALatents.Input("second", tooltip="The codes to mix in: as many as in first, or one for all."),
                _share("coarse", "pose and shape (codes of 4-8 px)"),
                _share("middle", "features (codes of 16-32 px)"),
                io.Float.Input(
                    "fine",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Change this first: share of the second in colors and fine detail (codes from 64 px), "
                    "from 0 to 1.",
                ),
            ],
            outputs=[NADALatents.Output("latents", tooltip="The mixed codes, as many as in first.")],
            **known_options(search_aliases=["style mixing", "crossover", "blend latents"]),
        )

    @classmethod
    @host.explained
    def execute(cls, first: Tensor, second: Tensor, coarse: float, middle: float, fine: float) -> io.NodeOutput:
        if second.shape[1:] != first.shape[1:] or len(second) not in (1, len(first)):
            raise UsageError(
                f"the latents do not match: {list(first.shape)} and {list(second.shape)}. Sample both from the same "
                "generator, as many of the second as of the first, or one"
            )
        with host.normal_tensors():
            return io.NodeOutput(blend_latents(first, second.expand_as(first), coarse, middle, fine))


class NADAInterpolateLatents(io.ComfyNode):
    """Interpolate latent codes to the frames of a walk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAInterpolateLatents",
            display_name="Interpolate Latents (StyleGAN)",
            category=LATENTS,
            description="Makes a walk from code to code. Its images, one after another, are a video: use Generate "
            "Images, then Create Video.",
            inputs=[
                NADALatents.Input("latents", tooltip="The codes to pass, at least two."),
                io.Int.Input(
                    "frames",
                    default=120,
                    min=2,
                    max=10_000,
                    tooltip="Change this first: number of frames. 24 make a second of video.",
                ),
                io.Boolean.Input(
                    "loop", default=True, tooltip="Return to the first code, so that the video plays in a loop."
                ),
                io.Combo.Input(
                    "method",
                    options=[*METHODS],
                    default="cubic",
                    tooltip="cubic: one smooth curve. lerp: straight from code to code. slerp: along arcs.",
                    extra_dict=ADVANCED,
                    optional=True,
                ),
                io.Combo.Input(
                    "easing",
                    options=[*EASINGS],
                    default="linear",
                    tooltip="linear: even speed. smooth: rests a moment at each code.",
                    extra_dict=ADVANCED,
                    optional=True,
                ),
            ],
            outputs=[NADALatents.Output("latents", tooltip="One code per frame, for Generate Images.")],
            **known_options(search_aliases=["latent walk", "interpolation", "slerp", "morph", "video", "animation"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls, latents: Tensor, frames: int, loop: bool, method: str = "cubic", easing: str = "linear"
    ) -> io.NodeOutput:
        with host.normal_tensors():
            return io.NodeOutput(interpolate_latents(latents, frames, loop, method, easing))


class NADAEditLatents(io.ComfyNode):
    """Move latent codes along a direction."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAEditLatents",
            display_name="Edit Latents (StyleGAN)",
            category=LATENTS,
            description="Moves every picture along one direction: a principal direction of the generator, found in a "
            "second, or one from a file (age, smile, pose).",
            inputs=[
                NADAGenerator.Input(
                    "generator", tooltip="The generator of the directions. A base and its adaptations share them."
                ),
                NADALatents.Input("latents", tooltip=LATENTS_HELP),
                io.Combo.Input(
                    "direction",
                    options=[PRINCIPAL, *host.files(host.DIRECTIONS)],
                    default=PRINCIPAL,
                    tooltip="Principal direction, chosen by number below, or a file in models/stylegan_directions: "
                    ".npy, .npz, .pt or .safetensors of InterFaceGAN, GANSpace, e4e and others.",
                ),
                io.Float.Input(
                    "amount",
                    default=2.0,
                    min=-20.0,
                    max=20.0,
                    step=0.25,
                    tooltip="Change this first: length of the move, negative for the opposite; in standard deviations "
                    "for principal directions.",
                ),
                io.Int.Input(
                    "number",
                    default=0,
                    min=0,
                    max=511,
                    tooltip="Number of the principal direction, where 0 changes the most, or of the direction in a "
                    "file that has many.",
                ),
                io.Int.Input(
                    "first",
                    default=0,
                    min=0,
                    max=17,
                    optional=True,
                    tooltip="First code to change. 0-3 move pose and shape, 4-7 features, 8 and up colors.",
                    extra_dict=ADVANCED,
                ),
                io.Int.Input(
                    "last",
                    default=17,
                    min=0,
                    max=17,
                    optional=True,
                    tooltip="Last code to change.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[NADALatents.Output("latents", tooltip="The moved codes, for Generate Images.")],
            **known_options(search_aliases=["ganspace", "interfacegan", "sefa", "pca", "boundary", "semantic edit"]),
        )

    @classmethod
    def fingerprint_inputs(cls, direction: str | None, **others: Any) -> str:
        return host.file_key(host.DIRECTIONS, direction, PRINCIPAL)

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        latents: Tensor,
        direction: str,
        amount: float,
        number: int,
        first: int = 0,
        last: int = 17,
    ) -> io.NodeOutput:
        with host.normal_tensors():
            if direction == PRINCIPAL:
                found = principal_directions(generator, number + 1)
                step = found.vectors[number]
                host.say(f"direction {number} holds {100 * float(found.explained[number]):.1f} % of the variance")
            else:
                step = load_direction(host.file_path(host.DIRECTIONS, direction), number)
            return io.NodeOutput(edit_latents(latents, step, amount, first, last))
