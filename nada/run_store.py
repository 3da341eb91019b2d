"""Runs that can go on: the states of adaptations, found again by what they were asked to do.

The same generator, CLIP models, settings and style images lead to the same result, so a run that was stopped goes on,
one that is done is not repeated, and one that shall be longer starts where the shorter one ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from .clip import ClipEnsemble
from .config import AdaptConfig
from .errors import NadaError
from .files import prune
from .resume import RunState, clip_probes, load_state, save_state
from .stylegan2 import Generator

log = logging.getLogger(__name__)

MAX_BYTES = 4 << 30  # of all states; the ones unused for longest go first
ENDING = ".safetensors"


class RunStore:
    """The states of one run, at different iterations, in a folder that other runs share.

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
        self.key = _key(generator, clip, config, style_images)

    def find(self) -> RunState | None:
        """The state to go on from: the furthest one that has not gone too far; None if there is none."""
        done = {int(path.stem.rpartition("-")[2]): path for path in self.folder.glob(f"{self.key}-*{ENDING}")}
        for iteration in sorted(done, reverse=True):
            if iteration > self.iterations:
                continue
            try:
                state = load_state(done[iteration])
                os.utime(done[iteration])  # was used now
                return state
            except (NadaError, OSError) as error:
                log.warning("a stored run is of no use: %s", error)
        return None

    def keep(self, state: RunState) -> None:
        """Store a state; a failure costs a line in the log, and the run its continuation."""
        path = self.folder / f"{self.key}-{state.recipe['iterations_done']}{ENDING}"
        try:
            save_state(state, path)
            prune(self.folder, f"*{ENDING}", self.limit, path)
        except (NadaError, OSError) as error:
            log.warning("the run cannot go on later: %s", error)


def _key(generator: Generator, clip: ClipEnsemble, config: AdaptConfig, style_images: Tensor | None) -> str:
    """What decides about each step of a run, as 32 hexadecimal digits. How many steps there are does not."""
    settings = {name: value for name, value in asdict(config).items() if name != "iterations"}
    digest = hashlib.sha256(json.dumps([settings, generator.fingerprint(), clip.describe()], sort_keys=True).encode())
    for tensor in (*clip_probes(clip).values(), *(() if style_images is None else (style_images,))):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
