"""Nodes that sample latent codes and generate their images."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor, nn

from ..nada import PRECISIONS, SEED_SOURCES, UsageError, generate, sample_latents
from ..nada.generators import Generator
from . import host
from .sockets import ADVANCED, IMAGES, LATENTS, MAX_SEED, NADAGenerator, NADALatents, known_options

CHUNK_BYTES = 2 << 30  # memory for the images of one chunk
BATCH = 8  # default chunk of `generate`
LIVE_MAPS = 10  # feature maps of the largest block that are alive at once, roughly


class SampleLatents(io.ComfyNode):
    """Sample random latent codes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SampleLatents",
            display_name="Sample Latents (StyleGAN)",
            category=LATENTS,
            description="Draws random latent codes: who or what is in the pictures. The same codes give matching "
            "pictures in a generator and in everything adapted from it.",
            inputs=[
                NADAGenerator.Input(
                    "generator",
                    tooltip="The generator whose mapping network turns random numbers into codes. A base and its "
                    "adaptations share it, so either will do.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Change this first, for other pictures. Picture i has seed + i.",
                ),
                io.Int.Input("count", default=8, min=1, max=4096, tooltip="Number of pictures."),
                io.Float.Input(
                    "truncation_psi",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Variety of the pictures: 0.5 gives clean, similar pictures, 1.0 full variety and some "
                    "failures, 0 the average picture.",
                ),
                io.Int.Input(
                    "truncation_cutoff",
                    default=0,
                    min=0,
                    max=18,
                    optional=True,
                    tooltip="Number of codes that truncation applies to, from the first (coarse shapes); 0 for all.",
                    extra_dict=ADVANCED,
                ),
                io.Int.Input(
                    "label",
                    default=0,
                    min=0,
                    max=9999,
                    optional=True,
                    tooltip="Class index, for generators that were trained with classes. Others ignore it.",
                    extra_dict=ADVANCED,
                ),
                io.Combo.Input(
                    "seed_from",
                    options=list(SEED_SOURCES),
                    default="torch",
                    optional=True,
                    tooltip="Source of the random numbers. 'numpy' gives the picture that this seed has in NVIDIA's "
                    "scripts and in galleries made with them.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[NADALatents.Output("latents", tooltip="Latent codes, one per picture, for Generate Images.")],
            **known_options(search_aliases=["stylegan latent", "w latent", "seed", "truncation", "numpy seed"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        seed: int,
        count: int,
        truncation_psi: float,
        truncation_cutoff: int = 0,
        label: int = 0,
        seed_from: str = "torch",
    ) -> io.NodeOutput:
        with host.normal_tensors():
            cutoff = truncation_cutoff or None
            return io.NodeOutput(sample_latents(generator, count, seed, truncation_psi, cutoff, label, seed_from))


class GenerateImages(io.ComfyNode):
    """Generate the images of latent codes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GenerateImages",
            display_name="Generate Images (StyleGAN)",
            category=IMAGES,
            description="Makes the images of latent codes with a generator, adapted or not. Its output goes into any "
            "ComfyUI node: upscale, save, image to image, video.",
            inputs=[
                NADAGenerator.Input(
                    "generator",
                    tooltip="Change this first: the base or an adapted generator. The same latents give matching "
                    "pictures in both.",
                ),
                NADALatents.Input("latents", tooltip="Latent codes from Sample Latents, one per image."),
                io.Combo.Input(
                    "noise",
                    options=["const", "random", "none"],
                    default="const",
                    tooltip="Fine detail such as single hairs: 'const' is the same every time, 'random' differs by "
                    "seed, 'none' leaves it out and looks smoother.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=False,
                    optional=True,
                    tooltip="Seed of the noise, only for noise = random. Image i has seed + i.",
                    extra_dict=ADVANCED,
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="full",
                    optional=True,
                    tooltip="Precision of the computation. 'half' computes large layers in bfloat16 and takes less "
                    "memory; the eye can hardly find the change. Faster on CPUs with AMX; not measured on graphics "
                    "cards yet.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[io.Image.Output("images", tooltip="The images as a batch, at the generator's resolution.")],
            **known_options(search_aliases=["stylegan generate", "synthesis", "gan sampler", "decode latents"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls, generator: Generator, latents: Tensor, noise: str, seed: int = 0, precision: str = "full"
    ) -> io.NodeOutput:
        check_latents(generator, latents)
        chunk = max(1, int(CHUNK_BYTES / image_bytes(generator)))
        with host.on_device(generator, needs=generation_bytes(generator, chunk)):
            progress = host.Progress(len(latents))
            progress.add()
            images = generate(generator, latents, noise, seed, chunk, progress.add, precision == "half")
            return io.NodeOutput(host.to_image(images))


def check_latents(generator: Generator, latents: Tensor) -> None:
    """Check that latent codes fit a generator.

    Args:
        generator: the generator that is to make images of them.
        latents: [N, num_ws, w_dim] for some generator.

    Raises:
        UsageError: the codes are for another generator.
    """
    expected = (generator.num_ws, generator.config.w_dim)
    if latents.shape[1:] != expected:
        raise UsageError(
            f"the latents are for another generator: {latents.shape[1]} codes of {latents.shape[2]} numbers, and "
            f"this one takes {expected[0]} of {expected[1]}. Make them with Sample Latents from this generator"
        )


def generation_bytes(generator: Generator, batch: int = BATCH) -> float:
    """Estimate the bytes of device memory for a chunk of `batch` images, the generator's weights included."""
    return weight_bytes(generator) + batch * image_bytes(generator)


def weight_bytes(*models: nn.Module | Generator) -> int:
    """Return the bytes that the weights of models take."""
    return sum(p.numel() * p.element_size() for model in models for p in model.parameters())


def image_bytes(generator: Generator) -> float:
    """Estimate the bytes that one image takes while it is made."""
    return 4 * LIVE_MAPS * generator.largest_map
