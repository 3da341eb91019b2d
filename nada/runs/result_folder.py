"""The folder of a command's results: pictures, models and a page, each written atomically, and the record."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ..checkpoint import save_generator
from ..checkpoint.metadata import read_json_file, strict_json
from ..errors import UsageError
from ..files import atomic_path, check_writable, locked
from ..generators import Generator
from ..styles.files import save_style
from ..styles.style import Style

RECORD, PAGE = "record.json", "index.html"
STYLE_ENDING = ".style.safetensors"
FINISHED = "finished"  # key in a record: whether all results were written
LOCK = ".lock"  # file that a command keeps locked while it works in the folder


class ResultFolder:
    """A folder for the results of one command. All files are written atomically.

    Args:
        path: the folder; it need not exist.
        new: never replace a picture, whoever wrote it.

    Attributes:
        files: {kind of file: path} of the files written, for the record.
    """

    def __init__(self, path: str | os.PathLike[str], new: bool = False):
        self.path, self.new = Path(path), new
        self.files: dict[str, str] = {}

    def prepare(self) -> None:
        """Create the folder and check that it is writable, before a run of minutes begins.

        Raises:
            NadaError: the folder cannot be written to.
        """
        check_writable(self.path / RECORD)

    @contextmanager
    def claimed(self, overwrite: bool = False) -> Iterator[None]:
        """Claim the folder for a new run, and release it on exit if nothing was saved, so that the run can be repeated.

        If two commands claim the same folder at once, one is refused. A claim ends with its process, even if that is
        killed.

        Args:
            overwrite: replace the results of an earlier run in the folder, once this run has results.

        Raises:
            UsageError: the folder holds a run, and `overwrite` is off; or another command works in it.
            NadaError: the folder cannot be written to.
        """
        with self.alone():
            if not overwrite:
                self._begin_record()
            try:
                yield
            finally:
                if not overwrite and not self._holds_results():
                    with suppress(OSError):
                        (self.path / RECORD).unlink()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder, which is created, against other commands; afterwards an empty folder is deleted.

        Raises:
            BusyError: another command works in the folder.
            NadaError: the folder cannot be written to.
        """
        self.prepare()
        try:
            with locked(self.path / LOCK):
                yield
        finally:
            with suppress(OSError):
                self.path.rmdir()  # fails, as it should, if the folder is not empty

    def _begin_record(self) -> None:
        """Create the record of a run that has no results yet; the folder is locked.

        The record that a killed run left behind is taken over if the folder holds nothing else of it.

        Raises:
            UsageError: the folder holds a run.
        """
        path, begun = self.path / RECORD, self._holds_results()
        if not begun and path.exists():
            later = (other.stat().st_mtime_ns > path.stat().st_mtime_ns for other in self._visible())
            begun = any(later)  # files that are older were there before the killed run
        if begun:
            raise UsageError(
                f"{self.path} holds an earlier run; choose another folder, or add --overwrite to replace it"
                f"{self._other_way()}"
            )
        with open(path, "w", encoding="utf-8") as file:
            json.dump({FINISHED: False}, file)

    def _visible(self) -> Iterator[Path]:
        """Files and folders in the folder, except the record and hidden ones such as the lock."""
        return (path for path in self.path.iterdir() if path.name != RECORD and not path.name.startswith("."))

    def _other_way(self) -> str:
        """Another way out, for the message that refuses a folder with a run."""
        return ""

    def begin_results(self) -> None:
        """Mark the record as incomplete, before the first new result replaces an earlier one."""
        if self.record() != {FINISHED: False}:
            self._write_record({FINISHED: False})

    def _holds_results(self) -> bool:
        """Whether the folder holds states or results of a run."""
        return self.record() not in ({}, {FINISHED: False})

    def record(self) -> dict[str, Any]:
        """Read the record; {} if it is missing or unreadable."""
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
        """Write a picture for a page as a JPEG called `name`, of a quality in 1..95."""
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
        """Write the record, after all other results, and return it as written.

        Args:
            record: JSON-able facts about the run. An entry that marks it as finished is added.
        """
        record = {**record, FINISHED: True}
        self._write_record(record)
        return record

    def _write_record(self, record: dict[str, Any]) -> None:
        with atomic_path(self.path / RECORD) as temporary:
            temporary.write_text(strict_json(record, indent=1), encoding="utf-8")
