"""Node that blends two generators."""

from __future__ import annotations

from comfy_api.latest import io

from ..nada import blend_generators
from ..nada.generators import Generator
from . import host
from .sockets import GENERATORS, NADAGenerator, known_options

RESOLUTIONS = [str(4 << i) for i in range(9)]


class NADABlendGenerators(io.ComfyNode):
    """Interpolate the weights of two generators, or swap their layers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADABlendGenerators",
            display_name="Blend Generators (StyleGAN)",
            category=GENERATORS,
            description="Makes a generator between two that come from the same base: half a sketch, or the shapes of "
            "one with the looks of the other (layer swapping).",
            inputs=[
                NADAGenerator.Input("generator_a", tooltip="The first: alone at share 0, and below from_resolution."),
                NADAGenerator.Input("generator_b", tooltip="The second: adapted from the first, or from its base."),
                io.Float.Input(
                    "share",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Change this first: share of generator_b, from 0 to 1.",
                ),
                io.Combo.Input(
                    "from_resolution",
                    options=RESOLUTIONS,
                    default=RESOLUTIONS[0],
                    tooltip="Resolution in pixels from which layers are blended; 4 blends all of them. With share 1 "
                    "the layers are swapped: 16 to 32 keep the shapes of generator_a and take the looks of "
                    "generator_b.",
                ),
            ],
            outputs=[NADAGenerator.Output("generator", tooltip="The blend, for Generate Images and Save StyleGAN2.")],
            **known_options(search_aliases=["layer swap", "interpolate models", "merge generators", "toonify", "mix"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls, generator_a: Generator, generator_b: Generator, share: float, from_resolution: str
    ) -> io.NodeOutput:
        return io.NodeOutput(blend_generators(generator_a, generator_b, share, int(from_resolution)))
