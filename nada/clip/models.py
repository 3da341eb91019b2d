"""CLIP models that score images by text, one or several with weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError

SMALL = 20e6  # parameters
SAMPLES = 1024  # numbers of each tensor that a fingerprint reads


class ClipModel(nn.Module):
    """One CLIP model with its tokenizer, preprocessing and weight in the ensemble. Frozen.

    Attributes:
        name: a specification without folders: it is written into files that are shared.
        weight: factor of its losses.
        model: a CLIP model of open_clip's, whose classes are known only where it is imported.
        tokenize: the tokenizer of that model.
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
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(preprocess[key]).view(3, 1, 1), persistent=False)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what judges: weights (up to `SAMPLES` evenly spaced numbers a tensor), activation, mean and std.

        The same on every device, and for weights loaded from a file, a folder or a download.
        """
        quick = any(type(module).__name__ == "QuickGELU" for module in self.model.modules())
        digest = hashlib.sha256(b"QuickGELU" if quick else b"")
        for name, tensor in [*sorted(self.model.state_dict().items()), ("mean", self.mean), ("std", self.std)]:
            count = min(tensor.numel(), SAMPLES)
            places = torch.arange(count, device=tensor.device) * tensor.numel() // max(count, 1)
            numbers = tensor.detach().reshape(-1)[places].cpu().float()
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(numbers.numpy().tobytes())
        return digest.hexdigest()

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images; gradients flow back to them.

        Args:
            images: [N, 3, H, W], about in [-1, 1] (not clamped), RGB.

        Returns:
            [N, D] float32, not normalized.
        """
        if images.shape[-2:] != self.size:
            images = F.interpolate(images, self.size, mode="bicubic", antialias=True, align_corners=False)
        x = ((images + 1) / 2 - self.mean) / self.std
        return self.model.encode_image(x).float()

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: [len(texts), D] float32, not normalized.

        The text tower, 40 % of a model, is only then where the images are judged, and in full precision.

        Raises:
            UsageError: a text is empty or longer than the model reads.
        """
        limit = self.tokenize.context_length
        for text in texts:
            if not text.strip():
                raise UsageError("a text is empty; write a word or a phrase")
        longest = self.tokenize(list(texts), context_length=4 * limit)
        lengths = (longest != longest[:, -1:]).sum(dim=1)  # the padding repeats to the end
        if (excess := int(lengths.max())) > limit:
            text = texts[int(lengths.argmax())]
            raise UsageError(
                f"the text {text[:60]!r} is {excess} tokens long; {self.name} reads {limit}. Use fewer words"
            )
        device = self.mean.device
        try:
            for part in self._words:
                part.to(device, torch.float32)
            return self.model.encode_text(self.tokenize(list(texts)).to(device)).float()
        finally:
            self._rest()

    def _rest(self) -> None:
        """Let the text tower wait on the CPU, in half precision if that loses nothing (so OpenAI's are published)."""
        for part in self._words:
            part.to("cpu", self._resting)


def _length_first(visual: nn.Module) -> None:
    """Let open_clip's own transformers keep tokens as [L, N, D], the layout that attention works in.

    Otherwise each attention transposes them, and its first matrix product, which then multiplies image by image, takes
    ten times as long (docs/speed.md).
    """
    transformer = getattr(visual, "transformer", None)
    if transformer is not None and getattr(transformer, "batch_first", False):
        for module in transformer.modules():
            if hasattr(module, "batch_first"):
                module.batch_first = False


class ClipEnsemble(nn.Module):
    """Several CLIP models, whose weighted losses are added (StyleGAN-NADA, supplementary); iterates over them."""

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
        """Whether all of them are far smaller than any published one (ViT-B/32 has 151 million parameters)."""
        return all(sum(p.numel() for p in model.parameters()) < SMALL for model in self)

    def describe(self) -> list[dict[str, Any]]:
        """Name, weight and fingerprint of each model, JSON-able, for recipes and keys. No path is among them."""
        return [{"name": m.name, "weight": m.weight, "fingerprint": m.fingerprint} for m in self]
