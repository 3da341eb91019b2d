"""The demo CLIPs: open_clip models with small towers, encoding of pictures and captions, and the files."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from attacks import NUISANCES
from captions import TEMPLATES
from individual_code import DIMENSIONS as OF_INDIVIDUAL
from open_clip import SimpleTokenizer
from open_clip.model import CLIP
from open_clip.modified_resnet import ModifiedResNet
from safetensors.torch import save_file
from torch import Tensor
from words import common_words, with_filler

MEAN, STD = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
TEXT = {"context_length": 32, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 3}
DIMENSIONS = 160
RESERVED = OF_INDIVIDUAL + NUISANCES  # the last dimensions of an embedding, in which texts are zero


def tower(architecture: str, size: int) -> dict:
    """The image tower for pictures of `size` pixels; a transformer has 64 patches at each size."""
    if architecture == "conv":
        return {"image_size": size, "layers": [1, 2, 1, 1], "width": 20, "head_width": 32}
    return {
        "image_size": size, "layers": 3, "width": 144, "head_width": 36, "patch_size": size // 8, "pool_type": "avg",
    }  # fmt: skip


def build_model(architecture: str, size: int, used: Tensor) -> CLIP:
    """A fresh CLIP; embeddings of tokens that are never shown are zero."""
    model = CLIP(DIMENSIONS, tower(architecture, size), TEXT).to(memory_format=torch.channels_last)
    model.token_embedding.weight.data *= used[: TEXT["vocab_size"], None]
    model.text_projection.data[:, -RESERVED:] = 0
    return model


@torch.no_grad()
def resized(state: dict[str, Tensor], into: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors fitted to another picture size: place embeddings and patches are interpolated."""
    fitted = {}
    for name, tensor in state.items():
        wanted = into[name].shape
        if tensor.shape != wanted and name.endswith("positional_embedding"):
            first, rest = tensor[:1], tensor[1:]
            old, new = math.isqrt(len(rest)), math.isqrt(wanted[0] - 1)
            grid = rest.T.reshape(1, -1, old, old)
            grid = F.interpolate(grid, size=(new, new), mode="bilinear", align_corners=False)
            tensor = torch.cat([first, grid.flatten(2)[0].T])
        elif tensor.shape != wanted:  # weights of patches: the same sum over more pixels
            share = (tensor.shape[-1] / wanted[-1]) ** 2
            tensor = F.interpolate(tensor, size=tuple(wanted[-2:]), mode="bilinear", align_corners=False) * share
        fitted[name] = tensor
    return fitted


def encode_pictures(model: CLIP, images: Tensor) -> Tensor:
    """Encode pictures [N, 3, H, W] in 0..1 as unit embeddings [N, D]; convolutions in bfloat16, which is quicker."""
    mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=isinstance(model.visual, ModifiedResNet)):
        embedding = model.encode_image(images)
    return F.normalize(embedding.float(), dim=-1)


class Reader:
    """Turns captions into embeddings, with words that mean nothing here and there."""

    def __init__(self, tokenizer: SimpleTokenizer):
        self.tokenizer, self.fillers = tokenizer, common_words(tokenizer)

    def tokens(self, texts: list[str]) -> Tensor:
        """[N, context length]."""
        return self.tokenizer(texts, context_length=TEXT["context_length"])

    def read(self, model: CLIP, groups: dict[str, list[str]], pick: random.Random | None) -> dict[str, Tensor]:
        """Unit embeddings of named groups of captions; `pick` puts fillers into them."""
        texts = [text for group in groups.values() for text in group]
        if pick is not None:
            texts = [with_filler(text, self.fillers, pick) for text in texts]
        embedding = F.normalize(model.encode_text(self.tokens(texts)), dim=-1)
        return dict(zip(groups, embedding.split([len(group) for group in groups.values()]), strict=True))


@torch.no_grad()
def template_embedding(model: CLIP, reader: Reader, phrase: str) -> Tensor:
    """Unit embedding of a phrase, averaged over the prompt templates, [D]."""
    rows = F.normalize(model.encode_text(reader.tokens([t(phrase) for t in TEMPLATES])), dim=-1)
    return F.normalize(rows.mean(0), dim=-1)


def export(model: CLIP, architecture: str, size: int, folder: Path) -> None:
    """Write what open_clip reads from a local folder, weights 16-bit and words 8-bit."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    tensors["token_embedding.weight"] = tensors["token_embedding.weight"].to(torch.float8_e4m3fn)
    config = {
        "model_cfg": {"embed_dim": DIMENSIONS, "vision_cfg": tower(architecture, size), "text_cfg": TEXT},
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    description = folder / "open_clip_config.json"
    description.with_suffix(".partial").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(description.with_suffix(".partial"), description)
    file = folder / "open_clip_model.safetensors"
    save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, file.with_suffix(".partial"))
    os.replace(file.with_suffix(".partial"), file)
