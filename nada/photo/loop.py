"""Base of projection and tuning: a training loop towards photos, in chunks, with a state to resume from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor

from ..checkpoint.metadata import header_json
from ..checkpoint.own_files import OwnKind, read_own_file
from ..checkpoint.saving import tensor_hash, write_safetensors
from ..clip.models import ClipEnsemble
from ..errors import NadaError, UsageError
from ..generators import Generator
from ..lpips.network import ADVICE, find_lpips
from ..settings import Setting, check_settings
from ..training.loop import TrainingLoop
from ..training.pieces import slices
from ..training.state import optimizer_tensors, restore_optimizer
from .distance import PhotoDistance

Record = TypeVar("Record")
KEY, VERSION = "nada-photo-state", 1
KIND = OwnKind(KEY, VERSION, "state of a projection or tuning", {"recipe": {"iterations_done": int}})


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
    """All that a projection or tuning needs to resume, in addition to generator, photos and CLIP models.

    Attributes:
        recipe: see `PhotoLoop.recipe`.
        tensors: {name: tensor} on the CPU: trained tensors, and Adam's averages.
    """

    recipe: dict[str, Any]
    tensors: dict[str, Tensor]


class PhotoLoop(TrainingLoop[Record]):
    """An iterator of records that minimizes the distance of a generator's images to photos.

    Args:
        generator: the base; it is not changed.
        photos: [N, 3, H, W] in [-1, 1], aligned squares, of the size of the generator's images, on its device.
        config: weights of the distance, and the settings of the subclass.
        iterations: number of iterations.
        clip: the models for `clip_weight`, on the same device; without them, the weight counts as 0.

    Attributes:
        photos: the photos as given; not a copy, so nothing may write into them.
        pieces: number of chunks that each batch is computed in; more take less memory, and the results are the same.
        leaves: {name: tensor}, the tensors that the optimizer trains.
        optimizer: Adam for the leaves.

    Raises:
        UsageError: the photos do not fit the generator, or all weights of the distance are 0.
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
        super().__init__(iterations, (generator, *(clip or ())))
        size = tuple(generator.config.image_size)
        if photos.ndim != 4 or not len(photos) or photos.shape[1] != 3 or tuple(photos.shape[2:]) != size:
            raise UsageError(
                f"the photos are {list(photos.shape)}; this generator makes [N, 3, {size[0]}, {size[1]}]. Align them "
                "to that size first"
            )
        self.base, self.photos, self.config, self.pieces = generator, photos.detach(), config, 1
        lpips = find_lpips() if config.lpips_weight != 0 else None
        if config.lpips_weight and lpips is None:
            raise UsageError(
                f"lpips_weight is set, but LPIPS is not on this machine: {ADVICE}. Or leave lpips_weight out"
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
        if lpips is not None and weights["lpips"]:
            self._known["lpips"] = lpips.name

    def parts(self) -> Iterator[slice]:
        """Yield the slice of the photos in each chunk of a batch."""
        yield from slices(len(self.photos), self.pieces)

    def spare_memory(self) -> bool:
        """Halve the chunk size of the next iterations: less memory, more time; False if a chunk is a single photo."""
        if self.pieces >= len(self.photos):
            return False
        self.pieces *= 2
        return True

    @property
    def images_at_once(self) -> int:
        """Number of images that fit into memory at once, as far as the iterations so far have shown."""
        return max(1, len(self.photos) // self.pieces)

    @property
    def key(self) -> str:
        """Cache key: hash of everything that determines the result, as 64 hexadecimal digits."""
        return sha256(json.dumps(self._known, sort_keys=True).encode()).hexdigest()

    def recipe(self) -> dict[str, Any]:
        """Return all that is needed to repeat the run, JSON-able: settings, CLIP models, base, photos, iterations."""
        return {**self._known, "iterations_done": self.iteration}

    def state(self) -> PhotoState:
        """Return a copy of all that is needed to resume; pass it to `restore` of a new loop."""
        tensors = optimizer_tensors(self.optimizer, self.leaves)
        if self.iteration >= self.iterations:  # no iteration is left that needs Adam's averages, two thirds of the file
            tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("trained.")}
        return PhotoState(self.recipe(), tensors)

    def restore(self, state: PhotoState) -> None:
        """Resume from the state of an equal loop. On the CPU the result is that of a loop that never stopped.

        Raises:
            UsageError: the state belongs to other photos, settings or models.
            NadaError: the state is damaged.
        """
        refuse_another(state.recipe, self.recipe())
        self.iteration = state.recipe["iterations_done"]
        if self.iteration > self.iterations:
            raise NadaError(f"the state is damaged: {self.iteration} of {self.iterations} iterations are done")
        self.prepare(state.tensors)
        restore_optimizer(self.optimizer, self.leaves, state.tensors)
        self.start_clock()

    def prepare(self, tensors: Mapping[str, Tensor]) -> None:
        """Set up `leaves` and `optimizer` for the current iteration, before the state is copied into them."""


def refuse_another(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Check that a loop may resume from a state.

    Args:
        theirs: recipe of the state.
        ours: recipe of the loop that resumes.

    Raises:
        UsageError: the recipes differ in more than the iterations done.
    """
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name) and name != "iterations_done"]
    done = theirs.get("iterations_done")
    if names or type(done) is not int or done < 0:
        what = ", ".join(names) or "the number of iterations"
        raise UsageError(f"the state is that of another run: {what} differs; start without it")


def save_photo_state(state: PhotoState, path: str | os.PathLike[str]) -> None:
    """Write a state atomically as safetensors.

    Args:
        state: the state.
        path: the file to create or replace.

    Raises:
        NadaError: a number is not finite, or the file cannot be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    write_safetensors(tensors, {KEY: header_json({"format": VERSION, "recipe": state.recipe})}, path)


def load_photo_state(path: str | os.PathLike[str]) -> PhotoState:
    """Load a state that `save_photo_state` wrote. Nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        The state, its tensors on the CPU.

    Raises:
        CheckpointError: the file does not exist, is damaged, or is no such state.
    """
    description, tensors = read_own_file(path, KIND)
    return PhotoState(description["recipe"], tensors)
