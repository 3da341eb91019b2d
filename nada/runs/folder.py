"""The folder of a run: states to resume from, snapshots as styles, results, and the record.

record.json                                 what was asked and how it went; written last
states/iteration_00300.safetensors          what is needed to resume
snapshots/iteration_00050.style.safetensors
*.safetensors, *.png                        results
index.html, page/*.jpg                      the results as a page, and its thumbnails
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ..checkpoint import save_generator
from ..checkpoint.metadata import read_json_file, strict_json
from ..errors import NadaError, UsageError
from ..files import atomic_path, check_writable
from ..generators import Generator
from ..styles.files import load_style, save_style
from ..styles.style import Style
from ..training.state import RunState, is_on_the_way, load_state, save_state
from .snapshots import Snapshot, Snapshots

log = logging.getLogger(__name__)

RECORD, STATES, SNAPSHOTS, PAGE = "record.json", "states", "snapshots", "index.html"
EARLIER_STATE = "resume.safetensors"  # where version 0.1 kept the only state of a run
STYLE_ENDING = ".style.safetensors"
FINISHED = "finished"  # in a record: whether all results were written


class ResultFolder:
    """A folder for the results of one command. Every file appears whole or not at all.

    Args:
        path: the folder; it need not exist.
        new: never replace a picture, whoever wrote it.

    Attributes:
        files: {what it is: path} of the files written, for the record.
    """

    def __init__(self, path: str | os.PathLike[str], new: bool = False):
        self.path, self.new = Path(path), new
        self.files: dict[str, str] = {}

    def prepare(self) -> None:
        """Create the folder, and make sure that it can be written to: a run takes minutes, so learn it now.

        Raises:
            NadaError: it cannot be written to.
        """
        check_writable(self.path / RECORD)

    @contextmanager
    def claimed(self, overwrite: bool = False) -> Iterator[None]:
        """Take the folder for a new run; give it up again if nothing was saved in it, so that the run can be repeated.

        Of two commands that claim the same folder at once, one is refused.

        Args:
            overwrite: replace the results of an earlier run there, once this one has some.

        Raises:
            UsageError: it holds a run, and `overwrite` is off.
            NadaError: it cannot be written to.
        """
        self.prepare()
        if not overwrite:
            self._begin_record()
        try:
            yield
        finally:
            if not overwrite and not self._holds_results():
                with suppress(OSError):
                    (self.path / RECORD).unlink()
                    self.path.rmdir()  # only if it is empty

    def _begin_record(self) -> None:
        """Create the record of a run that has no results yet.

        Raises:
            UsageError: there is one.
        """
        begun = self._holds_results()
        if not begun:
            try:
                with open(self.path / RECORD, "x", encoding="utf-8") as file:
                    json.dump({FINISHED: False}, file)
            except FileExistsError:
                begun = True
        if begun:
            raise UsageError(
                f"{self.path} holds an earlier run; choose another folder, or add --overwrite to replace it"
                f"{self._other_way()}"
            )

    def _other_way(self) -> str:
        """What else to do about a run in this folder, for the message."""
        return ""

    def begin_results(self) -> None:
        """Say in the record that the results are not complete, before the first of them replaces an earlier one."""
        if self.record() != {FINISHED: False}:
            self._write_record({FINISHED: False})

    def _holds_results(self) -> bool:
        """Whether a run has left something here that it can be resumed or judged by."""
        return self.record() not in ({}, {FINISHED: False})

    def record(self) -> dict[str, Any]:
        """The record; {} if there is none that can be read."""
        return read_json_file(self.path / RECORD, {})

    def save_generator(self, generator: Generator, name: str) -> Path:
        """Write a generator as NAME.safetensors."""
        path = self.path / f"{name}.safetensors"
        save_generator(generator, path)
        self.files["generator"] = str(path)
        return path

    def save_style(self, style: Style, name: str) -> Path:
        """Write a style as NAME.style.safetensors."""
        path = self.path / f"{name}{STYLE_ENDING}"
        save_style(style, path)
        self.files["style"] = str(path)
        return path

    def save_picture(self, picture: Image.Image, name: str) -> Path:
        """Write a picture as NAME.png."""
        path = self.path / f"{name}.png"
        with atomic_path(path, self.new) as temporary:
            picture.save(temporary, "PNG")
        self.files[name] = str(path)
        return path

    def save_thumbnail(self, picture: Image.Image, name: str, quality: int) -> None:
        """Write a picture for a page as a JPEG of that name."""
        with atomic_path(self.path / name) as temporary:
            picture.save(temporary, "JPEG", quality=quality)

    def save_page(self, text: str) -> Path:
        """Write the page of the results as index.html."""
        path = self.path / PAGE
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        self.files["page"] = str(path)
        return path

    def save_record(self, record: dict[str, Any]) -> dict[str, Any]:
        """Write the record of a run whose other results are there; returns it as written."""
        record = {**record, FINISHED: True}
        self._write_record(record)
        return record

    def _write_record(self, record: dict[str, Any]) -> None:
        with atomic_path(self.path / RECORD) as temporary:
            temporary.write_text(strict_json(record, indent=1), encoding="utf-8")


class RunFolder(ResultFolder):
    """The folder of an adaptation, with states to resume from and snapshots to pick from."""

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__(path)
        self._earlier: set[Path] = set()  # files of a run that this one replaces

    @contextmanager
    def claimed(self, overwrite: bool = False) -> Iterator[None]:
        with super().claimed(overwrite):
            self._earlier = {*self.states().values(), *self.snapshot_files().values()}
            yield

    def _other_way(self) -> str:
        return ", or continue it by --resume" if self.states() else ""

    def _holds_results(self) -> bool:
        return super()._holds_results() or bool(self.states())

    def is_complete(self, iterations: int) -> bool:
        """Whether all results of the run after so many iterations were written."""
        record = self.record()
        recipe = record.get("recipe")
        written = record.get(FINISHED, "losses" in record)  # version 0.1 wrote a record at the end only
        return bool(written) and isinstance(recipe, dict) and recipe.get("iterations_done") == iterations

    def states(self) -> dict[int, Path]:
        """{iterations done: file} of the states, in order. The state of version 0.1 counts as the earliest, 0."""
        earlier = self.path / EARLIER_STATE
        return ({0: earlier} if earlier.is_file() else {}) | _numbered(self.path / STATES, ".safetensors")

    def snapshot_files(self) -> dict[int, Path]:
        """{iteration: file} of the snapshots, in order."""
        return _numbered(self.path / SNAPSHOTS, STYLE_ENDING)

    def load_states(self, most: int | None = None) -> Iterator[tuple[Path, RunState]]:
        """This run's states that can be read, the furthest first. A damaged one is set aside with a warning.

        Args:
            most: leave out states after more iterations.
        """
        for number, path in reversed(self.states().items()):
            if path in self._earlier or (most is not None and number > most):
                continue
            try:
                state = load_state(path)
            except NadaError as error:
                set_aside(path, error)
                continue
            if most is None or state.recipe["iterations_done"] <= most:
                yield path, state

    def state_path(self, iterations: int) -> Path:
        """File of the state after some iterations."""
        return self.path / STATES / f"iteration_{iterations:05d}.safetensors"

    def save_state(self, state: RunState) -> Path:
        """Write what the run needs to resume; states of it that were on the way to this one go."""
        done = state.recipe["iterations_done"]
        path = self.state_path(done)
        self._save_first(path, partial(save_state, state))
        self.forget_states_before(done)
        return path

    def forget_states_before(self, iterations: int) -> None:
        """Delete earlier states of a run whose state after so many iterations is stored, except its ends.

        The end of a shorter run is worth keeping: with it, that run need not be done again.
        """
        for number, path in _numbered(self.path / STATES, ".safetensors").items():
            if number < iterations and is_on_the_way(path):
                with suppress(OSError):
                    path.unlink()

    def _save_first(self, path: Path, save: Callable[[Path], None]) -> None:
        """Write a state or a snapshot. With the first one, the folder is this run's.

        Files of an earlier run go when it is written and before it has its name, so that those of two never mix.
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
        """The snapshot of an iteration of `snapshot_files`.

        Raises:
            CheckpointError: it is damaged.
        """
        return Snapshot.from_style(load_style(self.snapshot_files()[iteration]))

    def open_snapshots(self, base: Generator) -> Snapshots:
        """The snapshots, to make generators of.

        Args:
            base: the generator that the run started from.

        Raises:
            UsageError: the run started from another generator, or there is no snapshot.
        """
        moments = tuple(self.load_snapshots())
        if not moments:
            raise UsageError(f"{self.path} holds no snapshots of a run")
        return Snapshots.of_run(base, moments)

    def load_snapshots(self, most: int | None = None) -> list[Snapshot]:
        """This run's snapshots in order; one that cannot be read is left out with a warning.

        Args:
            most: leave out snapshots after more iterations.
        """
        found = []
        for iteration, path in self.snapshot_files().items():
            if path in self._earlier or (most is not None and iteration > most):
                continue
            try:
                found.append(Snapshot.from_style(load_style(path)))
                self.files["last_snapshot"] = str(path)
            except (NadaError, OSError) as error:
                log.warning("the snapshot %s is of no use: %s", path, error)
        return found

    def save_record(self, record: dict[str, Any]) -> dict[str, Any]:
        self._forget_earlier()
        return super().save_record(record)

    def _forget_earlier(self) -> None:
        """Delete an earlier run's states, the furthest last, then its record, then the snapshots.

        Whenever that is cut short, a resumed run is either the earlier one with all its files, or refused.
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


def set_aside(path: Path, reason: Exception) -> None:
    """Rename a damaged file, so that it is kept but not read again, and log why."""
    aside = path.with_name(f"{path.name}.damaged")
    log.warning("%s is of no use and is now called %s: %s", path, aside.name, reason)
    with suppress(OSError):
        path.replace(aside)


def _numbered(folder: Path, ending: str) -> dict[int, Path]:
    """{number: file} of the files iteration_NUMBER in a folder, in order."""
    found = {}
    for path in sorted(folder.glob(f"iteration_*{ending}")):
        number = path.name.removeprefix("iteration_").removesuffix(ending)
        if number.isascii() and number.isdigit():
            found[int(number)] = path
    return dict(sorted(found.items()))
