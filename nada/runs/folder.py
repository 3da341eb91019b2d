"""The folder that a run leaves behind: generators, pictures, and a record of how it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ..checkpoint import save_generator
from ..errors import UsageError
from ..files import atomic_path
from ..generators import Generator
from ..training.state import RunState, save_state

RECORD, STATE, SNAPSHOTS = "record.json", "resume.safetensors", "snapshots"


def find_snapshots(folder: Path) -> dict[int, Path]:
    """{iteration: file} of the snapshots in the folder of a run, in their order."""
    files = {p.stem.removeprefix("iteration_"): p for p in sorted(folder.glob(f"{SNAPSHOTS}/iteration_*.safetensors"))}
    return {int(number): path for number, path in files.items() if number.isdigit()}


class RunFolder:
    """Where one run writes. Every file appears whole or not at all.

    Args:
        path: the folder; made if it is missing.
        overwrite: replace the results of an earlier run there.
        resume: go on with the run that is there.

    Raises:
        UsageError: it holds an earlier run, and `overwrite` is off.
        NadaError: it cannot be written to.
    """

    def __init__(self, path: Path, overwrite: bool = False, resume: bool = False):
        self.path = path
        begun = (path / RECORD).exists() or (path / STATE).exists()
        if begun and not overwrite and not resume:
            raise UsageError(
                f"{path} holds an earlier run; choose another folder, add --overwrite to replace it, or go on with "
                "it by --resume"
            )
        self._earlier = set() if resume else set(find_snapshots(path).values())
        self.files: dict[str, str] = {}
        # A run takes minutes: learn now, not at its end, that nothing can be written.
        probe = path / ".writable"
        with atomic_path(probe) as temporary:
            temporary.touch()
        probe.unlink()

    def save_generator(self, generator: Generator, name: str) -> Path:
        """Write a generator as NAME.safetensors."""
        path = self.path / f"{name}.safetensors"
        save_generator(generator, path)
        self.files["generator"] = str(path)
        return path

    def save_snapshot(self, generator: Generator, iteration: int) -> Path:
        """Write the state after some iterations under snapshots/."""
        path = self.path / SNAPSHOTS / f"iteration_{iteration:05d}.safetensors"
        save_generator(generator, path)
        self._earlier.discard(path)
        self.files["last_snapshot"] = str(path)
        return path

    def snapshots(self) -> dict[int, Path]:
        """{iteration: file} of this run's snapshots so far."""
        return {number: path for number, path in find_snapshots(self.path).items() if path not in self._earlier}

    def save_state(self, state: RunState) -> Path:
        """Write what the run needs to go on. From now on the folder is this run's: snapshots of an earlier one go."""
        path = self.path / STATE
        save_state(state, path)
        self._forget_earlier()
        self.files["resume"] = str(path)
        return path

    def save_picture(self, picture: Image.Image, name: str) -> Path:
        """Write a picture as NAME.png."""
        path = self.path / f"{name}.png"
        with atomic_path(path) as temporary:
            picture.save(temporary, "PNG")
        self.files[name] = str(path)
        return path

    def save_record(self, record: dict[str, Any]) -> Path:
        """Write the record, and with it declare the run done: snapshots of an earlier run here go."""
        path = self.path / RECORD
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        self._forget_earlier()
        return path

    def _forget_earlier(self) -> None:
        for stale in self._earlier:
            stale.unlink(missing_ok=True)
        self._earlier = set()
