"""Node that shows several generators side by side."""

from __future__ import annotations

from comfy_api.latest import io, ui
from torch import Tensor

from ..nada import UsageError, generate
from ..nada.generators import Generator
from ..nada.pictures.fonts import unwritable_remark
from ..nada.pictures.grids import filmstrip
from . import host
from .sample import check_latents, generation_bytes
from .sockets import IMAGES, NADAGenerator, NADALatents, known_options

LETTERS = "abcdef"


class NADACompareGrid(io.ComfyNode):
    """Show the same latents through several generators."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        sockets = [
            NADAGenerator.Input(f"generator_{letter}", optional=bool(i), tooltip=f"Generator of column {i + 1}.")
            for i, letter in enumerate(LETTERS)
        ]
        return io.Schema(
            node_id="NADACompareGrid",
            display_name="Compare Generators (StyleGAN)",
            category=IMAGES,
            description="One labelled picture: a row for each latent, a column for each generator.",
            inputs=[
                sockets[0],
                NADALatents.Input(
                    "latents", tooltip="Latent codes of the rows, from Sample Latents; 4 to 8 are easy to see."
                ),
                io.String.Input(
                    "labels",
                    default="photo | sketch",
                    tooltip="Change this first: a heading for each column, separated by |.",
                ),
                *sockets[1:],
            ],
            outputs=[io.Image.Output("picture", tooltip="The grid as one picture.")],
            is_output_node=True,
            **known_options(search_aliases=["xy plot", "comparison", "before after", "grid"]),
        )

    @classmethod
    @host.explained
    def execute(cls, generator_a: Generator, latents: Tensor, labels: str, **others: Generator | None) -> io.NodeOutput:
        connected = {"generator_a": generator_a} | {name: g for name, g in sorted(others.items()) if g is not None}
        generators, texts = [*connected.values()], [text.strip() for text in labels.split("|")]
        headings = [*texts, *(name[-1].upper() for name in [*connected][len(texts) :])]
        progress, frames = host.Progress(len(generators)), []
        for i, (generator, heading) in enumerate(zip(generators, headings, strict=False)):
            check_latents(generator, latents)
            progress.update(i)
            with host.on_device(generator, needs=generation_bytes(generator)):
                frames.append((heading, generate(generator, latents)))
        sizes = {images.shape[-2:] for _, images in frames}
        if len(sizes) > 1:
            found = sorted(map(tuple, sizes))
            raise UsageError(f"the generators make pictures of different sizes: {found}; compare those of one size")
        image = host.picture_to_image(filmstrip(frames))
        if remark := unwritable_remark(heading for heading, _ in frames):
            host.say(remark)
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))
