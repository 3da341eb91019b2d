"""Kill every verb that writes, and the work of nodes: `python tests/fuzz/kills.py --count 100`.

Each way to write runs in a separate process, which SIGKILL ends. Every other kill comes while it writes, just before
the n-th change to its folder, and with a half-written file if it opens one; the others come after some processor
time. Then every file with a final name must be complete, the work must be completable as a user would do it, the end
must equal that of an undisturbed run, bit for bit, and nothing else may remain in the folder. The n-th kill of a seed
is always the same one, except that processor time varies a little. Needs a system that forks.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from PIL import Image
from safetensors import safe_open

import nada.cli.photo
import nada.cli.shared
from fuzz.ways import WAYS, Way, Work, make_models
from nada.checkpoint import load_generator
from nada.cli import main as nada_main
from nada.runs.folder import RunFolder

REFUSED = 2  # exit code of wrong usage
TIMES = ("seconds", "images_per_second", "peak_memory_mb")  # measures that differ from run to run
Kill = Callable[[Path], None]  # called with the folder in the process to kill, before its work


def run(work: Work, folder: Path, kill: Kill | None = None) -> tuple[int, str]:
    """Do some work in a folder in a separate process; returns its exit code, or -9, and its output."""
    with tempfile.TemporaryFile() as printed:
        if not (process := os.fork()):
            code = 70
            try:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
                os.chdir(folder)
                nada.cli.shared.CONVERTED, nada.cli.photo.STORE = folder / "converted", folder / "photos"
                if kill:
                    kill(folder)
                code = nada_main([*work, "--json"]) if isinstance(work, list) else work() or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        printed.seek(0)
        return code, printed.read().decode()


def changes(folder: Path, then: Callable[[str, str | None], None]) -> None:
    """Call a function before each change that this process makes to a folder: (event, file opened for writing)."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"):
            return
        path = arguments[0]
        if not isinstance(path, (str, os.PathLike)) or not os.path.abspath(path).startswith(f"{folder}/"):
            return
        if event != "open":
            then(event, None)
        elif arguments[2] & (os.O_WRONLY | os.O_RDWR):
            then(event, os.path.abspath(path))

    sys.addaudithook(hook)


def while_it_writes(number: int) -> Kill:
    """Kill before the n-th change, counted from 1; a file that is being opened is left half written, or empty."""

    def kill(folder: Path) -> None:
        left = number

        def die(event: str, path: str | None) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                if path:
                    size = os.path.getsize(path) if os.path.exists(path) else 0
                    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
                    os.ftruncate(handle, size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        changes(folder, die)

    return kill


def after(seconds: float) -> Kill:
    """Kill after some processor time."""

    def wait(until: float) -> None:
        while time.process_time() < until:
            time.sleep(0.0005)
        os.kill(os.getpid(), signal.SIGKILL)

    return lambda folder: threading.Thread(target=wait, args=(time.process_time() + seconds,), daemon=True).start()


def measured(into: Path) -> Kill:
    """Kill nothing, but save the number of changes and the seconds of processor time, from which kills are chosen."""

    def watch(folder: Path) -> None:
        seen, began = 0, time.process_time()

        def count(event: str, path: str | None) -> None:
            nonlocal seen
            seen += 1

        changes(folder, count)
        os_exit = os._exit

        def leave(code: int) -> None:
            into.write_text(json.dumps([seen, time.process_time() - began]))
            os_exit(code)

        os._exit = leave

    return watch


def files(folder: Path) -> dict[str, Path]:
    """{name relative to the folder: path} of all files and folders, including hidden ones."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*"))}


def content(path: Path) -> Any:
    """Content of a file without durations, None for a folder; fails for an incomplete file."""
    if path.is_dir():
        return None
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            numbers = {name: (str(t.dtype), tuple(t.shape), t.numpy().tobytes()) for name, t in tensors.items()}
            return numbers, timeless({name: json_or_text(text) for name, text in (file.metadata() or {}).items()})
    if path.suffix == ".json":  # a record is created before it is written: an empty one claims the folder
        return timeless(json.loads(path.read_text() or "{}"))
    if path.suffix == ".html":  # the page of a run, or of a sweep
        text = path.read_text("utf-8")
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
        return text.replace(data, ""), timeless(json.loads(data))
    if path.suffix == ".csv":
        return [{**row, "seconds": ""} for row in csv.DictReader(path.read_text("utf-8").splitlines())]
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return picture.convert("RGBA").tobytes()
    if path.suffix == ".pt":
        return load_generator(path).fingerprint()
    if path.suffix == ".sha256":
        return re.fullmatch("[0-9a-f]{64}", path.read_text("ascii"))[0]
    return path.read_bytes()


def json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def timeless(value: Any) -> Any:
    """JSON data without the measures that differ from run to run."""
    if isinstance(value, Mapping):
        return {key: timeless(part) for key, part in value.items() if key not in TIMES}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def is_temporary(name: str) -> bool:
    return Path(name).name.startswith(".nada-")


def attempts(way: Way, folder: Path) -> Iterator[Work]:
    """Commands that complete killed work, in the order in which a user would try them."""
    if way.resume and RunFolder(folder / "run").states():
        yield way.resume
    yield way.work
    if isinstance(way.work, list) and "--overwrite" not in way.work and "--resume" not in way.work:
        yield [*way.work, "--overwrite"]


class Target:
    """A way to write, and its result when nobody disturbs it.

    Args:
        name: name from `WAYS`.
        folder: empty folder, for this object alone.
        models: folder with the models.
    """

    def __init__(self, name: str, folder: Path, models: Path):
        self.name, self.way, self.folder = name, WAYS[name], folder
        self.start, undisturbed = folder / "start", folder / "undisturbed"
        shutil.copytree(models, self.start)
        for work in self.way.before:
            code, printed = run(work, self.start)
            assert code == 0, printed
        self.begin = {name: content(path) for name, path in files(self.start).items()}
        code, self.printed = self._run_in(undisturbed, measured(folder / "measured"))
        assert code == 0, self.printed
        self.changes, self.seconds = json.loads((folder / "measured").read_text())
        assert self.changes, f"{name} changes nothing that can be seen"
        self.end = {name: content(path) for name, path in files(undisturbed).items()}

    def _run_in(self, folder: Path, kill: Kill) -> tuple[int, str]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.start, folder)  # keeps times of change, on which the names of converted copies depend
        return run(self.way.work, folder, kill)

    def kill(self, writing: bool, share: float) -> tuple[str, list[str]]:
        """Kill the work once and complete it; returns the place of the kill, and the faults.

        Args:
            writing: whether to kill at a change to the folder, instead of after some processor time.
            share: share of all changes, or of the time, before the kill: 0 to 1, exclusive.
        """
        folder, code, faults = self.folder / "killed", 0, []
        while code == 0:  # the work ended before the kill
            number, seconds = 1 + int(share * self.changes), share * self.seconds
            code, printed = self._run_in(folder, while_it_writes(number) if writing else after(seconds))
            share *= 0.9
        where = f"at change {number} of {self.changes}" if writing else f"after {seconds:.3f} of {self.seconds:.3f} s"
        if code != -signal.SIGKILL:
            return where, [f"the work ended with {code}: {printed}"]
        for name, path in files(folder).items():
            if not is_temporary(name):
                try:
                    content(path)
                except Exception as error:
                    faults.append(f"{name} is not whole: {error}")
        if faults:
            return where, faults
        record = RunFolder(folder / "run").record()
        if record.get("finished") and not any(self._is_of(folder, tree, record) for tree in (self.begin, self.end)):
            faults.append("the record says that the run is finished, and its files are of two runs, or missing")
        faults += self._complete(folder)
        return where, faults

    def _is_of(self, folder: Path, tree: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
        """Whether the files named in a record are those of a tree."""
        names = record["files"].values()
        return all((folder / name).exists() and content(folder / name) == tree.get(name) for name in names)

    def _complete(self, folder: Path) -> list[str]:
        """Complete killed work; returns the faults."""
        for work in attempts(self.way, folder):
            code, printed = run(work, folder)
            if code != REFUSED:
                break
            if isinstance(work, list) and "--resume" in work and not self._differences(folder):
                return []  # it was complete, and says so
        if code != 0:
            return [f"{work} ended with {code}: {printed}"]
        faults = self._differences(folder)
        if self.name == "evaluate" and json.loads(printed)["measures"] != json.loads(self.printed)["measures"]:
            faults.append("the figures are others")
        return faults

    def _differences(self, folder: Path) -> list[str]:
        """List the differences between a folder and that of undisturbed work."""
        found = files(folder)
        faults = [f"{name} is left behind" for name in found.keys() - self.end.keys()]
        faults += [f"{name} is missing" for name in self.end.keys() - found.keys()]
        return faults + [
            f"{name} has another content"
            for name in found.keys() & self.end.keys()
            if content(found[name]) != self.end[name]
        ]


def kills(count: int, seed: int = 0, ways: Sequence[str] = tuple(WAYS)) -> dict[str, Counter[str]]:
    """Kill and complete work, each way equally often, and every other time while it writes.

    Returns:
        {way: number of kills "while writing" and "at a moment", and "faults"}; each fault is printed too.
    """
    results: dict[str, Counter[str]] = {name: Counter() for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "models").mkdir()
        make_models(root / "models")
        gc.freeze()
        targets: dict[str, Target] = {}
        for number in range(count):
            name, writing = ways[number // 2 % len(ways)], number % 2 == 0
            if name not in targets:
                (root / name).mkdir()
                targets[name] = Target(name, root / name, root / "models")
            where, faults = targets[name].kill(writing, random.Random(f"{seed} {number}").random())
            results[name]["while writing" if writing else "at a moment"] += 1
            results[name]["faults"] += bool(faults)
            for fault in faults:
                print(f"kill {number} of seed {seed}: {name}, {where}: {fault}", flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the places and moments (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = kills(args.count, args.seed, args.ways)
    for name, counts in results.items():
        print(f"{name}: {counts['while writing']} while writing, {counts['at a moment']} at a moment,", end=" ")
        print(f"{counts['faults']} with faults")
    total = sum(results.values(), Counter())
    print(f"{total['while writing']} + {total['at a moment']} kills, {total['faults']} with faults")
    return int(total["faults"] > 0)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
