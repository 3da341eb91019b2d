"""Small encoder, of one or two megabytes, for a small generator; tools/demo_world/train_encoder.py trains it."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoint.metadata import damaged, header_json
from ...checkpoint.own_files import OwnKind, is_own_file, read_own_file
from ...checkpoint.saving import write_safetensors
from ...clip.resizing import resized
from ...demo.network import GROUPS, Stage
from ...errors import CheckpointError, NadaError, UsageError
from ...generators import Generator
from .published import BATCH

log = logging.getLogger(__name__)
KEY, VERSION = "nada-encoder", 1  # key and format of the description in the file's metadata
LAST = 4  # side of the last feature maps in pixels
MAX_SIZE = 1024  # limit of every size in a config
SHAPE: dict[str, Any] = {
    "config": {"size": int, "widths": [int], "hidden": int, "num_ws": int, "w_dim": int},
    "base": str,
    "recipe": dict,
}
KIND = OwnKind(KEY, VERSION, "encoder", SHAPE, max_bytes=1 << 26)


@dataclass(frozen=True)
class SmallEncoderConfig:
    """Sizes of a small encoder.

    Raises:
        UsageError: a size is impossible.
    """

    size: int
    """Side of the network's input in pixels, 4 * 2 ** len(widths)."""
    widths: tuple[int, ...]
    """Channels of the stages, each of which halves the resolution; multiples of 8."""
    hidden: int
    """Width of the hidden layer between features and codes."""
    num_ws: int
    w_dim: int

    def __post_init__(self) -> None:
        numbers = (self.size, *self.widths, self.hidden, self.num_ws, self.w_dim)
        if not (
            self.widths
            and all(0 < number <= MAX_SIZE for number in numbers)
            and self.size == LAST << len(self.widths)
            and all(width % GROUPS == 0 for width in self.widths)
        ):
            raise UsageError(f"an encoder cannot have these sizes: {self}")


class SmallEncoder(nn.Module):
    """Small convolutional encoder: a code w, and offsets from it for other layers (as e4e, arXiv 2102.02766). Frozen.

    Attributes:
        base: fingerprint of the generator that the encoder was trained for.
        recipe: settings of its training, JSON-able.
        mean, spread: mean and standard deviation of the generator's codes, [w_dim] and []: the network's output is
            relative to them.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: SmallEncoderConfig, base: str = "", recipe: dict[str, Any] | None = None):
        super().__init__()
        self.config, self.base, self.recipe = config, base, recipe or {}
        self.stem = nn.Conv2d(3, config.widths[0], 5, stride=2, padding=2)
        self.stages = nn.ModuleList(Stage(narrow, wide) for narrow, wide in pairwise(config.widths))
        self.hidden = nn.Linear(config.widths[-1] * LAST**2, config.hidden)
        self.code = nn.Linear(config.hidden, config.w_dim)
        self.offsets = nn.Linear(config.hidden, (config.num_ws - 1) * config.w_dim)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)
        self.register_buffer("mean", torch.zeros(config.w_dim))
        self.register_buffer("spread", torch.ones([]))

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 3, H, W] in about [-1, 1] to codes [N, num_ws, w_dim]."""
        size = self.config.size
        if images.shape[-2:] != (size, size):
            images = resized(images, (size, size))
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        x = F.silu(self.hidden(x.flatten(1)))
        code = self.code(x)[:, None]
        offsets = self.offsets(x).view(len(x), -1, self.config.w_dim)
        return self.mean + self.spread * torch.cat([code, code + offsets], dim=1)

    @torch.no_grad()
    def encode(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the codes of images; see `nada.photo.contract.Encoder`."""
        found, expected = (self.config.num_ws, self.config.w_dim), (generator.num_ws, generator.config.w_dim)
        if found != expected:
            raise UsageError(f"the encoder finds codes {list(found)}; this generator takes {list(expected)}")
        if self.base and self.base != generator.fingerprint():
            log.warning("the encoder was trained for another generator; its codes may show something else here")
        self.to(generator.device)
        return torch.cat([self(part.to(generator.device).float().clamp(-1, 1)) for part in images.split(BATCH)])


def save_small_encoder(encoder: SmallEncoder, path: str | os.PathLike[str]) -> None:
    """Write an encoder atomically as safetensors, in half precision."""
    tensors = {name: tensor.detach().cpu().half().contiguous() for name, tensor in encoder.state_dict().items()}
    description = {"format": VERSION, "config": asdict(encoder.config), "base": encoder.base, "recipe": encoder.recipe}
    write_safetensors(tensors, {KEY: header_json(description)}, path)


def is_small_encoder(path: str | os.PathLike[str]) -> bool:
    """Whether a file describes itself as such an encoder, whole or damaged; False if it cannot be read."""
    try:
        return is_own_file(path, KEY)
    except (NadaError, OSError):
        return False


@torch.inference_mode(False)
def load_small_encoder(path: str | os.PathLike[str]) -> SmallEncoder:
    """Load an encoder from a file that `save_small_encoder` wrote. Nothing in the file is executed.

    Raises:
        CheckpointError: there is no such file, it is damaged, or another kind of file.
    """
    description, tensors = read_own_file(path, KIND)
    sizes = {name: description["config"][name] for name in SHAPE["config"]}
    try:
        config = SmallEncoderConfig(**sizes | {"widths": tuple(sizes["widths"])})
    except UsageError as error:
        raise damaged("encoder") from error
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in SmallEncoder(config).state_dict().items()}
    if expected != {name: tensor.shape for name, tensor in tensors.items()}:
        raise CheckpointError("the encoder's tensors are not those of its sizes; copy the file again")
    encoder = SmallEncoder(config, description["base"], description["recipe"])
    encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    if not all(tensor.isfinite().all() for tensor in encoder.state_dict().values()):
        raise CheckpointError("the encoder holds numbers that are not finite; copy the file again")
    return encoder.eval().requires_grad_(False)
