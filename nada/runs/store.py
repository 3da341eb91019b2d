"""Runs that can go on: the states of adaptations, found again by what they were asked to do.

The same generator, CLIP models, settings and style images lead to the same result, so a run that was stopped goes on,
one that is done is not repeated, and one that shall be longer starts where the shorter one ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ..clip.models import ClipEnsemble
from ..errors import NadaError
from ..files import prune
from ..generators import Generator
from ..styles.files import load_style, save_style
from ..text_edits import LatentMapper, MapperConfig, load_mapper, save_mapper
from ..training.config import AdaptConfig
from ..training.state import RunState, clip_probes, load_state, save_state
from .snapshots import Snapshot

log = logging.getLogger(__name__)
MAX_BYTES = 4 << 30  # of all states and snapshots; the ones unused for longest go first
ENDING = ".safetensors"
Content = TypeVar("Content")
MOMENTS = "snapshots"  # the note in a state about those that were taken


class RunStore:
    """The states and snapshots of one run, at different iterations, in a folder that other runs share.

    Args:
        folder: used for nothing else; it may be deleted at any time.
        generator, clip, config, style_images: as for `adapt`.
        limit: bytes to keep of all runs.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        generator: Generator,
        clip: ClipEnsemble,
        config: AdaptConfig,
        style_images: Tensor | None = None,
        limit: int = MAX_BYTES,
    ):
        self.folder, self.limit = Path(folder), limit
        self.iterations = config.iterations
        settings = {name: value for name, value in asdict(config).items() if name != "iterations"}
        self.key = run_key(generator, clip, settings, style_images)

    def find(self) -> RunState | None:
        """The state to go on from: the furthest one that has not gone too far; None if there is none."""
        done = {int(path.stem.rpartition("-")[2]): path for path in self.folder.glob(f"{self.key}-*{ENDING}")}
        for iteration in sorted(done, reverse=True):
            if iteration > self.iterations:
                continue
            if state := _read(load_state, done[iteration], "run"):
                return state
        return None

    def keep(self, state: RunState, replaces: int = 0) -> None:
        """Store a state; a failure costs a line in the log, and the run its continuation.

        Args:
            state: of the run.
            replaces: iteration of an earlier state that is of no more use; 0 for none.
        """
        path = self._state_path(state.recipe["iterations_done"])
        if _write(save_state, state, path, self.limit, "the run cannot go on later:") and replaces:
            self._state_path(replaces).unlink(missing_ok=True)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Store a snapshot's style; its figures belong into the notes of the states (see `describe`)."""
        path = self._style_path(snapshot.iteration)
        _write(save_style, snapshot.style, path, self.limit, "the snapshot cannot be picked later:")

    def snapshots(self, state: RunState) -> list[Snapshot]:
        """Those that a state speaks of, as far as they are still there."""
        found = []
        for figures in state.notes.get(MOMENTS, ()):
            if style := _read(load_style, self._style_path(figures["iteration"]), "snapshot"):
                found.append(Snapshot(style=style, **figures))
        return found

    def _state_path(self, iteration: int) -> Path:
        return self.folder / f"{self.key}-{iteration}{ENDING}"

    def _style_path(self, iteration: int) -> Path:
        return self.folder / f"{self.key}.at-{iteration}{ENDING}"


def describe(snapshots: Iterable[Snapshot]) -> dict[str, list[dict[str, float]]]:
    """Their figures, as a note for a state."""
    return {MOMENTS: [{name: getattr(s, name) for name in ("iteration", "agreement", "variety")} for s in snapshots]}


class MapperStore:
    """The result of one training of a mapper, in the same folder; whose steps all depend on how many there shall be.

    Args:
        folder, limit: see `RunStore`.
        generator, clip, config: as for `train_mapper`.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        generator: Generator,
        clip: ClipEnsemble,
        config: MapperConfig,
        limit: int = MAX_BYTES,
    ):
        self.limit = limit
        self.path = Path(folder) / f"{run_key(generator, clip, asdict(config))}.mapper{ENDING}"

    def find(self) -> LatentMapper | None:
        """The mapper, if it has been trained before."""
        return _read(load_mapper, self.path, "mapper") if self.path.is_file() else None

    def keep(self, mapper: LatentMapper) -> None:
        """Store it; a failure costs a line in the log."""
        _write(save_mapper, mapper, self.path, self.limit, "the mapper must be trained again next time:")


def run_key(
    generator: Generator, clip: ClipEnsemble, settings: Mapping[str, Any], style_images: Tensor | None = None
) -> str:
    """What decides about each step of a training, as 32 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([settings, generator.fingerprint(), clip.describe()], sort_keys=True).encode())
    for tensor in (*clip_probes(clip).values(), *(() if style_images is None else (style_images,))):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _read(load: Callable[[Path], Content], path: Path, what: str) -> Content | None:
    """A stored file, which counts as used now; None, and a line in the log, if it is gone or damaged."""
    try:
        content = load(path)
        os.utime(path)
        return content
    except (NadaError, OSError) as error:
        log.warning("a stored %s is of no use: %s", what, error)
        return None


def _write(save: Callable[[Content, Path], None], content: Content, path: Path, limit: int, loss: str) -> bool:
    """Store a file, and make room for it; whether that worked. If not, the log says `loss` and why."""
    try:
        save(content, path)
        prune(path.parent, f"*{ENDING}", limit, path)
        return True
    except (NadaError, OSError) as error:
        log.warning("%s %s", loss, error)
        return False
