"""Kills of every verb that writes: `python tests/fuzz/kills.py --count 100`.

Each command runs in a process of its own, which SIGKILL ends: every other one while it writes, just before the n-th
change that it makes to its folder and with the file half written where it opens one; the others at a moment of their
processor time. Then every file with a final name must be whole, the command must be completable as a user would do it,
the end must be that of a run that nobody disturbed, bit for bit, and nothing else may be left in the folder.
The n-th kill of a seed is always the same one, except that processor time varies a little. Needs a system that forks.
"""

from __future__ import annotations

import argparse
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import open_clip
import torch
from helpers.models import TINY_CLIP, alive, moved
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import nada.cli.shared
import nada.styles.preview
from nada.checkpoint import load_generator, save_generator, save_rosinality
from nada.cli import main as nada_main
from nada.runs.folder import RunFolder
from nada.stylegan2 import GeneratorConfig
from nada.styles.files import save_style
from nada.styles.style import Style

REFUSED = 2  # exit code
MODELS = ["--generator", "base.pt", "--clip", "clip", "--device", "cpu"]
TEXTS = ["--source", "photo", "--target", "sketch"]
ADAPT = ["adapt", *MODELS, *TEXTS, "--batch", "1", "--layers", "3", "--iterations", "6", "--quiet", "--out", "run"]
STATED = [*ADAPT, "--snapshot-every", "2"]
RESUME = ["adapt", "--resume", "run", "--device", "cpu", "--quiet"]
EDIT = ["--target", "sketch", "--iterations", "6", "--quiet", "--out", "run"]
MAPPER = ["mapper", *MODELS, *EDIT, "--batch", "1"]


@dataclass(frozen=True)
class Verb:
    """A command to kill, in a folder with the models."""

    command: list[str]
    before: tuple[list[str], ...] = ()
    """Commands that were done before, undisturbed."""
    resume: list[str] | None = None
    """What completes it, where that is not the same command."""


VERBS = {
    "adapt": Verb(STATED, resume=RESUME),
    "adapt without snapshots": Verb([*ADAPT, "--snapshot-every", "0"], resume=RESUME),
    "adapt --overwrite": Verb(
        [*ADAPT, "--snapshot-every", "0", "--seed", "1", "--overwrite"], (STATED,), resume=RESUME
    ),
    "adapt --resume": Verb([*RESUME, "--iterations", "6"], ([*STATED, "--iterations", "3"],)),
    "mapper": Verb(MAPPER),
    "mapper --overwrite": Verb([*MAPPER, "--seed", "1", "--overwrite"], (MAPPER,)),
    "optimize": Verb(["optimize", *MODELS, *EDIT, "--count", "2"]),
    "generate": Verb(["generate", "--generator", "base.pt", "--count", "3", "--device", "cpu", "--out", "run"]),
    "convert": Verb(["convert", "base.pt", "result.safetensors"]),
    "convert --overwrite": Verb(
        ["convert", "adapted.safetensors", "result.pt", "--overwrite"], (["convert", "base.pt", "result.pt"],)
    ),
    "style diff": Verb(["style", "diff", "base.pt", "adapted.safetensors", "result.safetensors", "--rank", "2"]),
    "style merge": Verb(["style", "merge", "base.pt", "style.safetensors:0.5", "--out", "result.safetensors"]),
    "style show": Verb(["style", "show", "style.safetensors", "--preview", "result.png"]),
    "pick": Verb(["pick", "run", "2"], (STATED,)),
    "evaluate": Verb(
        ["evaluate", *MODELS, "--target", "sketch", "--base", "none", "--count", "4", "--seeds", "2", "--batch", "2"]
    ),
}
Kill = Callable[[Path], None]  # called in the process to kill, before its command, with its folder


def make_models(folder: Path) -> None:
    """Generators, a style and a CLIP, all tiny."""
    base = alive(GeneratorConfig(16, (24, 20, 16), z_dim=16, w_dim=16, mapping_layers=2))
    adapted = moved(base)
    save_rosinality(base, folder / "base.pt")
    save_generator(adapted, folder / "adapted.safetensors")
    picture = nada.styles.preview.preview_of(base, adapted)
    save_style(Style.between(base, adapted, preview=picture), folder / "style.safetensors")
    (folder / "clip").mkdir()
    (folder / "clip" / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    torch.manual_seed(1)
    weights = open_clip.create_model(f"local-dir:{folder / 'clip'}").state_dict()
    save_file(weights, folder / "clip" / "open_clip_model.safetensors")


def run(command: Sequence[str], folder: Path, kill: Kill | None = None) -> tuple[int, str]:
    """Run a command in a folder, in a process of its own; returns its exit code, or -9, and what it printed."""
    with tempfile.TemporaryFile() as printed:
        if not (process := os.fork()):
            code = 70
            try:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
                os.chdir(folder)
                nada.cli.shared.CONVERTED = folder / "converted"
                if kill:
                    kill(folder)
                code = nada_main([*command, "--json"])
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        printed.seek(0)
        return code, printed.read().decode()


def changes(folder: Path, then: Callable[[str, str | None], None]) -> None:
    """Call a function before each change that this process makes to a folder: (event, the file opened to write)."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"):
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
    """Kill before the change of a number, counted from 1; a file that is opened then is left half written, or empty."""

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
    """Kill nothing; write what there is to choose from into a file: number of changes, seconds of processor time."""

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
    """{name below the folder: path} of all files, hidden ones too."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def content(path: Path) -> Any:
    """What a file says, without how long it took; fails for one that is not whole."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            numbers = {name: (str(t.dtype), tuple(t.shape), t.numpy().tobytes()) for name, t in tensors.items()}
            return numbers, timeless({name: json_or_text(text) for name, text in (file.metadata() or {}).items()})
    if path.suffix == ".json":  # a record is created before it is written: an empty one claims the folder
        return timeless(json.loads(path.read_text() or "{}"))
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
    """JSON data without the figures that differ from run to run."""
    if isinstance(value, Mapping):
        return {key: timeless(part) for key, part in value.items() if key != "seconds"}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def is_temporary(name: str) -> bool:
    return Path(name).name.startswith(".nada-")


def attempts(verb: Verb, folder: Path) -> Iterator[list[str]]:
    """Commands that complete a killed one, in the order in which a user would try them."""
    if verb.resume and RunFolder(folder / "run").states():
        yield verb.resume
    yield verb.command
    if "--overwrite" not in verb.command and "--resume" not in verb.command:
        yield [*verb.command, "--overwrite"]


class Target:
    """A verb, and how it goes when nobody disturbs it.

    Args:
        name: from `VERBS`.
        folder: empty, for this object alone.
        models: folder with the models.
    """

    def __init__(self, name: str, folder: Path, models: Path):
        self.name, self.verb, self.folder = name, VERBS[name], folder
        self.start, undisturbed = folder / "start", folder / "undisturbed"
        shutil.copytree(models, self.start)
        for command in self.verb.before:
            code, printed = run(command, self.start)
            assert code == 0, printed
        self.begin = {name: content(path) for name, path in files(self.start).items()}
        code, self.printed = self._run_in(undisturbed, measured(folder / "measured"))
        assert code == 0, self.printed
        self.changes, self.seconds = json.loads((folder / "measured").read_text())
        assert self.changes, f"{name} changes nothing that can be seen"
        self.end = {name: content(path) for name, path in files(undisturbed).items()}

    def _run_in(self, folder: Path, kill: Kill) -> tuple[int, str]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.start, folder)  # keeps times of change, which the names of converted copies depend on
        return run(self.verb.command, folder, kill)

    def kill(self, writing: bool, share: float) -> tuple[str, list[str]]:
        """Kill the command once and complete it; returns where it was killed, and the faults.

        Args:
            writing: whether to kill it at a change that it makes to its folder, or after some processor time.
            share: of all its changes, or of its time, that come before: 0 to 1, not included.
        """
        folder, code, faults = self.folder / "killed", 0, []
        while code == 0:  # where it was done before the moment came
            number, seconds = 1 + int(share * self.changes), share * self.seconds
            code, printed = self._run_in(folder, while_it_writes(number) if writing else after(seconds))
            share *= 0.9
        where = f"at change {number} of {self.changes}" if writing else f"after {seconds:.3f} of {self.seconds:.3f} s"
        if code != -signal.SIGKILL:
            return where, [f"the command ended with {code}: {printed}"]
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
        """Whether the files that a record tells of are as in a tree."""
        names = record["files"].values()
        return all((folder / name).exists() and content(folder / name) == tree.get(name) for name in names)

    def _complete(self, folder: Path) -> list[str]:
        """Complete a killed command; returns the faults."""
        for command in attempts(self.verb, folder):
            code, printed = run(command, folder)
            if code != REFUSED:
                break
            if "--resume" in command and not self._differences(folder):
                return []  # it was complete, and says so
        if code != 0:
            return [f"{' '.join(command)} ended with {code}: {printed}"]
        faults = self._differences(folder)
        if self.name == "evaluate" and json.loads(printed)["measures"] != json.loads(self.printed)["measures"]:
            faults.append("the figures are others")
        return faults

    def _differences(self, folder: Path) -> list[str]:
        """How a folder differs from that of the undisturbed command."""
        found = files(folder)
        faults = [f"{name} is left behind" for name in found.keys() - self.end.keys()]
        faults += [f"{name} is missing" for name in self.end.keys() - found.keys()]
        return faults + [
            f"{name} has another content"
            for name in found.keys() & self.end.keys()
            if content(found[name]) != self.end[name]
        ]


def kills(count: int, seed: int = 0, verbs: Sequence[str] = tuple(VERBS)) -> dict[str, Counter[str]]:
    """Kill and complete commands, as often each verb, and every other one while it writes.

    Returns:
        {verb: how many kills "while writing" and "at a moment", and "faults"}; each fault is printed too.
    """
    results: dict[str, Counter[str]] = {name: Counter() for name in verbs}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "models").mkdir()
        make_models(root / "models")
        gc.freeze()
        targets: dict[str, Target] = {}
        for number in range(count):
            name, writing = verbs[number // 2 % len(verbs)], number % 2 == 0
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
    parser.add_argument("--seed", type=int, default=0, help="of the places and moments (default: %(default)s)")
    parser.add_argument("--verbs", nargs="+", default=list(VERBS), choices=VERBS, metavar="VERB", help=", ".join(VERBS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = kills(args.count, args.seed, args.verbs)
    for name, counts in results.items():
        print(f"{name}: {counts['while writing']} while writing, {counts['at a moment']} at a moment,", end=" ")
        print(f"{counts['faults']} with faults")
    total = sum(results.values(), Counter())
    print(f"{total['while writing']} + {total['at a moment']} kills, {total['faults']} with faults")
    return int(total["faults"] > 0)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
