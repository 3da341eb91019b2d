"""The folder of a run: states to resume from, snapshots as styles, results, and the record.

record.json                                 settings and outcome; written last
states/iteration_00300.safetensors          states, to resume from
snapshots/iteration_00050.style.safetensors
*.safetensors, *.png                        results
index.html, page/*.jpg                      the results as a page, and its thumbnails
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..checkpoint.metadata import fits
from ..errors import NadaError, UnreadableError, UsageError
from ..files import atomic_path
from ..generators import Generator
from ..styles.files import load_style, save_style
from ..training.state import RunState, is_on_the_way, load_state, save_state
from .result_folder import FINISHED, STYLE_ENDING, ResultFolder
from .snapshots import Snapshot, Snapshots

log = logging.getLogger(__name__)
Content = TypeVar("Content")

STATES, SNAPSHOTS = "states", "snapshots"
EARLIER_STATE = "resume.safetensors"  # the only state of a run of version 0.1


class RunFolder(ResultFolder):
    """The folder of an adaptation, with states to resume from and snapshots to choose from.

    Args:
        path: the folder; it is made when something is written to it.
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__(path)
        self._earlier: set[Path] = set()  # states and snapshots of an earlier run that this run replaces
        self._earlier_results: set[Path] = set()

    @contextmanager
    def claimed(self, overwrite: bool = False) -> Iterator[None]:
        with super().claimed(overwrite):
            self._earlier = {*self.states().values(), *self.snapshot_files().values()}
            named = self.record().get("files", {})
            self._earlier_results = self._inside(named) if fits(named, {str: str}) else set()
            yield

    def refuse_lost(self, inputs: Iterable[str | os.PathLike[str]], results: Iterable[str]) -> None:
        """Check that a claimed run neither replaces nor deletes a file that it reads.

        Args:
            inputs: paths of its generator and pictures, or names that are no paths.
            results: names of the files that it will write into this folder.

        Raises:
            UsageError: a file is among the results of an earlier run in this folder, or would have the name of one.
        """
        written = [*self._earlier, *self._earlier_results, *(self.path / name for name in results)]
        lost = {path.resolve() for path in written}
        for path in map(Path, inputs):
            if path.resolve() in lost or (path.is_dir() and any(part.resolve() in lost for part in path.iterdir())):
                raise UsageError(f"{path} would be replaced by the results in {self.path}; choose another folder")

    def _inside(self, files: dict[str, str]) -> set[Path]:
        """Return the paths that files of a record have in this folder, wherever it was when they were written."""
        return {self.path / Path(name).name for name in files.values()}

    def _other_way(self) -> str:
        return ", or resume it with --resume" if self.states() else ""

    def _holds_results(self) -> bool:
        return super()._holds_results() or bool(self.states())

    def is_complete(self, iterations: int) -> bool:
        """Whether all results of the run after `iterations` iterations were written."""
        record = self.record()
        recipe = record.get("recipe")
        written = record.get(FINISHED, "losses" in record)  # version 0.1 wrote a record only at the end
        return bool(written) and isinstance(recipe, dict) and recipe.get("iterations_done") == iterations

    def states(self) -> dict[int, Path]:
        """{iterations done: file} of the states, in order. The state of version 0.1 counts as the earliest, 0."""
        earlier = self.path / EARLIER_STATE
        return ({0: earlier} if earlier.is_file() else {}) | _numbered(self.path / STATES, ".safetensors")

    def snapshot_files(self) -> dict[int, Path]:
        """{iteration: file} of the snapshots, in order."""
        return _numbered(self.path / SNAPSHOTS, STYLE_ENDING)

    def load_states(self, most: int | None = None, with_tensors: bool = True) -> Iterator[tuple[Path, RunState]]:
        """Load this run's states, the latest first. A damaged one is set aside with a warning.

        Args:
            most: skip states of more iterations than this.
            with_tensors: see `load_state`.

        Raises:
            UnreadableError: a state cannot be read here and now, and may yet be whole.
        """
        for number, path in reversed(self.states().items()):
            if path in self._earlier or (most is not None and number > most):
                continue
            state = load_or_set_aside(path, partial(load_state, with_tensors=with_tensors))
            if state and (most is None or state.recipe["iterations_done"] <= most):
                yield path, state

    def state_path(self, iterations: int) -> Path:
        """Path of the state after `iterations` iterations."""
        return self.path / STATES / f"iteration_{iterations:05d}.safetensors"

    def save_state(self, state: RunState) -> Path:
        """Save a state, and delete the earlier states that it supersedes."""
        done = state.recipe["iterations_done"]
        path = self.state_path(done)
        self._save_first(path, partial(save_state, state))
        self.forget_states_before(done)
        return path

    def forget_states_before(self, iterations: int) -> None:
        """Delete states of fewer iterations, except final ones.

        The final state of a shorter run is kept, so that this run is not repeated when it is asked for again.
        """
        for number, path in _numbered(self.path / STATES, ".safetensors").items():
            if number < iterations and is_on_the_way(path):
                with suppress(OSError):
                    path.unlink()

    def _save_first(self, path: Path, save: Callable[[Path], None]) -> None:
        """Write a state or a snapshot. The first one takes the folder over from an earlier run.

        Files of the earlier run are deleted between writing the new file and renaming it into place, so that files of
        two runs never mix.
        """
        if self._earlier:
            with atomic_path(path) as temporary:
                save(temporary)
                self._forget_earlier()
        else:
            save(path)

    def save_snapshot(self, snapshot: Snapshot) -> Path:
        """Write a snapshot as a style."""
        path = self.path / SNAPSHOTS / f"iteration_{snapshot.iteration:05d}{STYLE_ENDING}"
        self._save_first(path, partial(save_style, snapshot.style))
        self.files["last_snapshot"] = str(path)
        return path

    def load_snapshot(self, iteration: int) -> Snapshot:
        """Load the snapshot of an iteration listed in `snapshot_files`.

        Raises:
            CheckpointError: the file is damaged.
        """
        return Snapshot.from_style(load_style(self.snapshot_files()[iteration]))

    def open_snapshots(self, base: Generator) -> Snapshots:
        """Load all snapshots together with their base, so that generators can be made from them.

        Args:
            base: the generator that the run started from.

        Raises:
            UsageError: the run started from another generator, or there is no snapshot.
        """
        snapshots = tuple(self.load_snapshots())
        if not snapshots:
            raise UsageError(f"{self.path} holds no snapshots of a run")
        return Snapshots.of_run(base, snapshots)

    def load_snapshots(self, most: int | None = None) -> list[Snapshot]:
        """Load this run's snapshots in order, skipping unreadable ones with a warning.

        Args:
            most: skip snapshots of more iterations than this.
        """
        found = []
        for iteration, path in self.snapshot_files().items():
            if path in self._earlier or (most is not None and iteration > most):
                continue
            try:
                found.append(Snapshot.from_style(load_style(path)))
                self.files["last_snapshot"] = str(path)
            except (NadaError, OSError) as error:
                log.warning("the snapshot %s cannot be used: %s", path, error)
        return found

    def save_record(self, record: dict[str, Any]) -> dict[str, Any]:
        self._forget_earlier()
        written = super().save_record(record)
        for stale in self._earlier_results - self._inside(self.files):
            stale.unlink(missing_ok=True)
        return written

    def _forget_earlier(self) -> None:
        """Delete an earlier run's states, the latest one last, then reset its record, then delete its snapshots.

        If this is interrupted at any point, resuming either finds the earlier run with all its files, or is refused.
        """
        if not self._earlier:
            return
        states = [path for path in self.states().values() if path in self._earlier]
        for stale in states:
            stale.unlink(missing_ok=True)
        self.begin_results()
        for stale in self._earlier.difference(states):
            stale.unlink(missing_ok=True)
        self._earlier = set()


def set_aside(path: Path, reason: Exception | str) -> None:
    """Rename a damaged file to NAME.damaged, so that it is kept but not read again, and log the reason."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except OSError:
        log.warning("%s cannot be used: %s", path, reason)
    else:
        log.warning("%s cannot be used and was renamed to %s: %s", path, aside.name, reason)


def load_or_set_aside(path: Path, load: Callable[[Path], Content]) -> Content | None:
    """Load a file; set it aside and return None if it is damaged.

    Args:
        path: the file.
        load: function of the path that loads it, and raises a `NadaError` if it is damaged.

    Raises:
        UnreadableError: the file cannot be read here and now, and may yet be whole.
    """
    try:
        return load(path)
    except UnreadableError:
        raise
    except NadaError as error:
        set_aside(path, error)
        return None


def _numbered(folder: Path, ending: str) -> dict[int, Path]:
    """Find the files iteration_NUMBER... in a folder: {number: path}, in order."""
    found = {}
    for path in sorted(folder.glob(f"iteration_*{ending}")):
        number = path.name.removeprefix("iteration_").removesuffix(ending)
        if number.isascii() and number.isdigit():
            found[int(number)] = path
    return dict(sorted(found.items()))
