"""Training a generator from two phrases, live on the node."""

from __future__ import annotations

import time

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..nada import (
    PRESETS,
    Adaptation,
    AdaptConfig,
    ClipEnsemble,
    Generator,
    RunStore,
    adapt,
    generate,
    sample_latents,
)
from ..nada.images import before_after
from . import host
from .adapt_inputs import COUNT, NO_PRESET, advanced_inputs, main_inputs
from .sockets import CATEGORY, NADAGenerator, known_options


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
            inputs=[*main_inputs(), *advanced_inputs()],
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


def train(
    generator: Generator,
    clip: ClipEnsemble,
    config: AdaptConfig,
    preview_every: int,
    preview_images: int,
    style_images: Tensor | None = None,
) -> tuple[Generator, Image.Image]:
    """Adapt on the device where the models are, with bar, pictures and text on the node.

    A run that was cancelled goes on where it stopped, and one that is done is not repeated.

    Returns:
        The adapted generator, on the CPU, and the picture of before and after.
    """
    codes = sample_latents(generator, preview_images, config.seed)
    before = generate(generator, codes, batch=config.batch)
    progress = host.Progress(config.iterations)
    host.say("reading the texts")
    store = RunStore(host.runs_folder(), generator, clip, config, style_images)
    run = step = None
    try:
        run = adapt(generator, clip, config, style_images, resume=store.find())
        begin = run.iteration
        clock = Clock(config.iterations, begin)
        if begin:
            host.say(f"goes on after step {begin}")
        for step in run:
            done = step.iteration
            shown = preview_every and done % preview_every == 0 and done < config.iterations
            progress.update(done, comparison(run, before, codes) if shown else None)
            if progress.text_is_due():
                host.say(f"step {done}/{config.iterations} | loss {float(step.loss):.3f} | {clock.text(done)}")
        if run.iteration > begin:
            store.keep(run.state())
        picture = comparison(run, before, codes)
        progress.update(run.iteration, picture)
        loss = f"loss {float(step.loss):.3f} | {clock.text(run.iteration)}" if step else "was trained before"
        host.say(f"step {run.iteration}/{config.iterations} | {loss}")
        with host.normal_tensors():
            return run.trained.cpu(), picture
    except host.Cancelled:
        if run and run.iteration > begin:
            store.keep(run.state())
            host.say(f"cancelled after step {run.iteration}; the next run goes on from there")
        raise
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

    def __init__(self, total: int, begin: int = 0):
        self.total, self.begin, self.start = total, begin, time.monotonic()

    def text(self, done: int) -> str:
        """For a node: "1.9 it/s | 1 min 35 s left"."""
        seconds = max(time.monotonic() - self.start, 1e-6)
        steps = done - self.begin
        rate = f"{steps / seconds:.1f} it/s" if steps > seconds else f"{seconds / steps:.1f} s/it"
        left = f"{duration(seconds / steps * (self.total - done))} left" if done < self.total else duration(seconds)
        return f"{rate} | {left}"


def duration(seconds: float) -> str:
    """In words: "8 s", "1 min 35 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
