"""Run an adaptation that saves states and snapshots in a folder, and resumes from them."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..adapt import Adaptation, AdaptStep, adapt
from ..clip.models import ClipEnsemble
from ..errors import NadaError, UsageError, is_out_of_memory
from ..generators import Generator
from ..generators.threads import suited_threads
from ..training.config import AdaptConfig
from ..training.state import RunState
from .folder import RunFolder, set_aside
from .history import History
from .keeper import Keeper
from .names import result_name
from .snapshots import Photographer, Snapshots, evenly
from .store import RunStore, adaptation_key

log = logging.getLogger(__name__)


class KeptRun(Keeper[AdaptStep]):
    """Iterator over the remaining iterations of an adaptation, which takes snapshots at some of them.

    With each snapshot the state is saved too, so a crash costs only the iterations since then. Call `keep` when you
    leave a run early.

    Args:
        folder: a `RunFolder`; or the path of a `RunStore`, which finds the run's folder by its settings.
        generator, clip, config, style_images: as for `adapt`.
        moments: iterations at which to take snapshots, or a number of evenly spaced ones, the last at the end. A
            number also limits `snapshots`, where those of a shorter run are between them.
        notes: JSON-serializable notes, stored with the states.
        must_resume: refuse to begin a new run. Set it where the arguments do not determine the run, as when the style
            images are known only to the states.

    Attributes:
        run: the `Adaptation`.
        folder: the `RunFolder`.
        begin: number of iterations done before, when the run was resumed; else 0.
        history: the `History` of all iterations.

    Raises:
        UsageError: as `adapt`; or the states in a `RunFolder` belong to another run.
        UnreadableError: a state cannot be read here and now, and may yet be whole.
        NadaError: `must_resume` is set, and there is no usable state.
    """

    def __init__(
        self,
        folder: RunFolder | str | os.PathLike[str],
        generator: Generator,
        clip: ClipEnsemble,
        config: AdaptConfig,
        style_images: Tensor | None = None,
        moments: int | Collection[int] = 6,
        notes: Mapping[str, Any] | None = None,
        must_resume: bool = False,
    ):
        key = adaptation_key(generator, clip, config, style_images)
        self._store: RunStore | None = None
        if isinstance(folder, RunFolder):
            self.folder = folder
        else:
            self._store = RunStore(folder)
            self.folder = self._store.folder(key, result_name(config))
        self.notes = dict(notes or {})
        with suited_threads(generator, *clip):
            self.run, self.history, state = self._begin(key, generator, clip, config, style_images, must_resume)
        self._key = state.key if state else key  # style images are not at hand when their run is resumed
        super().__init__(self.run)
        self.begin = self.stored
        self._taken = self.folder.load_snapshots(self.begin) if state else []
        self._spread: Sequence[int] | None = None
        if isinstance(moments, int):
            moments = self._spread = evenly(config.iterations, moments)
        self._moments = set(moments)
        self._photographer: Photographer | None = None

    def _begin(
        self,
        key: str,
        generator: Generator,
        clip: ClipEnsemble,
        config: AdaptConfig,
        style_images: Tensor | None,
        must_resume: bool,
    ) -> tuple[Adaptation, History, RunState | None]:
        """Resume from the latest usable state, else begin a new run. Damaged states are set aside.

        That happens only once a run has begun: an error that is not the state's fault, such as settings that do not fit
        this machine, then comes up without it too, and no state is renamed.
        """
        damaged: dict[Path, str] = {}  # not the errors themselves, whose frames keep the failed run in memory
        resumed: RunState | None = None
        for path, state in self.folder.load_states(config.iterations):
            if self._store and state.key != key:
                continue
            try:
                run = adapt(generator, clip, config, style_images, resume=state)
                history, resumed = History(run, state.notes.get("history")), state
                break
            except NadaError as error:
                if isinstance(error, UsageError) and not self._store:
                    raise  # the user named this folder, but with other settings; in a store, the key rules that out
                damaged[path] = str(error)
        else:
            if must_resume:
                reasons = "; ".join(f"{path.name}: {reason}" for path, reason in damaged.items())
                raise NadaError(
                    f"{self.folder.path} holds no state from which the run can be resumed"
                    f"{reasons and f' ({reasons})'}; start the run again in another folder"
                )
            run = adapt(generator, clip, config, style_images)
            history = History(run)
        for path, reason in damaged.items():
            set_aside(path, reason)
        if resumed:
            self.folder.forget_states_before(run.iteration)  # a killed run may have left superseded states
        return run, history, resumed

    def __next__(self) -> AdaptStep:
        step = next(self.run)
        self.history.add(step)
        if step.iteration in self._moments:
            with self.run.suited_threads():
                self._take_snapshot()
                self.keep()
        return step

    @property
    def snapshots(self) -> Snapshots:
        """The snapshots so far, including those from before a resume; of a number of moments, the nearest to each."""
        taken = self._taken
        if taken and self._spread is not None:
            iterations = [snapshot.iteration for snapshot in taken]
            near = {min(iterations, key=lambda iteration: abs(iteration - wanted)) for wanted in self._spread}
            taken = [snapshot for snapshot in taken if snapshot.iteration in near]
        return Snapshots(self.run.frozen, tuple(taken))

    def _save(self) -> None:
        state = self.run.state(**self.notes, history=self.history.packed())
        self.folder.save_state(replace(state, key=self._key))

    def _prune(self) -> None:
        if self._store:
            self._store.prune(self.folder.path)

    def _take_snapshot(self) -> None:
        """Take and save a snapshot. A failure costs only the snapshot and a warning, never the iteration."""
        try:
            self._photographer = self._photographer or Photographer(self.run)
            snapshot = self._photographer.take()
        except UsageError:  # training has not changed anything yet
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._warn("not enough memory for the snapshot of iteration %d: %s", self.run.iteration, error)
            return
        self._taken.append(snapshot)
        try:
            self.folder.save_snapshot(snapshot)
        except (NadaError, OSError) as error:
            self._warn("the snapshot of iteration %d cannot be picked later: %s", snapshot.iteration, error)
