"""Nodes that train a generator towards a text or towards pictures, with live previews."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..nada import AdaptConfig, ClipEnsemble
from ..nada.generators import Generator
from ..nada.training.config import recommendation_remark
from . import host
from .adapt_inputs import (
    MOVED,
    OPTIONS,
    chosen,
    image_inputs,
    option_inputs,
    style_weight,
    text_inputs,
    training_inputs,
)
from .live import follow
from .sockets import TRAINING, NADAGenerator, NADAOptions, NADASnapshots, known_options
from .training import LiveAdaptation


class NADATextAdapt(io.ComfyNode):
    """Train a generator towards a target text (StyleGAN-NADA)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADATextAdapt",
            display_name="StyleGAN-NADA Text Adapt",
            category=TRAINING,
            description="Trains a copy of a generator until its pictures differ from the original's as the target text "
            "differs from the source text (StyleGAN-NADA). No pictures are needed. Shows before and after while it "
            "runs; Cancel stops it within one iteration, and the next Run continues from there.",
            inputs=[*text_inputs(), *training_inputs()],
            outputs=outputs(),
            is_output_node=True,
            **known_options(
                search_aliases=[
                    "text to domain",
                    "train gan",
                    "domain adaptation",
                    "text to style",
                    "finetune stylegan",
                    "sketch",
                    "pixar",
                ]
            ),
        )

    @classmethod
    def validate_inputs(cls, target: str | None = None) -> bool | str:
        # None: the text comes through a link. ComfyUI marks only inputs that this signature names.
        if target is None or target.strip():
            return True
        return "the target text is empty; write a word or a phrase"

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        clip: ClipEnsemble,
        options: dict[str, Any] | None = None,
        preview_every: int = 10,
        preview_images: int = 4,
        snapshots: int = 6,
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = chosen(generator, widgets, options, host.prompt_inputs(cls, MOVED))
        config = AdaptConfig.for_generator(generator, **settings)
        remark = recommendation_remark(generator, settings)
        return adapted(cls, generator, clip, config, remark, preview_every, preview_images, snapshots)


class NADAImageAdapt(io.ComfyNode):
    """Train a generator towards a few pictures (StyleGAN-NADA, appendix C)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAImageAdapt",
            display_name="StyleGAN-NADA Image Adapt",
            category=TRAINING,
            description="Trains a copy of a generator until its pictures differ from the original's as a few pictures "
            "of the target do; about three are enough. Use it for a look that words do not name. A target text may say "
            "what matters in the pictures.",
            inputs=[*image_inputs(), *training_inputs(style_images=True), style_weight()],
            outputs=outputs(),
            is_output_node=True,
            **known_options(
                search_aliases=["style image", "few shot", "reference image", "train gan", "style transfer"]
            ),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        clip: ClipEnsemble,
        style_images: Tensor,
        options: dict[str, Any] | None = None,
        preview_every: int = 10,
        preview_images: int = 4,
        snapshots: int = 6,
        **widgets: Any,
    ) -> io.NodeOutput:
        if not widgets["target"].strip():  # without a text, the pictures alone are the target
            widgets["image_share"] = 1.0
        settings = chosen(generator, widgets, options, host.prompt_inputs(cls, OPTIONS))
        pictures = host.from_image(style_images)
        config = AdaptConfig.for_generator(generator, style_images=True, **settings)
        remark = recommendation_remark(generator, settings)
        return adapted(cls, generator, clip, config, remark, preview_every, preview_images, snapshots, pictures)


class NADATrainingOptions(io.ComfyNode):
    """Collect the settings of a training that few people change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADATrainingOptions",
            display_name="StyleGAN-NADA Training Options",
            category=TRAINING,
            description="Settings that NADA Text Adapt, NADA Image Adapt and NADA Adapt Many have no widgets for: what "
            "trains, which layers are picked, losses and views, and precision.",
            inputs=option_inputs(),
            outputs=[NADAOptions.Output("options", tooltip="The settings, for a NADA training.")],
            **known_options(
                search_aliases=["stylegan training settings", "lora rank", "style mixing", "loss weights", "precision"]
            ),
        )

    @classmethod
    @host.explained
    def execute(cls, train: dict[str, Any] | None = None, **widgets: Any) -> io.NodeOutput:
        return io.NodeOutput({**(train or {}), **widgets})


def outputs() -> list[io.Output]:
    """Return the outputs of both training nodes."""
    return [
        NADAGenerator.Output("generator", tooltip="The adapted generator, for Generate Images and Save StyleGAN2."),
        io.Image.Output(
            "before_after", tooltip="One picture: the original's images on the left, the adapted one's right."
        ),
        NADASnapshots.Output("snapshots", tooltip="Snapshots of the training, for NADA Pick Snapshot."),
        io.Image.Output("charts", tooltip="One picture: the losses above, and below them the layers that trained."),
    ]


def adapted(
    cls: type[io.ComfyNode],
    generator: Generator,
    clip: ClipEnsemble,
    config: AdaptConfig,
    remark: str,
    preview_every: int,
    preview_images: int,
    snapshots: int,
    style_images: Tensor | None = None,
) -> io.NodeOutput:
    """Train on ComfyUI's device, and return a training node's outputs with the last preview as its picture.

    Args:
        generator: the base of the adaptation, on the CPU.
        clip: the CLIP models, on the CPU.
        config: settings of the adaptation.
        remark: sentence for the user, shown at the start and at the end; "" for none.
        preview_every: iterations between two previews; 0 shows only the last.
        preview_images: number of pictures in a preview.
        snapshots: number of snapshots to keep.
        style_images: [N, 3, H, W] in [-1, 1], pictures of the target domain, or None. They stay where they are, of any
            size; a few at a time are moved to the device.
    """
    with host.on_device(generator, clip):
        live = LiveAdaptation(generator, clip, config, preview_images, snapshots, style_images, remark)
        result = follow(live, preview_every)
    image, charts = host.picture_to_image(result.comparison), host.picture_to_image(result.charts)
    return io.NodeOutput(result.generator, image, result.snapshots, charts, ui=ui.PreviewImage(image, cls=cls))
