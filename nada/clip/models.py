"""CLIP models that score images by text, one or several with weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..pictures.convert import to_rgb
from .resizing import MODES, resized

SMALL_PARAMETERS = 20e6  # a model with fewer parameters counts as small
SAMPLES = 1024  # numbers of each tensor that a fingerprint reads


class ClipModel(nn.Module):
    """One CLIP model with its tokenizer, preprocessing and weight in the ensemble. Frozen.

    Attributes:
        name: the entry of its specification, without folders: it is written into files that are shared.
        weight: factor of its losses.
        model: a CLIP model of open_clip, which has no type here because importing open_clip takes seconds.
        tokenize: the tokenizer of that model.
        size: height and width in pixels of the images that the network takes.

    Raises:
        UsageError: mean or std of its preprocessing are not numbers to normalize with.
    """

    model: Any
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weight: float, model: Any, tokenize: Any):
        super().__init__()
        self.name, self.weight = name, weight
        self.model = model.eval().requires_grad_(False)
        self.tokenize = tokenize
        self._words = [part for name, part in model.named_children() if name != "visual"]
        exact = all(torch.equal(p.half().float(), p) for part in self._words for p in part.parameters())
        self._resting = torch.float16 if exact else torch.float32
        self._rest()
        _length_first(model.visual)
        size = model.visual.image_size
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        preprocess = model.visual.preprocess_cfg
        wanted = preprocess.get("interpolation")
        self.interpolation = wanted if wanted in MODES else MODES[0]
        for key in ("mean", "std"):
            self.register_buffer(key, _channels(preprocess[key], key), persistent=False)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of weights (up to `SAMPLES` evenly spaced numbers a tensor), activation and preprocessing.

        It is the same on every device, and for weights loaded from a file, a folder or a download.
        """
        quick = any(type(module).__name__ == "QuickGELU" for module in self.model.modules())
        digest = hashlib.sha256(b"QuickGELU" if quick else b"")
        digest.update(b"" if self.interpolation == MODES[0] else self.interpolation.encode())
        for name, tensor in [*sorted(self.model.state_dict().items()), ("mean", self.mean), ("std", self.std)]:
            if not tensor.is_floating_point():
                continue  # such as the number of batches that a network was trained with
            count = min(tensor.numel(), SAMPLES)
            places = torch.arange(count, device=tensor.device) * tensor.numel() // max(count, 1)
            numbers = tensor.detach().reshape(-1)[places].cpu().float()
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(numbers.numpy().tobytes())
        return digest.hexdigest()

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images; gradients flow back to them.

        Args:
            images: [N, C, H, W], about in [-1, 1] (not clamped): RGB, or channels that `to_rgb` converts to RGB.

        Returns:
            [N, D] float32, not normalized.
        """
        images = to_rgb(images)
        if images.shape[-2:] != self.size:
            images = resized(images, self.size, self.interpolation)
        x = ((images + 1) / 2 - self.mean) / self.std
        return self.model.encode_image(x).float()

    @property
    def reads_english(self) -> bool:
        """Whether the tokenizer is OpenAI's, which knows English words and the bytes of everything else."""
        return type(self.tokenize).__name__ == "SimpleTokenizer"

    def ignores(self, word: str) -> bool:
        """Whether the model ignores a part of a word: the embedding of one of the word's tokens is zero.

        In small models, such as the demo's, the embeddings of tokens that no caption had are zero; large models have no
        such tokens.
        """
        return self.reads_english and not self._empty_tokens.isdisjoint(self.tokenize.encode(word))

    @cached_property
    def _empty_tokens(self) -> frozenset[int]:
        """The tokens whose embedding is zero."""
        found = (p for name, p in self.model.named_parameters() if name.endswith("token_embedding.weight"))
        return frozenset(i for p in found for i in (p == 0).all(dim=1).nonzero().flatten().tolist())

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], templates: Sequence[str] = ("{}",)) -> Tensor:
        """Embed texts: [len(texts) * len(templates), D] float32, not normalized; all prompts of the first text first.

        The text tower, 40 % of a model, is moved to the device of the image tower for this call. Afterwards it rests on
        the CPU, until `to` moves the whole model.

        Args:
            texts: words or phrases.
            templates: strings with a "{}" for the text.

        Raises:
            UsageError: a text is empty, or longer than the model reads together with a template.
        """
        for text in texts:
            if not text.strip():
                raise UsageError("a text is empty; write a word or a phrase")
        prompts = [template.replace("{}", text) for text in texts for template in templates]
        limit = self.tokenize.context_length
        longest = self.tokenize(prompts, context_length=4 * limit)
        lengths = (longest != longest[:, -1:]).sum(dim=1)  # the padding repeats to the end
        place = int(lengths.argmax())
        if (excess := int(lengths[place])) > limit:
            text = texts[place // len(templates)]
            around = "" if text == prompts[place] else " with the longest prompt around it"
            raise UsageError(
                f"the text {text[:60]!r} is {excess} tokens long{around}; {self.name} reads {limit}. Use fewer words"
            )
        device = self.mean.device
        try:
            for part in self._words:
                part.to(device, torch.float32)
            return self.model.encode_text(self.tokenize(prompts).to(device)).float()
        finally:
            self._rest()

    def _rest(self) -> None:
        """Move the text tower to the CPU, in half precision if that loses nothing, as with OpenAI's weights."""
        for part in self._words:
            part.to("cpu", self._resting)


def _channels(values: Any, name: str) -> Tensor:
    """Return one number, or three (one a channel), as a tensor [3, 1, 1]."""
    numbers = torch.tensor(values, dtype=torch.float32)
    if numbers.shape not in ((), (3,)) or not numbers.isfinite().all() or (name == "std" and numbers.min() <= 0):
        raise UsageError(f"the preprocessing has the {name} {str(values)[:60]}; it should be three numbers")
    return numbers.expand(3).reshape(3, 1, 1).clone()


def _length_first(visual: nn.Module) -> None:
    """Switch open_clip's own transformers to tokens [L, N, D], the layout that attention works in.

    With the batch first, each attention layer transposes its tokens, and its first matrix product multiplies image by
    image, which takes ten times as long (docs/speed.md).
    """
    transformer = getattr(visual, "transformer", None)
    if transformer is not None and getattr(transformer, "batch_first", False):
        for module in transformer.modules():
            if hasattr(module, "batch_first"):
                module.batch_first = False


class ClipEnsemble(nn.Module):
    """CLIP models whose weighted losses are added (StyleGAN-NADA, supplementary); iterating yields the models.

    Args:
        models: one model or more, on the same device.

    Raises:
        UsageError: there are no models.
    """

    def __init__(self, models: Sequence[ClipModel]):
        super().__init__()
        if not models:
            raise UsageError("an ensemble needs at least one CLIP model")
        self.models = nn.ModuleList(models)

    def __iter__(self) -> Iterator[ClipModel]:
        return cast(Iterator[ClipModel], iter(self.models))

    def __len__(self) -> int:
        return len(self.models)

    @property
    def small(self) -> bool:
        """Whether all models are far smaller than any published one (ViT-B/32 has 151 million parameters)."""
        return all(sum(p.numel() for p in model.parameters()) < SMALL_PARAMETERS for model in self)

    def describe(self) -> list[dict[str, Any]]:
        """Return name, weight and fingerprint of each model, JSON-able and without paths, for recipes and keys."""
        return [{"name": m.name, "weight": m.weight, "fingerprint": m.fingerprint} for m in self]
