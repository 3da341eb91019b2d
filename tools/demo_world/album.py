"""Albums: pictures drawn once, in files, for trainings that look at each many times.

    python tools/demo_world/album.py --out album --shards 64

Each individual of an album is drawn twice: in two pictures that differ in style or in species, never in both. Pairs
of two species of animals have a third picture, of a creature between the two; all others one of a face without eyes, as
failed adaptations make them. A shard holds many individuals; what is drawn is not drawn again, so the same command
resumes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from checkpoints import write_state
from rows import Rows

from nada.demo.drawing.anatomy import Anatomy, mixed
from nada.demo.world import ANATOMIES, AT_ONCE, SIZE, SPECIES, STYLES, Parameters, draw, random_parameters

SHARD = 256  # individuals
PHOTO_SHARE = 0.25  # share of the pairs that begin with a photo, as adaptations do
UNSEEN = 0.004  # size of what is not to be seen, as a share of a head


@dataclass(frozen=True)
class Pages(Rows):
    """Individuals, each in two pictures.

    Attributes:
        pictures: [N, 2, 3, size, size], bytes. style, species: index of each picture's, [N, 2].
        parameters: of the individuals.
        third: creatures between the two species of a pair, or faces without eyes, [N, 3, size, size], bytes.
        share: how far a creature is on the way from the first to the second, [N]; 0 for faces without eyes.
    """

    pictures: Tensor
    style: Tensor
    species: Tensor
    parameters: Parameters
    third: Tensor
    share: Tensor


def without_eyes(anatomy: Anatomy, bare: bool) -> Anatomy:
    """An anatomy whose eyes are too small to be seen, and with `bare` nose and mouth too."""
    less: dict[str, Any] = {"eye_size": UNSEEN}
    if bare:
        less |= {"nose": (anatomy.nose[0], UNSEEN, UNSEEN), "mouth": (anatomy.mouth[0], UNSEEN)}
        less |= {"nostrils": 0.0, "whiskers": 0.0}
    return replace(anatomy, **less)


def draw_shard(seed: int, size: int = SIZE, count: int = SHARD) -> dict[str, Tensor]:
    """Draw the pairs of one shard; equal seeds give equal shards."""
    noise, pick = torch.Generator().manual_seed(seed), random.Random(seed)
    p = random_parameters(count, noise)
    pictures = torch.empty(count, 2, 3, size, size, dtype=torch.uint8)
    style, species = (torch.empty(count, 2, dtype=torch.int16) for _ in range(2))
    third, share = torch.empty_like(pictures[:, 0]), torch.zeros(count)
    for start in range(0, count, AT_ONCE):
        rows = slice(start, min(count, start + AT_ONCE))
        s, a = (0 if pick.random() < PHOTO_SHARE else pick.randrange(len(STYLES))), pick.randrange(len(SPECIES))
        cells = [(s, a)]
        if pick.random() < 0.5:
            cells.append(((s + pick.randrange(1, len(STYLES))) % len(STYLES), a))
        else:
            cells.append((s, (a + pick.randrange(1, len(SPECIES))) % len(SPECIES)))
        for k, (one_style, one_species) in enumerate(cells):
            drawn = draw(p[rows], SPECIES[one_species], STYLES[one_style], noise, size=size)
            pictures[rows, k] = (drawn * 255).round().byte()
            style[rows, k], species[rows, k] = one_style, one_species
        (s, a), (_, b) = cells
        drawn, creature = p[rows], without_eyes(ANATOMIES[SPECIES[a]], pick.random() < 0.5)
        if a != b and "person" not in (SPECIES[a], SPECIES[b]):  # people differ in kind: they have hair and lips
            share[rows] = 0.15 + 0.7 * pick.random()
            creature = mixed(ANATOMIES[SPECIES[a]], ANATOMIES[SPECIES[b]], share[start].item())
        else:
            drawn = drawn.replaced(glasses=0.0)  # they would show where eyes belong
        third[rows] = (draw(drawn, creature, STYLES[s], noise, size=size) * 255).round().byte()
    parts = {"pictures": pictures, "style": style, "species": species, "values": p.values}
    return {**parts, "third": third, "share": share}


def read_pages(folder: Path, most: int | None = None, first: int = 0) -> Pages:
    """Read all individuals of the shards in a folder.

    Args:
        folder: where album.py wrote the shards.
        most: number of shards to read at most; None for all.
        first: number of shards to skip at the beginning.

    Raises:
        ValueError: the folder holds no shards.
    """
    files = sorted(folder.glob("shard_*.pt"))[first:]
    files = files[:most] if most is not None else files
    if not files:
        raise ValueError(f"{folder} holds no shards of an album; draw them with album.py --out {folder}")
    shards = [torch.load(file, weights_only=True) for file in files]
    parts = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    style, species = parts["style"].long(), parts["species"].long()
    return Pages(parts["pictures"], style, species, Parameters(parts["values"]), parts["third"], parts["share"])


def main() -> None:
    """Draw the shards that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--shards", type=int, default=64, help=f"shards of {SHARD} individuals (default: %(default)s)")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels a side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_flush_denormal(True)
    begun = time.time()
    for number in range(args.shards):
        path = args.out / f"shard_{number:03d}.pt"
        if not path.exists():
            write_state(draw_shard(args.seed * 10**6 + number, args.size), path)
            print(f"shard {number + 1} of {args.shards}, {time.time() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
