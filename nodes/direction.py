"""Node for StyleCLIP's global directions: an edit by two phrases, as a style."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..nada import (
    ClipEnsemble,
    DirectionConfig,
    Relevance,
    apply_style,
    measure_relevance,
    preview_of,
    preview_picture,
)
from ..nada.clip.alphabet import unreadable_remark
from ..nada.generators import Generator
from ..nada.settings import settings_of
from ..nada.text_edits.global_directions import AMOUNT, BETA, MAX_AMOUNT, check_edit
from . import host
from .sockets import ADVANCED, GENERATORS, MAX_SEED, NADAClip, NADAGenerator, NADAStyle, known_options, widget

CONFIG = settings_of(DirectionConfig)


class NADATextDirection(io.ComfyNode):
    """Edit a generator's pictures by two phrases, without training."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADATextDirection",
            display_name="Text Direction (StyleGAN)",
            category=GENERATORS,
            description="Finds the style channels that change a generator's pictures from one phrase to another, "
            "without training it. The edit is a style with a strength. It stays within what the generator can make: "
            "a smile, but no sketch.",
            inputs=[
                NADAGenerator.Input("generator", tooltip="The generator to edit; it is not changed."),
                NADAClip.Input(
                    "clip", tooltip="The CLIP models that compare pictures with texts: demo for the demo generator."
                ),
                io.String.Input("source", default="dog", tooltip=CONFIG["source"].help),
                io.String.Input(
                    "target", default="black dog", tooltip="Change this first: what the pictures should show instead."
                ),
                io.Float.Input(
                    "amount",
                    default=AMOUNT,
                    min=-MAX_AMOUNT,
                    max=MAX_AMOUNT,
                    step=0.25,
                    tooltip="Shift of the most relevant channel, in standard deviations; negative for the opposite. "
                    "Changing it does not repeat the measurement.",
                ),
                io.Float.Input(
                    "beta",
                    default=BETA,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Lowest relevance of a channel that moves. Higher values change less besides what the text "
                    "says. Changing it does not repeat the measurement.",
                ),
                widget(CONFIG["samples"], 200),
                widget(CONFIG["candidates"], 10_000),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=False,
                    optional=True,
                    tooltip="Seed of the pictures that the channels are tried on.",
                    extra_dict=ADVANCED,
                ),
            ],
            outputs=[
                NADAGenerator.Output("generator", tooltip="The edited generator, for Generate Images."),
                NADAStyle.Output("style", tooltip="The edit as a style, for Apply Style with other strengths."),
            ],
            is_output_node=True,
            **known_options(search_aliases=["styleclip", "global direction", "style space", "text edit", "semantic"]),
        )

    @classmethod
    def validate_inputs(cls, source: str | None = None, target: str | None = None) -> bool | str:
        for name, text in (("source", source), ("target", target)):
            if text is not None and not text.strip():  # None: it comes through a link
                return f"the {name} text is empty; write a word or a phrase"
        return True

    @classmethod
    @host.explained
    def execute(
        cls, generator: Generator, clip: ClipEnsemble, amount: float = AMOUNT, beta: float = BETA, **options: Any
    ) -> io.NodeOutput:
        config = DirectionConfig(**options)
        check_edit(beta, amount)
        relevance = _measured(generator, clip, config)
        style, channels = relevance.style(beta, amount), relevance.channels(beta)
        edited = apply_style(generator, style)
        with host.on_device(generator, edited):
            style = style.with_preview(preview_of(generator, edited))
        layer, index, value = channels[0]
        found = f"{len(channels)} style channels", f"most relevant: {layer} channel {index}, {value:+.2f}"
        host.say(" | ".join(filter(None, (*found, unreadable_remark(clip, [config.source, config.target])))))
        image = host.picture_to_image(preview_picture(style.preview))
        return io.NodeOutput(edited, style, ui=ui.PreviewImage(image, cls=cls))


KEPT = 16  # number of cached measurements, each with two numbers per channel
_measurements: dict[Any, dict[str, Any]] = {}
"""Cache of measurements without their generators, so that other values of `amount` and `beta` take effect at once.

The most recently used one is the last. It lives as long as ComfyUI.
"""


def _measured(generator: Generator, clip: ClipEnsemble, config: DirectionConfig) -> Relevance:
    models = [(model["fingerprint"], model["weight"]) for model in clip.describe()]
    key = (generator.fingerprint(), str(models), config)
    measurement = _measurements.pop(key, None)
    if measurement is None:
        progress: host.Progress | None = None

        def show(done: int, total: int) -> None:
            nonlocal progress
            progress = progress or host.Progress(total)
            progress.update(done)
            if progress.text_is_due():
                host.say(f"channel {done}/{total}")

        with host.on_device(generator, clip):
            found = measure_relevance(generator, clip, config, show)
        measurement = {"relevance": found.relevance, "deviations": found.deviations, "recipe": found.recipe}
    _measurements[key] = measurement
    for oldest in [*_measurements][:-KEPT]:
        del _measurements[oldest]
    return Relevance(generator, **measurement)
