"""Nodes that save, load and apply styles: adaptations as small files with a strength."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy_api.latest import io, ui

from ..nada import (
    Style,
    UsageError,
    apply_style,
    load_style,
    preview_of,
    preview_picture,
    save_style,
)
from ..nada.generators import Generator
from . import host
from .sample import image_bytes
from .sockets import ADVANCED, GENERATORS, LOADING, SAVING, NADAGenerator, NADAStyle, known_options

NO_FILES = "(no style yet: make one with Save Style)"
PRECISIONS = {"half": torch.float16, "full": torch.float32}


class NADALoadStyle(io.ComfyNode):
    """Load a style from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = host.files(host.STYLES) or [NO_FILES]
        return io.Schema(
            node_id="NADALoadStyle",
            display_name="Load Style (StyleGAN)",
            category=LOADING,
            description="Loads a style: an adaptation as a small file with a strength, like a LoRA for generators. "
            "Shows its picture, before above and after below, and how it was trained.",
            inputs=[
                io.Combo.Input(
                    "style_name",
                    options=files,
                    default=files[0],
                    tooltip="Change this first: files in models/stylegan_styles and output/stylegan_styles, where Save "
                    "Style writes, and snapshots of runs in models/stylegan_runs. After adding one, press R.",
                )
            ],
            outputs=[NADAStyle.Output("style", tooltip="The style, for Apply Style.")],
            **known_options(search_aliases=["stylegan lora", "nada style", "load style", "gan style file"]),
        )

    @classmethod
    def fingerprint_inputs(cls, style_name: str | None) -> str:
        return host.file_key(host.STYLES, style_name, NO_FILES)

    @classmethod
    @host.explained
    def execute(cls, style_name: str) -> io.NodeOutput:
        if style_name == NO_FILES:
            raise UsageError(
                "there is no style file yet; save one with Save Style, or put one into models/"
                f"{host.STYLES} and press R"
            )
        style = load_style(host.file_path(host.STYLES, style_name))
        host.say(describe(style))
        picture = preview_picture(style.preview) if style.preview else None
        return io.NodeOutput(style, ui=picture and ui.PreviewImage(host.picture_to_image(picture), cls=cls))


class NADASaveStyle(io.ComfyNode):
    """Save the changes of an adaptation to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADASaveStyle",
            display_name="Save Style (StyleGAN)",
            category=SAVING,
            description="Saves what an adaptation changed as a style in output/stylegan_styles. A style is smaller "
            "than the generator, has a strength, and mixes with other styles. Works for any two generators of which "
            "one was trained from the other.",
            inputs=[
                NADAGenerator.Input("base", tooltip="The generator before: what went into NADA Text Adapt."),
                NADAGenerator.Input("adapted", tooltip="The generator after: what came out of NADA Text Adapt."),
                io.String.Input(
                    "filename_prefix",
                    default="style",
                    tooltip="Change this first: beginning of the file name, such as 'sketch' or 'dogs/sketch'. A "
                    "number is added, so nothing is overwritten.",
                ),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=256,
                    optional=True,
                    tooltip="Rank at which large matrices are kept. 0 loses nothing; 16 makes the file of a 1024 px "
                    "generator about twenty times smaller and the style a little different.",
                    extra_dict=ADVANCED,
                ),
                io.Combo.Input(
                    "precision",
                    options=[*PRECISIONS],
                    default="half",
                    optional=True,
                    tooltip="Precision of the saved numbers. 'half' makes the file half as large, and no picture "
                    "changes visibly. 'full' is for exact work.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[NADAStyle.Output("style", tooltip="The style as it was saved, for Apply Style.")],
            is_output_node=True,
            **known_options(search_aliases=["save style", "extract style", "gan lora", "style diff", "export style"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls, base: Generator, adapted: Generator, filename_prefix: str, rank: int = 0, precision: str = "half"
    ) -> io.NodeOutput:
        path = host.next_save_path(filename_prefix, host.STYLES)
        # Before the pictures, because this raises if the generators do not belong together.
        fallback = Path(filename_prefix).name
        style = Style.between(base, adapted, rank or None, PRECISIONS[precision], fallback=fallback)
        with host.on_device(base, adapted, needs=2 * image_bytes(base)):
            style = style.with_preview(preview_of(base, adapted))
        save_style(style, path, new=True)
        text = f"saved {host.relative_to_output(path)} ({path.stat().st_size / 1e6:.2f} MB)"
        lost = f" | lost {100 * style.error:.2g} % of the change" if rank else ""
        host.say(f"{text}{lost} | {describe(style)}")
        image = host.picture_to_image(preview_picture(style.preview))
        return io.NodeOutput(style, ui=ui.PreviewImage(image, cls=cls))


class NADAApplyStyle(io.ComfyNode):
    """Apply a style to a generator."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAApplyStyle",
            display_name="Apply Style (StyleGAN)",
            category=GENERATORS,
            description="Adds a style to a generator, with a strength. Put several in a row to mix styles. The given "
            "generator is not changed.",
            inputs=[
                NADAGenerator.Input(
                    "generator",
                    tooltip="The generator that the style was trained from, or another of the same shape; check there "
                    "that the style does the same.",
                ),
                NADAStyle.Input("style", tooltip="The style, from Load Style or Save Style."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-1.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Change this first. 0 is the generator itself, 1 the whole adaptation, 0.5 half of it, 1.3 "
                    "more than was trained, and below 0 the opposite.",
                ),
                _band("coarse", "4-8 px: pose, proportions, overall shape"),
                _band("middle", "16-32 px: features, outlines"),
                _band("fine", "64 px and up: color, texture, strokes"),
            ],
            outputs=[
                NADAGenerator.Output(
                    "generator", tooltip="The generator with the style, for Generate Images or the next Apply Style."
                )
            ],
            **known_options(search_aliases=["apply style", "style strength", "gan lora", "mix styles", "blend"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        style: Style,
        strength: float,
        coarse: float = 1.0,
        middle: float = 1.0,
        fine: float = 1.0,
    ) -> io.NodeOutput:
        styled = apply_style(generator, style, strength, coarse, middle, fine)
        news = [note for note in styled.metadata.get("notes", []) if note not in generator.metadata.get("notes", [])]
        host.say(" | ".join([f"{style.name} x {strength:g}", *news]))
        return io.NodeOutput(styled)


def _band(name: str, what: str) -> io.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=-1.0,
        max=2.0,
        step=0.05,
        optional=True,
        tooltip=f"Factor of the strength in the layers of {what}. 0 leaves them as they were.",
        extra_dict=ADVANCED,
    )


def describe(style: Style) -> str:
    """Describe a style in a line: its texts, kind of change, size, and resolution of its generator."""
    recipe = style.recipe or {}
    texts = f"{recipe['source']} -> {recipe['target']}" if {"source", "target"} <= recipe.keys() else style.name
    size = style.base["config"]["resolution"]
    return " | ".join([texts, style.kind, f"{style.size / 1e6:.2f} MB", f"for a {size} px generator", *style.notes])
