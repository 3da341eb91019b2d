"""Downloads of published models: resumed, verified, recorded, and explained when they fail."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..checkpoint import inspect_file
from ..errors import CheckpointError, NadaError
from ..files import atomic_path
from .catalog import HUB_FILE, Published, PublishedClip, agrees

log = logging.getLogger(__name__)
HUB = "https://huggingface.co"
RESERVE = 64 << 20  # bytes that shall stay free on the disk
Progress = Callable[[int, int], None]
Model = Published | PublishedClip


class Counted:
    """A file that tells how much of it was written; what `progress` raises ends the download."""

    def __init__(self, file: BinaryIO, done: int, total: int, progress: Progress | None):
        self.file, self.done, self.total, self.progress = file, done, total, progress
        self.stopped: BaseException | None = None

    def write(self, data: bytes) -> int:
        written = self.file.write(data)
        self.done += written
        if self.progress:
            try:
                self.progress(min(self.done, self.total), self.total)
            except BaseException as error:
                self.stopped = error
                raise
        return written

    def truncate(self) -> int:
        self.done = self.file.tell()  # the server began anew
        return self.file.truncate()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def download(model: Model, folder: Path, progress: Progress | None = None) -> tuple[Path, list[str]]:
    """Fetch a published generator or CLIP model, unless it is there.

    What arrived stays in `<file>.part` when the download breaks off, and the next call goes on from there. A file gets
    its name only when its size and hash are those that are known, and it is such a model. What was received is recorded
    in `<file>.json`; where no hash was known, a later download must give the recorded one.

    Args:
        model: of the catalog.
        folder: created if necessary.
        progress: called with the bytes so far, and the bytes in all (about, where the exact size is not known).

    Returns:
        The file, and notes on how far it could be verified.

    Raises:
        NadaError: there is no network, no space, or not the expected content; the message says what to do.
    """
    target = Path(folder) / model.file
    if target.is_file():
        return target, [f"{target} is there already; it was not downloaded again."]
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    _check_space(model, part)
    _fetch(model, part, progress)
    record = _verified(model, part, target)
    with atomic_path(_record_path(target)) as temp:
        temp.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    part.replace(target)
    return target, record["notes"]


def clip_file(model: PublishedClip, folder: Path, progress: Progress | None = None) -> Path:
    """The weights of a published CLIP model: in a folder, where other programs keep what the hub sent, or downloaded.

    Args and errors are those of `download`.
    """
    from huggingface_hub import try_to_load_from_cache

    if (target := folder / model.file).is_file():
        return target
    for revision in (model.revision, "main"):
        if isinstance(cached := try_to_load_from_cache(model.repository, HUB_FILE, revision=revision), str):
            return Path(cached)
    log.info("downloading CLIP %s, %d MB; license: %s", model.name, model.megabytes, model.license)
    path, notes = download(model, folder, progress)
    log.info("CLIP %s is %s. %s", model.name, path, " ".join(notes))
    return path


def _check_space(model: Model, part: Path) -> None:
    needed = (model.size or model.megabytes * 1_000_000) - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if free < needed + RESERVE:
        raise NadaError(
            f"{model.name} needs {needed / 1e6:.0f} MB, and {part.parent} has {free / 1e6:.0f} MB left; free some "
            "space, or choose another folder"
        )


def _fetch(model: Model, part: Path, progress: Progress | None) -> None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    done = part.stat().st_size if part.exists() else 0
    if model.size and done > model.size:
        part.unlink()
        done = 0
    on_hub = model.url.startswith(HUB)
    url = model.url.replace(HUB, constants.ENDPOINT) if on_hub else model.url  # users may have set a mirror
    failure = None
    with open(part, "ab") as file:
        counted = Counted(file, done, model.size or model.megabytes * 1_000_000, progress)
        try:
            headers = build_hf_headers() if on_hub else None  # a token is for the hub alone
            http_get(url, cast(BinaryIO, counted), resume_size=done, headers=headers, expected_size=model.size)
        except Exception as error:  # each version of the hub's client raises those of another HTTP library
            if error is counted.stopped:
                raise
            failure = error
    if failure:
        raise NadaError(_sentence(model, part, url, failure)) from failure


def _sentence(model: Model, part: Path, url: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    kept = part.stat().st_size
    if not kept or "416" in reason:  # the latter: the server has no more than there is, so that is not this file
        part.unlink()
        kept = 0
    again = f"; {kept / 1e6:.0f} MB are kept, and the next try goes on from there" if kept else ""
    return (
        f"{model.name} could not be downloaded ({reason}){again}. Check the network and try again, or download {url} "
        f"by other means and save it as {part.with_suffix('')}"
    )


def _verified(model: Model, part: Path, target: Path) -> dict[str, Any]:
    """What there is to record of a file that passed all checks; one that did not is deleted."""
    report = inspect_file(part)
    record: dict[str, Any] = {"name": model.name, "url": model.url, "license": model.license}
    record |= {"size": report["size"], "sha256": report["sha256"], "notes": [_note(model, report["sha256"])]}
    if model.size and report["size"] != model.size:
        complaint = f"it has {report['size']} bytes instead of {model.size}"
    elif not agrees(model.sha256, report["sha256"]):
        complaint = f"its SHA-256 is {report['sha256']} instead of {model.sha256}"
    elif report.get("format") != "clip" if isinstance(model, PublishedClip) else not report["loadable"]:
        complaint = report.get("reason", "it is a generator")
    elif (before := _recorded_hash(target)) and before != report["sha256"]:
        complaint = f"it is not what was downloaded before (SHA-256 {before}); if that is expected, delete its .json"
    else:
        return record
    part.unlink()
    raise CheckpointError(f"{model.name} from {model.url} is not the expected file and was deleted: {complaint}")


def _note(model: Model, sha256: str) -> str:
    if "..." in model.sha256:
        return f"Only the ends of the publisher's SHA-256 are known, {model.sha256}; they agree. It is {sha256}."
    if not model.sha256:
        return f"No SHA-256 was known for this file; the one received is recorded beside it: {sha256}."
    return "The SHA-256 is the known one."


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _recorded_hash(target: Path) -> str | None:
    with suppress(OSError, ValueError, LookupError, TypeError):
        return str(json.loads(_record_path(target).read_text("utf-8"))["sha256"])
    return None
