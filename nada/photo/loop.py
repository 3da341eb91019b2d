"""What projection and tuning have in common: photos to come near to, pieces of a batch, and a state to resume from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor

from ..checkpoint.metadata import strict_json
from ..checkpoint.own_files import read_own_file
from ..checkpoint.saving import write_safetensors
from ..clip.models import ClipEnsemble
from ..errors import NadaError, UsageError
from ..generators import Generator
from ..settings import Setting, check_settings
from ..training.loop import TrainingLoop
from ..training.pieces import slices
from ..training.state import optimizer_tensors, restore_optimizer
from .distance import PhotoDistance
from .lpips import find_lpips

Record = TypeVar("Record")
KEY, VERSION = "nada-photo-state", 1
SHAPE = {"recipe": {"iterations_done": int}}


@dataclass(frozen=True, kw_only=True)
class DistanceConfig:
    """Settings of the distance to photos that projection and tuning minimize.

    Raises:
        UsageError: a value is out of range.
    """

    pyramid_weight: Annotated[
        float, Setting("Weight of the difference of pixels, averaged over scales from 256 to 8 px.", low=0)
    ] = 1.0
    clip_weight: Annotated[
        float, Setting("Weight of the distance of the CLIP models' features, place by place.", low=0)
    ] = 0.3
    lpips_weight: Annotated[
        float | None,
        Setting(
            "Weight of LPIPS. It needs the package lpips, and a VGG or AlexNet that torchvision has downloaded. "
            "Default: 1 where these are at hand, else 0.",
            low=0,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class PhotoState:
    """Everything that a projection or tuning needs to resume, beside generator, photos and CLIP models.

    Attributes:
        recipe: see `PhotoLoop.recipe`.
        tensors: {name: tensor} on the CPU: what is trained, and Adam's averages.
    """

    recipe: dict[str, Any]
    tensors: dict[str, Tensor]


class PhotoLoop(TrainingLoop[Record]):
    """An iterator of records that brings a generator's images near to photos.

    Args:
        generator: the base; it is not changed.
        photos: [N, 3, H, W] in [-1, 1], aligned squares, of the size of the generator's images, on its device.
        config: weights of the distance, and the settings of the subclass.
        iterations: number of steps.
        clip: the models for `clip_weight`, on the same device; without them, it counts as 0.

    Attributes:
        photos: as given.
        pieces: parts that each batch is computed in; more take less memory, and the results are the same.
        leaves: {name: tensor}, what the optimizer moves.
        optimizer: Adam over the leaves.

    Raises:
        UsageError: the photos do not fit the generator, or nothing is left to compare them by.
    """

    leaves: dict[str, Tensor]
    optimizer: torch.optim.Adam

    @torch.inference_mode(False)
    def __init__(
        self,
        generator: Generator,
        photos: Tensor,
        config: DistanceConfig,
        iterations: int,
        clip: ClipEnsemble | None,
    ):
        super().__init__(iterations)
        size = tuple(generator.config.image_size)
        if photos.ndim != 4 or not len(photos) or photos.shape[1] != 3 or tuple(photos.shape[2:]) != size:
            raise UsageError(
                f"the photos are {list(photos.shape)}; this generator makes [N, 3, {size[0]}, {size[1]}]. Align them "
                "to that size first"
            )
        self.base, self.photos, self.config, self.pieces = generator, photos.detach().clone(), config, 1
        lpips = find_lpips() if config.lpips_weight != 0 else None
        if config.lpips_weight and lpips is None:
            raise UsageError(
                "lpips_weight is set, but LPIPS is not at hand: pip install lpips, and let torchvision download VGG "
                "once: torchvision.models.vgg16(weights='DEFAULT'). Or leave lpips_weight out"
            )
        weights = {
            "pyramid": config.pyramid_weight,
            "clip": config.clip_weight if clip is not None else 0.0,
            "lpips": float(lpips is not None) if config.lpips_weight is None else config.lpips_weight,
        }
        if not any(weights.values()):
            raise UsageError("nothing compares images with the photos; raise pyramid_weight, or give CLIP models")
        lpips = lpips.to(generator.device) if lpips else None
        self.distance = PhotoDistance(self.photos, weights, clip, lpips)
        self._known = {
            **asdict(config),
            "weights": weights,
            "clip": clip.describe() if weights["clip"] and clip is not None else [],
            "base": generator.fingerprint(),
            "photos": tensor_hash(photos),
        }

    def parts(self) -> Iterator[slice]:
        """The photos of each piece of a batch."""
        yield from slices(len(self.photos), self.pieces)

    def spare_memory(self) -> bool:
        """Halve the memory of the steps to come, for more time; False if a step takes as little as it can already."""
        if self.pieces >= len(self.photos):
            return False
        self.pieces *= 2
        return True

    @property
    def images_at_once(self) -> int:
        """How many images fit into memory at once, as far as the steps have shown."""
        return max(1, len(self.photos) // self.pieces)

    @property
    def key(self) -> str:
        """Cache key: hash of everything that determines the result, as 64 hexadecimal digits."""
        return sha256(json.dumps(self._known, sort_keys=True).encode()).hexdigest()

    def recipe(self) -> dict[str, Any]:
        """All that is needed to do this again, JSON-able: configuration, CLIP models, base, photos, steps done."""
        return {**self._known, "iterations_done": self.iteration}

    def state(self) -> PhotoState:
        """A copy of what a continuation needs; pass it to `restore` of a new loop."""
        tensors = optimizer_tensors(self.optimizer, self.leaves)
        if self.iteration >= self.iterations:  # Adam's averages are two thirds of the file, and no step needs them
            tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("trained.")}
        return PhotoState(self.recipe(), tensors)

    def restore(self, state: PhotoState) -> None:
        """Continue from the state of an equal loop. On the CPU the result is that of a loop that never stopped.

        Raises:
            UsageError: the state is of other photos, settings or models.
            NadaError: it is damaged.
        """
        refuse_another(state.recipe, self.recipe())
        self.iteration = state.recipe["iterations_done"]
        if self.iteration > self.iterations:
            raise NadaError(f"the state is damaged: {self.iteration} of {self.iterations} steps are done")
        self.prepare(state.tensors)
        restore_optimizer(self.optimizer, self.leaves, state.tensors)
        self.start_clock()

    def prepare(self, tensors: Mapping[str, Tensor]) -> None:
        """Set up `leaves` and `optimizer` for the present iteration, before a state is restored to them."""


def refuse_another(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Make sure that a loop may continue from a state.

    Args:
        theirs: recipe of the state.
        ours: recipe of the continuation.

    Raises:
        UsageError: they differ in more than the steps done.
    """
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name) and name != "iterations_done"]
    done = theirs.get("iterations_done")
    if names or type(done) is not int or done < 0:
        what = ", ".join(names) or "the number of steps"
        raise UsageError(f"the state is that of another run: {what} differs; start without it")


def save_photo_state(state: PhotoState, path: str | os.PathLike[str]) -> None:
    """Write a state as safetensors; the file appears whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    write_safetensors(tensors, {KEY: strict_json({"format": VERSION, "recipe": state.recipe})}, path)


def load_photo_state(path: str | os.PathLike[str]) -> PhotoState:
    """Read a state. Nothing in the file is executed.

    Raises:
        CheckpointError: the file does not exist, is damaged, or is no such state.
    """
    description, tensors = read_own_file(path, KEY, VERSION, "state of a projection or tuning", SHAPE)
    return PhotoState(description["recipe"], tensors)


def tensor_hash(tensor: Tensor) -> str:
    """SHA-256 of a tensor's shape and numbers as float32."""
    digest = sha256(repr(tuple(tensor.shape)).encode())
    digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
