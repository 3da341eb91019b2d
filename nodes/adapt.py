"""Training a generator from two phrases, live on the node."""

from __future__ import annotations

import time
from dataclasses import fields

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..nada import AdaptConfig, ClipEnsemble, Generator, adapt, generate, sample_latents
from ..nada.images import before_after
from . import host
from .sockets import ADVANCED, CATEGORY, MAX_SEED, NADAClip, NADAGenerator, known_options

CONFIG = {field.name: field for field in fields(AdaptConfig)}
COUNT = "count"  # of `layers`: as many as layer_count says


class NADATextAdapt(io.ComfyNode):
    """StyleGAN-NADA itself."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADATextAdapt",
            display_name="NADA Text Adapt",
            category=CATEGORY,
            description="Trains a copy of a generator until its pictures differ from the original's as the target text "
            "differs from the source text (StyleGAN-NADA). No pictures are needed. Shows before and after while it "
            "runs; Cancel stops it at the next step.",
            inputs=[*_main_inputs(), *_advanced_inputs()],
            outputs=[
                NADAGenerator.Output(
                    "generator", tooltip="The adapted generator, for Generate Images and Save StyleGAN2."
                ),
                io.Image.Output(
                    "before_after",
                    tooltip="One picture: the original's images on the left, the adapted one's right.",
                ),
            ],
            is_output_node=True,
            **known_options(
                search_aliases=[
                    "stylegan-nada",
                    "train gan",
                    "domain adaptation",
                    "text to style",
                    "finetune",
                ]
            ),
        )

    @classmethod
    def validate_inputs(cls, source: str | None, target: str | None) -> bool | str:
        for name, text in (("source", source), ("target", target)):
            if text is not None and not text.strip():  # None: it comes through a link
                return f"the {name} text is empty; write a word or a phrase"
        return True

    @classmethod
    @host.explained
    def execute(cls, generator, clip, layers="auto", layer_count=1, preview_every=10, preview_images=4, **options):
        options["learning_rate"] = options["learning_rate"] or None
        config = AdaptConfig(layers=layer_count if layers == COUNT else layers, **options)
        with host.on_device(generator, clip):
            adapted, picture = train(generator, clip, config, preview_every, preview_images)
        image = host.picture_to_image(picture)
        return io.NodeOutput(adapted, image, ui=ui.PreviewImage(image, cls=cls))


def _main_inputs() -> list[io.Input]:
    return [
        NADAGenerator.Input("generator", tooltip="The generator to start from; it is not changed."),
        NADAClip.Input("clip", tooltip="The CLIP models that judge: demo for the demo generator, OpenAI's for photos."),
        io.String.Input(
            "source",
            default="photo",
            tooltip="What the generator makes now, in a word or two: photo, dog, human. The target is compared "
            "with it, so say only what shall change.",
        ),
        io.String.Input(
            "target",
            default="sketch",
            tooltip="Change this first: what it shall make, said as the counterpart of the source. photo -> sketch, "
            "photo -> watercolor painting, dog -> pig.",
        ),
        io.Int.Input(
            "iterations",
            default=CONFIG["iterations"].default,
            min=1,
            max=100_000,
            tooltip="Training steps. Too weak: more; losing shape and variety: fewer. A style takes 200-400, a change "
            "of subject 150-200, a small change 50.",
        ),
        io.Int.Input(
            "batch",
            default=CONFIG["batch"].default,
            min=1,
            max=64,
            tooltip="Images per step. 4 is steadier and slower; 1 if the memory does not suffice.",
        ),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=0.1,
            step=0.0001,
            tooltip="Size of the steps; 0 for the rate that suits the generator's width (0.0016 for 512 features, as "
            "in the paper). Raise it if hardly anything changes, lower it if pictures break.",
        ),
        io.Int.Input(
            "seed",
            default=CONFIG["seed"].default,
            min=0,
            max=MAX_SEED,
            control_after_generate=False,
            tooltip="Of everything random in the training. It stays as it is, since each other seed trains anew.",
        ),
        io.Int.Input(
            "preview_every",
            default=10,
            min=0,
            max=1000,
            tooltip="Show before and after on the node every so many steps; 0 only at the end.",
        ),
    ]


def _advanced_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "layers",
            options=["auto", "all", COUNT],
            default="auto",
            optional=True,
            tooltip="Which layers each step trains. 'auto' picks the two thirds that the target text moves most; 'all' "
            "trains every layer without picking (faster; for styles); 'count' picks as many as layer_count says.",
            extra_dict=ADVANCED,
        ),
        io.Int.Input(
            "layer_count",
            default=12,
            min=1,
            max=18,
            optional=True,
            tooltip="Only for layers = count. Fewer keep more of the original. A 1024 px generator has 17 to pick "
            "from, a 64 px one 9.",
            extra_dict=ADVANCED,
        ),
        _setting(io.Int, "select_every", 1000),
        _setting(io.Int, "select_batch", 64),
        _setting(io.Float, "mixing", 1.0),
        io.Int.Input(
            "preview_images",
            default=4,
            min=1,
            max=36,
            optional=True,
            tooltip="How many pictures the preview shows before and after.",
            extra_dict=ADVANCED,
        ),
        _setting(io.Int, "views", 16),
    ]


def _setting(kind, name: str, high: float) -> io.Input:
    """A number of the configuration, with its own default, lower end and explanation."""
    field = CONFIG[name]
    return kind.Input(
        name,
        default=field.default,
        min=type(field.default)(field.metadata["low"]),
        max=high,
        optional=True,
        tooltip=field.metadata["help"],
        extra_dict=ADVANCED,
    )


def train(
    generator: Generator, clip: ClipEnsemble, config: AdaptConfig, preview_every: int, preview_images: int
) -> tuple[Generator, Image.Image]:
    """Adapt on the device where the models are, with bar, pictures and text on the node.

    Returns:
        The adapted generator, on the CPU, and the picture of before and after.
    """
    codes = sample_latents(generator, preview_images, config.seed)
    before = generate(generator, codes, batch=config.batch)
    progress, clock = host.Progress(config.iterations), Clock(config.iterations)
    host.say("reading the texts")
    run = step = None
    try:
        run = adapt(generator, clip, config)
        for step in run:
            done, last = step.iteration, step.iteration == config.iterations
            shown = last or (preview_every and done % preview_every == 0)
            picture = comparison(config, before, step.generator, codes) if shown else None
            progress.update(done, picture)
            if last or progress.text_is_due():
                host.say(f"step {done}/{config.iterations} | loss {float(step.loss):.3f} | {clock.text(done)}")
        with host.normal_tensors():
            return step.generator.cpu(), picture
    except Exception as error:
        if not host.is_out_of_memory(error):
            raise
        host.say("out of memory: lower batch, then select_batch; or set layers to all")
        raise error.with_traceback(None) from None  # the frames below hold what there is no memory for
    finally:
        run = step = None  # a cancellation still holds this frame; it must not hold the device's memory too


def comparison(config: AdaptConfig, before: Tensor, trained: Generator, codes: Tensor) -> Image.Image:
    """Before and after, labelled with the texts. A batch for which training has the memory fits without it too."""
    return before_after(before, generate(trained, codes, batch=config.batch), (config.source, config.target))


class Clock:
    """Speed and remaining time of steps."""

    def __init__(self, total: int):
        self.total, self.start = total, time.monotonic()

    def text(self, done: int) -> str:
        """For a node: "1.9 it/s | 1 min 35 s left"."""
        seconds = max(time.monotonic() - self.start, 1e-6)
        rate = f"{done / seconds:.1f} it/s" if done > seconds else f"{seconds / done:.1f} s/it"
        left = f"{duration(seconds / done * (self.total - done))} left" if done < self.total else duration(seconds)
        return f"{rate} | {left}"


def duration(seconds: float) -> str:
    """In words: "8 s", "1 min 35 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
