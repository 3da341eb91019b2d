"""Kill a sweep again and again: `python tests/fuzz/sweep_kills.py --kills 10`.

SIGKILL ends it at random moments of its processor time; the same command then resumes it. In the end all weights,
pictures and records must equal those of an undisturbed sweep, except for times, and no job may be finished twice.
Needs a system that forks.
"""

from __future__ import annotations

import argparse
import gc
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from kills import after, content, files, is_temporary, measured, run  # isort: skip  (prepares the paths)

from fuzz.ways import MODELS, make_models
from nada.runs.folder import RunFolder

TARGETS = ("sketch", "watercolor painting", "pixel art", "neon sign", "3d render", "chalk drawing")
ENDS = "ends.txt"
DEMO = ["--generator", "demo", "--clip", "demo", "--device", "cpu"]


def command(models: Sequence[str], targets: int, seeds: int, iterations: int) -> list[str]:
    """Start a sweep of the first targets and seeds."""
    grid = ["--target", *TARGETS[:targets], "--seed", *map(str, range(seeds))]
    lengths = ["--source", "photo", "--iterations", str(iterations), "--batch", "2"]
    return ["sweep", *models, *grid, *lengths, "--quiet", "--together", "2", "--out", "run"]


def noting_ends(folder: Path) -> None:
    """Write a line for each job that is finished, by whichever process."""
    save = RunFolder.save_record

    def noted(run: RunFolder, record: dict[str, object]) -> dict[str, object]:
        written = save(run, record)
        with open(folder / ENDS, "a", encoding="utf-8") as file:
            file.write(f"{run.path.name}\n")
        return written

    RunFolder.save_record = noted


def killed(folder: Path, words: list[str], kills: int, seed: int) -> list[str]:
    """Run a sweep undisturbed and killed; returns the faults."""
    models, calm, wild = folder / "models", folder / "calm", folder / "wild"
    calm.mkdir(), wild.mkdir()
    for place in (calm, wild):
        for path in models.iterdir():
            (place / path.name).symlink_to(path)
    code, printed = run(words, calm, measured(folder / "measured"))
    if code:
        return [f"the undisturbed sweep ended with {code}: {printed}"]
    seconds = seconds_in(folder / "measured")
    moments = random.Random(seed)
    for number in range(kills):

        def kill(place: Path, moment: float = seconds * moments.uniform(0.05, 1.5 / kills)) -> None:
            noting_ends(place)
            after(moment)(place)

        code, printed = run(words, wild, kill)
        print(f"kill {number + 1}: {'killed' if code == -signal.SIGKILL else f'ended with {code}'}", flush=True)
        if code not in (0, -signal.SIGKILL):
            return [f"the sweep ended with {code}: {printed}"]
    code, printed = run(words, wild, noting_ends)
    faults = [f"the last sweep ended with {code}: {printed}"] if code else []
    twice = [name for name, count in Counter((wild / ENDS).read_text().splitlines()).items() if count > 1]
    faults += [f"{name} was finished twice" for name in twice]
    return faults + differences(calm / "run", wild / "run")


def seconds_in(path: Path) -> float:
    """Seconds written by `kills.measured`."""
    return float(path.read_text().strip("[]").split(",")[1])


def differences(calm: Path, wild: Path) -> list[str]:
    """List the differences between the folder of a killed sweep and that of an undisturbed one."""
    one, other = files(calm), {name: path for name, path in files(wild).items() if not is_temporary(name)}
    faults = [f"{name} is missing" for name in one.keys() - other.keys()]
    faults += [f"{name} is left behind" for name in other.keys() - one.keys()]
    return faults + [
        f"{name} has another content"
        for name in one.keys() & other.keys()
        if content(one[name]) != content(other[name])
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--targets", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--tiny", action="store_true", help="random models of a few layers, not the demo's")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "models").mkdir()
        make_models(folder / "models")
        gc.freeze()
        words = command(MODELS if args.tiny else DEMO, args.targets, args.seeds, args.iterations)
        faults = killed(folder, words, args.kills, args.seed)
    for fault in faults:
        print(fault)
    print(f"{args.kills} kills of {args.targets * args.seeds} jobs, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
