"""The table of checkpoint formats. The first row that recognizes a document converts it, or explains why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import nvidia, own, rosinality, tensorflow
from .blueprint import Blueprint
from .document import Document
from .refused import all_of, has, is_kind, refuse, refuse_unknown

ENCODER = has(r"(^|\.)encoder\.(input_layer|body|styles)\.")


@dataclass(frozen=True)
class Format:
    """A row of `FORMATS`: a checkpoint format, with its detector and its converter."""

    name: str
    matches: Callable[[Document], bool]
    """Detector, False for every other format; a row may rely on the rows above it."""
    convert: Callable[[Document], Blueprint]
    """Converter, which raises CheckpointError if a file of the format cannot be loaded."""


FORMATS = (
    Format("nada", own.matches, own.convert),
    Format(
        "style",
        own.is_style,
        refuse(
            "a style, not a generator; give its base as the generator and this file as the style (--generator BASE "
            "--style FILE, or the node Apply Style)"
        ),
    ),
    Format(
        "mapper",
        has(r"^networks\.(coarse|middle|fine)\.0\."),
        refuse("a latent mapper; give it as the mapper, and its generator as the generator"),
    ),
    Format(
        "tensorflow",
        is_kind(tensorflow.KIND),
        tensorflow.convert,
    ),
    Format(
        "stylegan-xl",
        has(r"mapping\.embed_proj\.", r"synthesis\.(input\.freqs|L0_)"),
        refuse("a StyleGAN-XL model, another architecture than StyleGAN2"),
    ),
    Format(
        "stylegan3",
        has(r"synthesis\.(input\.freqs|L0_\d+_\d+\.)"),
        refuse("a StyleGAN3 model (-T or -R), another architecture than StyleGAN2"),
    ),
    Format(
        "lucidrains",
        has(r"(^|\.)G\.blocks\.\d+\.to_style1\."),
        refuse("a lucidrains stylegan2-pytorch model, whose arithmetic differs from StyleGAN2's"),
    ),
    Format("psp", all_of(ENCODER, rosinality.matches), rosinality.convert_decoder),
    Format(
        "encoder",
        ENCODER,
        refuse("an encoder (pSp, e4e or ReStyle) without its generator; load the generator it is for"),
    ),
    Format("rosinality", rosinality.matches, rosinality.convert),
    Format("nvidia", nvidia.matches, nvidia.convert),
    Format(
        "stylegan1",
        has(r"(^|\.)(progression\.\d+\.(conv1\.)?adain|synthesis\.blocks\.4x4\.epi1|g_synthesis\.blocks\.)"),
        refuse("a StyleGAN model (the first), another architecture than StyleGAN2"),
    ),
    Format(
        "fastgan",
        has(r"(^|\.)(init\.init\.0\.weight_orig|feat_\d+\.\d\.weight_orig|se_64\.main\.)"),
        refuse("a FastGAN (lightweight GAN) model, another architecture than StyleGAN2"),
    ),
    Format(
        "basicsr",
        has(r"style_conv1\.modulated_conv\.weight$"),
        refuse("a BasicSR or GFPGAN model, whose names of tensors are not known here"),
    ),
    Format(
        "discriminator",
        has(r"(^|\.)final_linear\.0\.|(^|\.)b4\.(mbstd|out\.weight$|fc\.weight$)"),
        refuse("a discriminator without its generator"),
    ),
    Format(
        "diffusion",
        has(r"(^|\.)(diffusion_model|unet|down_blocks|double_blocks|lora_unet|lora_te\w*|transformer_blocks)[._]"),
        refuse("a diffusion model or a part of one (checkpoint, LoRA, ControlNet)"),
    ),
    Format(
        "vae",
        has(r"(^|\.)(decoder|first_stage_model\.decoder)\.(conv_in|up_blocks|up\.\d)"),
        refuse("the VAE of a diffusion model"),
    ),
    Format(
        "clip",
        has(r"(^|\.)(visual\.(conv1|transformer|class_embedding)|text_model\.|vision_model\.|logit_scale$)"),
        refuse("a CLIP model; give it as the CLIP, not as the generator"),
    ),
    Format("unknown", lambda document: True, refuse_unknown),
)


def detect(document: Document) -> Format:
    """Return the first row that matches a document; the last row matches all."""
    return next(row for row in FORMATS if row.matches(document))
