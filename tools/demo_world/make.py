"""Train all models of the demo: `python tools/demo_world/make.py --out models --work training`.

Runs the scripts of this folder one after another, each as documented in its own --help. After a stop, give the same
command again: finished stages are skipped, and an unfinished one resumes from its training state in --work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Stage:
    """One script and what it is told; {out} and {work} stand for the folders."""

    name: str
    script: str
    steps: int
    options: str


# The generators come first: the CLIPs are trained against them.
STAGES = (
    Stage(
        "dogs",
        "train_generator.py",
        3750,
        "--species dog --regression 3500 --batch 8 --out {out}/dog_photo.safetensors",
    ),
    Stage(
        "people",
        "train_generator.py",
        2200,
        "--species person --start {work}/dogs.pt --regression 1900 --batch 8 --lr 0.01 "
        "--out {out}/person_photo.safetensors",
    ),
    Stage("individuals", "individuals.py", 3000, "--out {work}/individuals"),
    Stage(
        "adversaries",
        "train_clip.py",
        720,
        "--start {work}/individuals --warm 20 --lr 1e-3 --generator dog={out}/dog_photo.safetensors "
        "--generator dog={out}/dog_photo.safetensors --generator person={out}/person_photo.safetensors --out {out}",
    ),
    Stage("judge", "train_judge.py", 6000, "--out {out}/judge.safetensors"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the models, as nada/demo holds them")
    parser.add_argument("--work", type=Path, required=True, help="folder for what lies between, and training states")
    parser.add_argument("--device", help="default: a GPU if any")
    parser.add_argument("--share", type=float, default=1.0, help="share of each stage's steps, to try it (%(default)s)")
    args = parser.parse_args()
    for folder in (args.out, args.work):
        folder.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        done = args.work / f"{stage.name}.done"
        if done.exists():
            continue
        steps, state = max(2, round(args.share * stage.steps)), args.work / f"{stage.name}.pt"
        options = [part.format(out=args.out, work=args.work) for part in stage.options.split()]
        command = [sys.executable, HERE / stage.script, *options, "--steps", steps, "--resume", state]
        command += ["--device", args.device] if args.device else []
        print(f"{stage.name}: {' '.join(map(str, command[1:]))}", flush=True)
        subprocess.run([str(part) for part in command], check=True)
        done.touch()


if __name__ == "__main__":
    main()
