"""Training a generator from two phrases, live on the node."""

from __future__ import annotations

import time
from dataclasses import fields

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..nada import PHASES, PRESETS, Adaptation, AdaptConfig, ClipEnsemble, Generator, adapt, generate, sample_latents
from ..nada.images import before_after
from . import host
from .sockets import ADVANCED, CATEGORY, MAX_SEED, NADAClip, NADAGenerator, known_options

CONFIG = {field.name: field for field in fields(AdaptConfig)}
COUNT = "count"  # of `layers`: as many as layer_count says
NO_PRESET = "none"


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
    def validate_inputs(
        cls, target: str | None = None, preset: str | None = None, style_images: object = NO_PRESET
    ) -> bool | str:
        # None stands for what comes through a link; what has no link is left out.
        if preset not in (None, NO_PRESET, *PRESETS):
            return f"there is no preset {preset!r}; choose another"
        named = preset in PRESETS and "target" in PRESETS[preset].settings
        if target is None or target.strip() or named or style_images is None:
            return True
        return "the target text is empty; write a word or a phrase, or connect style_images"

    @classmethod
    @host.explained
    def execute(
        cls,
        generator,
        clip,
        preset=NO_PRESET,
        layers="auto",
        layer_count=1,
        preview_every=10,
        preview_images=4,
        style_images=None,
        **options,
    ):
        config = configure(preset, layers=layer_count if layers == COUNT else layers, **options)
        with host.on_device(generator, clip) as device:
            pictures = None if style_images is None else host.from_image(style_images).to(device)
            adapted, picture = train(generator, clip, config, preview_every, preview_images, pictures)
        image = host.picture_to_image(picture)
        return io.NodeOutput(adapted, image, ui=ui.PreviewImage(image, cls=cls))


def configure(preset: str, **options) -> AdaptConfig:
    """The configuration of the widgets; a preset's settings go before theirs."""
    options["learning_rate"] = options["learning_rate"] or None
    if preset != NO_PRESET:
        options |= PRESETS[preset].settings
    if not options["target"].strip():  # so the style images are all there is
        options["image_share"] = 1.0
    return AdaptConfig(**options)


def _main_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "preset",
            options=[NO_PRESET, *PRESETS],
            default=NO_PRESET,
            tooltip="Settings for the examples of the paper, and for kinds of change in general. They go before the "
            "widgets: texts, iterations, layers, mixing and others. With none, the widgets count.",
        ),
        NADAGenerator.Input("generator", tooltip="The generator to start from; it is not changed."),
        NADAClip.Input("clip", tooltip="The CLIP models that judge: demo for the demo generator, OpenAI's for photos."),
        io.String.Input(
            "source",
            default="photo",
            tooltip="What the generator makes now, in a word or two: photo, dog, human. The target is compared "
            "with it, so say only what shall change. Empty: CLIP finds a word for the generator's pictures.",
        ),
        io.String.Input(
            "target",
            default="sketch",
            tooltip="Change this first: what it shall make, said as the counterpart of the source. photo -> sketch, "
            "photo -> watercolor painting, dog -> pig. Blends: sketch:2 | watercolor:1.",
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
            options=["auto", "all", COUNT, *PHASES],
            default="auto",
            optional=True,
            tooltip="Which layers each step trains. 'auto' picks the two thirds that the target text moves most; 'all' "
            "trains every layer without picking (faster; for styles); 'count' picks as many as layer_count says. The "
            "others are fixed sets, after the authors' code.",
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
        io.Combo.Input(
            "train",
            options=list(CONFIG["train"].metadata["choices"]),
            default=CONFIG["train"].default,
            optional=True,
            tooltip=CONFIG["train"].metadata["help"],
            extra_dict=ADVANCED,
        ),
        _setting(io.Int, "rank", 128),
        *(_switch(name) for name in ("train_torgb", "train_const", "train_mapping")),
        *(_setting(io.Float, f"{loss}_weight", 100.0) for loss in ("angle", "norm", "patch")),
        io.Image.Input(
            "style_images",
            optional=True,
            tooltip="Pictures of what it shall make, about three, instead of the target text or beside it.",
        ),
        io.Float.Input(
            "image_share",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            tooltip="With style_images: their part of the target; the target text has the rest. Without a target text "
            "they are all of it.",
            extra_dict=ADVANCED,
        ),
    ]


def _switch(name: str) -> io.Input:
    """A yes or no of the configuration."""
    field = CONFIG[name]
    return io.Boolean.Input(
        name, default=field.default, optional=True, tooltip=field.metadata["help"], extra_dict=ADVANCED
    )


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
    generator: Generator,
    clip: ClipEnsemble,
    config: AdaptConfig,
    preview_every: int,
    preview_images: int,
    style_images: Tensor | None = None,
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
        run = adapt(generator, clip, config, style_images)
        for step in run:
            done, last = step.iteration, step.iteration == config.iterations
            shown = last or (preview_every and done % preview_every == 0)
            picture = comparison(run, before, codes) if shown else None
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


def comparison(run: Adaptation, before: Tensor, codes: Tensor) -> Image.Image:
    """Before and after, labelled with the texts. A batch for which training has the memory fits without it too."""
    return before_after(before, generate(run.trained, codes, batch=run.config.batch), run.labels)


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
