"""Download published models: resume, verify and record downloads, and explain failures."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import inspect_file
from ..checkpoint.metadata import read_json_file, strict_json
from ..errors import CheckpointError, NadaError
from ..files import atomic_path, finish, locked
from .catalog import HUB_FILE, AnyPublished, PublishedClip, PublishedDetector, agrees

log = logging.getLogger(__name__)
HUB = "https://huggingface.co"
RESERVE = 64 << 20  # bytes that should stay free on the disk
CHUNK = 1 << 13  # bytes read at once; at most one chunk is lost when a connection breaks
PATIENCE = 30  # seconds without a byte after which a connection counts as broken
TRIES = 4  # connections in a row that may break without receiving anything
LOG_PAUSE = 10  # seconds between two lines of the log about a download
SLACK = 1.5  # largest ratio of a file's size to the catalog's approximate size
Progress = Callable[[int, int], None]
Model = AnyPublished


def download(model: Model, folder: Path, progress: Progress | None = None) -> tuple[Path, list[str]]:
    """Download a published generator, CLIP model or face detector, unless the file exists.

    If the connection breaks, the received bytes stay in `<file>.part`, and the next call resumes the download. The file
    gets its final name only when size and hash are the known ones and it holds a model of this kind. Size and hash are
    recorded in `<file>.json`; where no hash is known, a later download must have the recorded one. When several calls,
    also in several programs, want the same file, one downloads it and the others wait.

    Args:
        model: a model of the catalog.
        folder: folder for the file; created if necessary.
        progress: called with the bytes received so far, and in all (approximate if the exact size is unknown); by
            default, they are logged every ten seconds.

    Returns:
        The path of the file, and notes on how far it could be verified.

    Raises:
        NadaError: there is no network, no space, or not the expected content; the message says what to do.
    """
    target = Path(folder) / model.file
    if target.is_file():
        return target, [f"{target} is there already; it was not downloaded again."]
    part, progress = _part_of(target), progress or _logged(model.name)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock"), lambda: _report(model, part, progress)):
            if not target.is_file():  # else another program has downloaded it meanwhile
                return target, _fetched(model, part, target, progress)
    except OSError as error:
        raise NadaError(
            f"{model.name} cannot be saved in {target.parent}: {error.strerror or error}; choose another folder"
        ) from error
    return target, [f"{target} was downloaded by another program meanwhile."]


def _logged(name: str) -> Progress:
    """Return a callback that logs how far the download of `name` is, at most every `LOG_PAUSE` seconds."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= LOG_PAUSE:
            last = now
            log.info("downloading %s: %d of %d MB", name, done // 1_000_000, total // 1_000_000)

    return report


def _fetched(model: Model, part: Path, target: Path, progress: Progress) -> list[str]:
    """Download, verify, record and rename a file; return the notes on it."""
    _check_space(model, part)
    _fetch(model, part, progress)
    record = _verified(model, part, target)
    with atomic_path(_record_path(target)) as temp:
        temp.write_text(strict_json(record, indent=1) + "\n", "utf-8")
    finish(part, target)
    return record["notes"]


def _part_of(target: Path) -> Path:
    """Return the path of an incomplete download."""
    return target.with_name(f"{target.name}.part")


def clip_file(model: PublishedClip, folder: Path, progress: Progress | None = None) -> Path:
    """Return the weights of a published CLIP model from a folder or the hub's shared cache, or download them.

    Arguments and errors are those of `download`.
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


def _report(model: Model, part: Path, progress: Progress) -> None:
    total = model.size or model.megabytes * 1_000_000
    progress(min(_size(part), total), total)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _fetch(model: Model, part: Path, progress: Progress) -> None:
    """Download into `part`, and retry with new connections if one breaks."""
    from huggingface_hub import constants

    url = model.url.replace(HUB, constants.ENDPOINT)  # users may have set a mirror
    failures = 0
    while True:
        before = _size(part)
        try:
            if model.size != before:
                _receive(model, url, part, progress)
            return
        except ConnectionError as error:
            failures = 1 if _size(part) > before else failures + 1
            if failures == TRIES:
                raise NadaError(_sentence(model, part, url, str(error))) from error
            time.sleep(failures - 1)


def _receive(model: Model, url: str, part: Path, progress: Progress) -> None:
    """Append the missing bytes to `part` over one connection, and never more than the file has.

    Raises:
        NadaError: the server does not have the file, or its file differs from the catalog's.
        ConnectionError: the connection broke.
    """
    done = _size(part)
    if done > (model.size or done):
        part.unlink()
        done = 0
    with _answer(url, done) as answer:
        if answer.status == 416 and done:
            if answer.total() != done:  # if they are equal, the part is complete
                part.unlink()
                raise ConnectionError("the bytes kept of an earlier try are not the beginning of this file")
            return
        if answer.status >= 400:
            raise NadaError(_sentence(model, part, url, f"the server says {answer.status}"))
        limit = _limit(model, answer, part)
        with open(part, "ab" if answer.status == 206 else "wb") as file:
            for piece in answer.pieces:
                file.write(piece)
                if file.tell() > limit:
                    file.truncate(0)
                    raise NadaError(
                        f"{model.url} sends more than the {limit} bytes that {model.name} can have; it is not the "
                        "catalog's file"
                    )
                progress(file.tell(), limit)
            if file.tell() < (answer.total() or 0):
                raise ConnectionError(f"the connection broke after {file.tell()} of {limit} bytes")


@dataclass
class _Answer:
    """Answer of a server: status, headers, and the body as raw chunks."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]

    def total(self) -> int | None:
        """Return the size of the whole file according to the headers; None if they do not tell."""
        if known := re.fullmatch(r"bytes .*/(\d{1,18})", self.headers.get("Content-Range", "")):
            return int(known[1])
        length = self.headers.get("Content-Length", "")
        return int(length) if re.fullmatch(r"\d{1,18}", length) else None


@contextmanager
def _answer(url: str, done: int) -> Iterator[_Answer]:
    """Request a file from byte `done` on, through the hub's client, which knows proxies and certificates.

    The request is for uncompressed bytes, and nothing is decompressed: a compressed answer could expand to any size. No
    token is sent, since all files of the catalog are public.

    Raises:
        ConnectionError: there is no answer, or the connection breaks while the chunks are read.
    """
    from huggingface_hub import get_session

    headers = {"user-agent": "stylegan-nada", "accept-encoding": "identity"}
    headers |= {"range": f"bytes={done}-"} if done else {}
    session: Any = get_session()
    with ExitStack() as stack:
        with _broken():
            # A session of huggingface_hub 1 and later has a method `stream`, earlier versions have an argument.
            if callable(getattr(session, "stream", None)):
                options = {"timeout": PATIENCE, "follow_redirects": True}
                answer = stack.enter_context(session.stream("GET", url, headers=headers, **options))
                stream = answer.iter_raw()
            else:
                answer = stack.enter_context(session.get(url, headers=headers, stream=True, timeout=PATIENCE))
                stream = answer.raw.stream(CHUNK, decode_content=False)
        yield _Answer(answer.status_code, answer.headers, _pieces(stream))


def _pieces(stream: Iterator[bytes]) -> Iterator[bytes]:
    with _broken():
        yield from stream


@contextmanager
def _broken() -> Iterator[None]:
    """Convert any error of the hub client's HTTP library, which depends on its version, to a `ConnectionError`."""
    try:
        yield
    except Exception as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _limit(model: Model, answer: _Answer, part: Path) -> int:
    """Return the size of the file, or its largest possible size if neither catalog nor server tell.

    Raises:
        NadaError: the server states an impossible size, or compresses the file; the part is deleted.
    """
    most = model.size or round(SLACK * model.megabytes * 1_000_000)
    total, coding = answer.total(), answer.headers.get("Content-Encoding", "identity")
    if coding == "identity" and (total is None or total == model.size or (not model.size and total <= most)):
        return total or most
    part.unlink(missing_ok=True)
    found = f"{total} bytes" if coding == "identity" else f"bytes compressed as {coding[:20]}"
    raise NadaError(
        f"{model.name} was not downloaded: {model.url} has {found} instead of {model.size or f'at most {most}'}; it "
        "is not the catalog's file, or it is the page of a proxy"
    )


def _sentence(model: Model, part: Path, url: str, reason: str) -> str:
    kept = _size(part)
    if not kept:
        part.unlink(missing_ok=True)
    again = f"; {kept / 1e6:.0f} MB are kept, and the next try resumes there" if kept else ""
    return (
        f"{model.name} could not be downloaded ({' '.join(reason.split())[:200]}){again}. Check the network and try "
        f"again, or download {url} by other means and save it as {part.with_suffix('')}"
    )


def _verified(model: Model, part: Path, target: Path) -> dict[str, Any]:
    """Check a downloaded file and return the record of it; delete a file that fails a check.

    Raises:
        CheckpointError: size, hash or content are not the expected ones.
    """
    report = inspect_file(part)
    record: dict[str, Any] = {"name": model.name, "url": model.url, "license": model.license}
    record |= {"size": report["size"], "sha256": report["sha256"], "notes": [_note(model, report["sha256"])]}
    if model.size and report["size"] != model.size:
        complaint = f"it has {report['size']} bytes instead of {model.size}"
    elif not agrees(model.sha256, report["sha256"]):
        complaint = f"its SHA-256 is {report['sha256']} instead of {model.sha256}"
    elif not _is_such_a_model(model, report):
        complaint = report.get("reason", "it is a generator")
    elif (before := _recorded_hash(target)) and before != report["sha256"]:
        complaint = f"it is not the file downloaded before (SHA-256 {before}); if that is expected, delete its .json"
    else:
        return record
    part.unlink()
    raise CheckpointError(f"{model.name} from {model.url} is not the expected file and was deleted: {complaint}")


def _is_such_a_model(model: Model, report: dict[str, Any]) -> bool:
    """Whether a file is of the model's kind according to `inspect_file`; for a detector, hash and size are enough."""
    if isinstance(model, PublishedDetector):
        return True
    return report.get("format") == "clip" if isinstance(model, PublishedClip) else bool(report["loadable"])


def _note(model: Model, sha256: str) -> str:
    if "..." in model.sha256:
        return f"Only the ends of the publisher's SHA-256 are known, {model.sha256}; they agree. It is {sha256}."
    if not model.sha256:
        return f"No SHA-256 was known for this file; the one received is recorded beside it: {sha256}."
    return "The SHA-256 is the known one."


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _recorded_hash(target: Path) -> str | None:
    return read_json_file(_record_path(target), {"sha256": str}).get("sha256")
