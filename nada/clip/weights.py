"""Read CLIP weights, without executing anything in the file, and copy them into a network of open_clip."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..checkpoint.containers import read_document
from ..checkpoint.document import Document
from ..checkpoint.loading import opened
from ..checkpoint.window import Window
from ..errors import CheckpointError

ENDINGS = (".safetensors", ".bin", ".pt", ".pth")  # suffixes of weights files, the preferred one first
_TOWERS = ("visual.", "image_encoder.")  # prefixes of the image tower, in open_clip and in Apple's files
_TRANSFORMERS = re.compile(r"(^|\.)(text_model|vision_model)\.")
_SCALES = ("logit_scale", "logit_bias")  # scale of similarities, which directions do not depend on
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
_TIMES, _MORE = 8, 1 << 24  # a network may allocate _TIMES as many numbers as its weights have, and _MORE


@dataclass(frozen=True)
class Weights:
    """The floating-point tensors of a CLIP model."""

    file: str
    """Name of the file, without folder."""
    tensors: dict[str, Tensor]
    """Tensors by their names in open_clip or in the publisher's own code; float32, on the CPU."""
    halved: bool
    """Whether the file keeps all tensors in half precision, or less."""

    @property
    def openai(self) -> bool:
        """Whether these are OpenAI's: matrices exact in half precision, in a file that is not all in half precision.

        OpenAI published matrices in half precision and the rest in float32. Matrices of other weights are exact only if
        the whole file was rounded, and then it cannot be told whose they are.
        """
        matrices = [t for name, t in self.tensors.items() if t.ndim > 1 and "embedding" not in name]
        return not self.halved and all(torch.equal(t.half().float(), t) for t in matrices)


def weights_in(folder: Path) -> Path:
    """Return the weights file in a folder: safetensors before pickled files, open_clip's file names before others.

    Raises:
        CheckpointError: the folder holds no weights file.
    """
    found = [path for path in folder.iterdir() if path.suffix in ENDINGS]
    if not found:
        raise CheckpointError(f"{folder.name}: the folder holds no weights ({', '.join(ENDINGS)})")
    return min(found, key=lambda p: (ENDINGS.index(p.suffix), not p.name.startswith("open_clip"), p.name))


def read_weights(path: Path) -> Weights:
    """Read the tensors of a CLIP model from safetensors, a torch file, a pickled model or a TorchScript archive.

    Prefixes of wrappers around the model (a trainer's state, DataParallel, torch.compile) are removed from the names.

    Raises:
        CheckpointError: the file is damaged or hostile, or holds no CLIP model that a network of open_clip can load.
    """
    with opened(path) as file:
        document = read_document(Window.whole(file), scripted=True)
        views = _model(document).tensors
        types = {name: view.storage.open().dtype for name, view in views.items()}
        whole = sum(view.numel * types[name].itemsize for name, view in views.items())
        if whole > 2 * path.stat().st_size + _MORE:  # honest files tie a few; any number may be views of one storage
            raise CheckpointError("the file is damaged: its tensors repeat each other's numbers")
        tensors = {name: view.read() for name, view in views.items() if types[name].is_floating_point}
        return Weights(path.name, tensors, all(types[name].itemsize <= 2 for name in tensors))


def _model(document: Document) -> Document:
    """Return the part of a document that is a CLIP model, under the names of its state dict."""
    if any(_TRANSFORMERS.search(name) for name in document.tensors):
        if not any("vision_model." in name for name in document.tensors):
            raise CheckpointError("these are the weights of a text encoder alone; a whole CLIP model is needed")
        raise CheckpointError("these are weights under the names of the transformers library, which open_clip lacks")
    for prefix in document.prefixes_of(_SCALES[:1]):
        model = document.under(prefix)
        if any(name.startswith(_TOWERS) for name in model.tensors):
            return model
    examples = ", ".join(sorted(document.tensors)[:3]) or "no tensors"
    raise CheckpointError(f"the file holds no CLIP model; it holds {examples}")


class Limited(TorchFunctionMode):
    """A context manager that refuses to build a network far larger than the given weights.

    A configuration can ask for any number of layers of any width, while the size of the weights is known. Tensors that
    are created inside the context are counted before they take memory.
    """

    def __init__(self, weights: Weights):
        super().__init__()
        self._file = weights.file
        self._left = _TIMES * sum(tensor.numel() for tensor in weights.tensors.values()) + _MORE

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if function in _MAKERS:
            shape = options.get("size", args[0] if args and isinstance(args[0], (list, tuple)) else args)
            self._left -= prod(size for size in shape if isinstance(size, int))
            if self._left < 0:
                raise CheckpointError(
                    f"{self._file}: the configuration describes a far larger network; these weights belong to another "
                    "architecture"
                )
        return function(*args, **options)


@torch.no_grad()
def fill(network: nn.Module, weights: Weights) -> None:
    """Copy weights into a network of open_clip; resample position embeddings of another size.

    Raises:
        CheckpointError: the weights belong to another architecture.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    given = convert_state_dict(network, dict(weights.tensors))
    if "positional_embedding" in given and not hasattr(network, "positional_embedding"):
        given = convert_to_custom_text_state_dict(given)
    resize_pos_embed(given, network)
    resize_text_pos_embed(given, network)
    own = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    computed = dict(network.named_buffers()).keys() - network.state_dict().keys()  # files of whole models hold them too
    given = {name: t for name, t in given.items() if name not in computed and not name.endswith("attn_mask")}
    for name in {*_SCALES} & given.keys():  # files have them as [] or [1]
        scale = given.pop(name)
        if name in own and scale.numel() == 1:
            given[name] = scale.reshape(own[name].shape)
    if complaint := _difference(given, own):
        raise CheckpointError(f"{weights.file}: {complaint}; these weights belong to another architecture")
    network.load_state_dict(given, strict=False)


def _difference(given: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    """Return the first way in which tensors do not fit a network, or ""."""
    if missing := sorted(own.keys() - given.keys() - {*_SCALES}):
        return f"{len(missing)} tensors are missing, such as {missing[0]!r}"
    if extra := sorted(given.keys() - own.keys()):
        return f"{len(extra)} tensors have no place in it, such as {extra[0]!r}"
    if misfits := sorted(name for name, tensor in given.items() if tensor.shape != own[name].shape):
        shapes = [list(table[misfits[0]].shape) for table in (given, own)]
        return f"{len(misfits)} tensors have another shape, such as {misfits[0]!r}: {shapes[0]} instead of {shapes[1]}"
    return ""
