"""Make all models of the richer demo world.

    python tools/demo_world/make.py --out models --work training --reference PATH

Runs the trainings of this folder one after another. A finished stage is not run again, and a stopped one resumes from
its training state in --work: give the same command again. PATH is a checkout of the authors' StyleGAN-nada, whose
failed adaptations the judge learns to refuse.
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
    """One script and its options; {out}, {work} and {reference} stand for the folders."""

    name: str
    script: str
    options: str


STAGES = (
    Stage("dogs", "train_generator.py", "--species dog --out {out}/dog_photo.safetensors --state {work}/dog.pt"),
    Stage(
        "people", "train_generator.py",
        "--species person --start {work}/dog.pt --share 0.6 --state {work}/person.pt "
        "--out {out}/person_photo.safetensors",
    ),
    Stage("album", "album.py", "--out {work}/album"),
    Stage(
        "cats", "train_generator.py",
        "--species cat --start {work}/dog.pt --share 0.1 --seed 5 --state {work}/cat.pt "
        "--out {work}/cat_photo.safetensors",
    ),
    Stage(
        "adaptations", "adaptations.py",
        "--generator {work}/cat_photo.safetensors --reference {reference} --out {work}/adaptations",
    ),
    Stage(
        "judge", "train_judge.py",
        "--album {work}/album --negatives {work}/cat_photo.safetensors --adaptations {work}/adaptations "
        "--out {out}/judge.safetensors --state {work}/judge.pt",
    ),
    Stage(
        "clip conv", "train_clip.py",
        "--architecture conv --album {work}/album --out {out} --state {work}/clip_conv.pt",
    ),
    Stage(
        "clip vit", "train_clip.py",
        "--architecture vit --album {work}/album --out {out} --state {work}/clip_vit.pt",
    ),
    Stage(
        "dog encoder", "train_encoder.py",
        "--generator {out}/dog_photo.safetensors --species dog --out {out}/dog_encoder.safetensors "
        "--state {work}/dog_encoder.pt",
    ),
    Stage(
        "person encoder", "train_encoder.py",
        "--generator {out}/person_photo.safetensors --species person --out {out}/person_encoder.safetensors "
        "--state {work}/person_encoder.pt",
    ),
)  # fmt: skip


def command_of(stage: Stage, out: Path, work: Path, reference: Path) -> list[str]:
    """The command line of a stage."""
    options = [part.format(out=out, work=work, reference=reference) for part in stage.options.split()]
    return [sys.executable, str(HERE / stage.script), *options]


def main() -> None:
    """Run the stages that are not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--work", type=Path, required=True, help="folder for albums and training states")
    parser.add_argument("--reference", type=Path, required=True, help="checkout of the authors' StyleGAN-nada")
    parser.add_argument("--only", nargs="+", choices=[s.name for s in STAGES], help="stages to run; default: all")
    args = parser.parse_args()
    for folder in (args.out, args.work):
        folder.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        done = args.work / f"{stage.name.replace(' ', '_')}.done"
        if done.exists() or (args.only and stage.name not in args.only):
            continue
        command = command_of(stage, args.out, args.work, args.reference)
        print(f"{stage.name}: {' '.join(command[1:])}", flush=True)
        subprocess.run(command, check=True)
        done.touch()


if __name__ == "__main__":
    main()
