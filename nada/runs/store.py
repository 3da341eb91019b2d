"""Cache runs under a key of everything that determines their result.

The same generator, CLIP models, settings and style images lead to the same result. So a stopped run is resumed, a
finished one is not repeated, and a longer run starts where a shorter one ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from ..clip.models import ClipEnsemble
from ..errors import NadaError
from ..files import EVICTED, prune
from ..generators import Generator
from ..photo.loop import PhotoLoop, load_photo_state, save_photo_state
from ..text_edits import LatentMapper, MapperConfig, load_mapper, save_mapper
from ..training.config import AdaptConfig
from ..training.state import state_key
from .folder import RunFolder, load_or_set_aside
from .keeper import Keeper
from .names import slug
from .result_folder import RECORD
from .snapshots import evenly

Loop = TypeVar("Loop", bound=PhotoLoop[Any])
log = logging.getLogger(__name__)

MAX_BYTES = 4 << 30  # limit for the entries that a store made itself; the least recently used are deleted first
MAPPER_ENDING = ".mapper.safetensors"
PHOTO_ENDING = ".photo.safetensors"
PHOTO_STATES = 6  # number of times that a projection or tuning saves its state
OWN = re.compile(r".+-([0-9a-f]{12})(.*)")  # names of a store's own entries: beginning of the key, and ending


class RunStore:
    """Cache of run folders inside one folder. Run folders put there by others are found too, and never deleted.

    Args:
        root: folder of the cache; the store's own entries in it may be deleted at any time.
        limit: largest size of the store's own entries in bytes.
    """

    def __init__(self, root: str | os.PathLike[str], limit: int = MAX_BYTES):
        self.root, self.limit = Path(root), limit

    def folder(self, key: str, name: str) -> RunFolder:
        """Find the folder of the run with a key, or name a new one.

        Args:
            key: cache key from `run_key`.
            name: name of a new folder; the first 12 digits of the key are appended.
        """
        own = self.root / f"{name}-{key[:12]}"
        path = own if own.is_dir() else next(self._others(key), own)
        if path.is_dir():
            self.use(path)
        return RunFolder(path)

    def use(self, path: Path) -> None:
        """Mark an entry as used now, and prune: the run that saved it may have been killed before it could."""
        with suppress(OSError):
            os.utime(path)
        self.prune(path)

    def _others(self, key: str) -> Iterator[Path]:
        """Find folders with other names that hold a state of this key, such as those of the command line."""
        for path in sorted(path for path in self.root.glob("*") if path.is_dir() and path.suffix != EVICTED):
            if any(state_key(state) == key for state in RunFolder(path).states().values()):
                yield path

    def prune(self, kept: Path) -> None:
        """Delete the least recently used entries until the rest fits the limit. Failures are left to the next use.

        Args:
            kept: an entry to keep in any case. Folders with results of the command line are never deleted either.
        """
        with suppress(OSError):
            for path in self.root.glob(f"*{EVICTED}"):  # left by a process that was killed while it pruned
                if OWN.fullmatch(path.stem):
                    shutil.rmtree(path, ignore_errors=True)
            prune(filter(_is_own, self.root.iterdir()), self.limit, kept)


def _is_own(path: Path) -> bool:
    """Whether a store made an entry. The name of a user's folder may look alike, such as dogs-202601151230."""
    if not (match := OWN.fullmatch(path.name)):
        return False
    if match[2]:
        return match[2] in (MAPPER_ENDING, PHOTO_ENDING)
    states = RunFolder(path).states().values()
    return not (path / RECORD).exists() and any(state_key(state).startswith(match[1]) for state in states)


class MapperStore:
    """Cache for the trained mapper of one set of settings.

    A partial training is not stored: the schedule depends on the number of iterations, so it could not be resumed.

    Args:
        root: see `RunStore`.
        generator, clip, config: as for `train_mapper`.
        limit: see `RunStore`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        generator: Generator,
        clip: ClipEnsemble,
        config: MapperConfig,
        limit: int = MAX_BYTES,
    ):
        self.store, self.codes = RunStore(root, limit), (generator.num_ws, generator.config.w_dim)
        key = run_key(generator, clip, asdict(config))
        self.path = self.store.root / f"{slug(config.target)}-{key[:12]}{MAPPER_ENDING}"

    def find(self) -> LatentMapper | None:
        """Load the mapper if it was trained before, else return None. A damaged file is set aside.

        Raises:
            UnreadableError: the file cannot be read here and now, and may yet be whole.
        """
        return load_or_set_aside(self.path, self._load) if self.path.is_file() else None

    def _load(self, path: Path) -> LatentMapper:
        mapper = load_mapper(path)
        if (mapper.num_ws, mapper.w_dim) != self.codes:
            raise NadaError(f"it moves codes [{mapper.num_ws}, {mapper.w_dim}] instead of {list(self.codes)}")
        self.store.use(path)
        return mapper

    def keep(self, mapper: LatentMapper) -> None:
        """Save the mapper. On failure, log a warning; it must then be trained again next time."""
        try:
            save_mapper(mapper, self.path)
            self.store.prune(self.path)
        except (NadaError, OSError) as error:
            log.warning("the mapper must be trained again next time: %s", error)


class PhotoStore(Keeper[Any], Generic[Loop]):
    """Iterator over the remaining iterations of a projection or tuning, which saves its state at some of them.

    The loop is resumed if stopped and reused if finished. A crash costs only the iterations since the last state. Call
    `keep` when you leave a loop early.

    Args:
        root: see `RunStore`.
        make: creates the loop at its start.
        name: prefix of the file's name.
        limit: see `RunStore`.

    Attributes:
        loop: the projection or tuning, restored from the stored state if there is one. A damaged state is set aside.

    Raises:
        UnreadableError: the stored state cannot be read here and now, and may yet be whole.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        make: Callable[[], Loop],
        name: str,
        limit: int = MAX_BYTES,
    ):
        self.store, self.loop = RunStore(root, limit), make()
        self.path = self.store.root / f"{name}-{self.loop.key[:12]}{PHOTO_ENDING}"
        if self.path.is_file() and load_or_set_aside(self.path, self._restore) is None:
            self.loop = make()  # the damaged state may have been restored in part
        super().__init__(self.loop)
        self._moments = set(evenly(len(self.loop), PHOTO_STATES))

    def _restore(self, path: Path) -> Loop:
        self.loop.restore(load_photo_state(path))
        self.store.use(path)
        return self.loop

    def __next__(self) -> Any:
        step = next(self.loop)
        if self.loop.iteration in self._moments:
            self.keep()
        return step

    def _save(self) -> None:
        save_photo_state(self.loop.state(), self.path)

    def _prune(self) -> None:
        self.store.prune(self.path)


def adaptation_key(
    generator: Generator, clip: ClipEnsemble, config: AdaptConfig, style_images: Tensor | None = None
) -> str:
    """Cache key of an adaptation (see `run_key`); runs that differ only in length share it."""
    return run_key(generator, clip, config.identity, style_images)


def run_key(
    generator: Generator, clip: ClipEnsemble, settings: Mapping[str, Any], style_images: Tensor | None = None
) -> str:
    """Cache key: hash of everything that determines the training result, as 64 hexadecimal digits.

    Args:
        generator: the base; its fingerprint counts.
        clip: the CLIP models; their names, weights in the ensemble and fingerprints count.
        settings: JSON-serializable settings.
        style_images: pictures of the target, [N, 3, H, W]; None for a target text alone.
    """
    description = [settings, generator.fingerprint(), clip.describe()]
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    if style_images is not None:
        digest.update(repr(tuple(style_images.shape)).encode())
        digest.update(style_images.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
