"""Adapt a generator that does not ship, with this project's code and with the authors', for a judge to learn from.

    python tools/demo_world/adaptations.py --generator cat_photo.safetensors --reference PATH --out adaptations

Each run writes one .safetensors file, with images of a few moments on its way, and one picture of some of them.
`seen_as.json` was written by hand, looking at these pictures. It says what each moment shows: a style or species by
name, "none" for faces without eyes, smears and the like, and nothing where opinions can differ. With it,
`train_judge.py --adaptations` learns from the images. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "benchmarks"))
sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

import kept
from reference import Setup, train

from nada import AdaptConfig, ClipEnsemble, Generator, adapt, generate, load_clip, load_generator, sample_latents
from nada.pictures.convert import to_uint8
from nada.pictures.grids import make_grid
from nada.runs.names import slug

STYLES = ("sketch", "3d render in the style of Pixar", "watercolor painting", "neon sign", "pixel art", "marble statue")
SPECIES = ("dog", "pig", "bear", "rabbit", "fox", "person")
MOMENTS = (25, 60, 100, 160)  # iterations after which images are made: from hardly changed to overdone
COUNT, SHOWN, COLUMNS = 160, 40, 10  # number of images of each moment, number of those in the picture, and its columns
SETTINGS = {"batch": 2, "iterations": MOMENTS[-1], "learning_rate": 0.006, "layers": "all"}
CODES = {"ours": 2, "theirs": 0}  # number of views: the recommended one, and that of the authors' code
SEED = 55_000_000  # no measurement uses it


def images_of(
    code: str, pair: tuple[str, str], base: Generator, clip: ClipEnsemble, reference: Path
) -> Iterator[Tensor]:
    """Train, and yield images [COUNT, 3, R, R] at each of MOMENTS, of the same latents in all runs."""
    ws, settings = sample_latents(base, COUNT, SEED, 1.0), {**SETTINGS, "seed": SEED, "views": CODES[code]}
    if code == "theirs":
        for iteration, render in train(reference, base, clip, Setup(*pair, **settings)):
            if iteration in MOMENTS:
                yield render(ws)
        return
    for step in adapt(base, clip, AdaptConfig(*pair, **settings)):
        if step.iteration in MOMENTS:
            yield generate(step.generator, ws)


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, required=True, help="generator of photos of cats")
    parser.add_argument("--reference", type=Path, required=True, help="checkout of the authors' StyleGAN-nada")
    parser.add_argument("--out", type=Path, required=True, help="folder of the images")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="target texts of the runs to do; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base, clip, began = load_generator(args.generator), load_clip("demo"), time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    for source, targets in (("cat", SPECIES), ("photo", STYLES)):
        for target in targets:
            for code in CODES:
                path = args.out / f"{slug(target)}-{code}.safetensors"
                if path.exists() or (args.only and target not in args.only):
                    continue
                made = dict(zip(MOMENTS, images_of(code, (source, target), base, clip, args.reference), strict=True))
                shown = torch.cat([images[:SHOWN] for images in made.values()])
                make_grid(shown, columns=COLUMNS).save(path.with_suffix(".png"))
                kept.save({str(moment): to_uint8(images) for moment, images in made.items()}, SETTINGS, path)
                print(f"{path.stem}, {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
