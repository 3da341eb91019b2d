"""Compare what the judge says about adaptations with what the eye sees: a table of docs/paper_claims.md.

    python benchmarks/by_eye.py --images PATH --out sheets

draws a sheet of pictures for each change; `by_eye.json` has a letter for each of them, y where the picture shows what
the target text asks for, and n where it does not. The judge learned neither from these pictures nor from these letters.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pages import Options, Shown, Table, grid
from paper_bench import Bench, Run
from paper_claims import BOUNDS, CLAIMS, PAGE, Claim, bench_of, make_run
from torch import Tensor

from nada.measure.judging import conditions
from nada.pictures.convert import from_uint8
from nada.pictures.grids import make_grid
from nada.runs.names import slug

LETTERS = Path(__file__).with_suffix(".json")
SEED = 1  # the training of the judge watched earlier letters, of the first runs, so these are of the second
FIRST, PICTURES, COLUMNS = 16, 16, 8  # first picture of a change, number of pictures, and of those in a row
OF = ("targets", "untried")  # claims whose runs are looked at
YES = "y"


def looked_at() -> dict[str, str]:
    """{change: a letter for each picture}."""
    return json.loads(LETTERS.read_text("utf-8"))


def planned(options: Options) -> Iterator[tuple[Claim, str, Run]]:
    """A run with CLIP of each change, with its claim and the change's name."""
    for claim in CLAIMS:
        for pair in claim.pairs if claim.name in OF else ():
            for label, changes in claim.variants.items():
                if label not in BOUNDS:
                    yield claim, " -> ".join(pair), make_run(claim, pair, changes, SEED, options)


def pictures_of(bench: Bench, run: Run, options: Options) -> Tensor:
    """Pictures of a run after its last iteration, [PICTURES, 3, R, R]."""
    pixels, _ = bench.images(run, options.reference, options.images_of("claims"))
    return from_uint8(pixels[str(run.moments[-1])][FIRST : FIRST + PICTURES])


def answers(bench: Bench, run: Run, options: Options) -> list[bool]:
    """Whether the judge sees in each picture what the target text asks for."""
    goal = bench.goal(run.target)
    right = conditions(bench.judge, goal, bench.judge.read(pictures_of(bench, run, options)))
    asked = [name for name in ("style", "species") if getattr(goal, name) is not None]
    return torch.stack([right[name] for name in asked]).all(0).tolist()


def name_of(bench: Bench, run: Run) -> str:
    return f"by_eye/{run.name(bench.models)}"


def measure(options: Options) -> Iterator[str]:
    letters = looked_at()
    for claim, change, run in planned(options):
        if change in letters:
            bench = bench_of(claim, options)
            for said in options.kept(name_of(bench, run), partial(answers, bench, run, options)):
                yield f"{change}: {sum(said)} of {len(said)}"


def show(options: Options) -> Shown:
    """Compare the judge's answers with the letters, for each change and in all."""
    letters, rows, all_said, all_seen = looked_at(), [], [], []
    for claim, change, run in planned(options):
        said = options.found(name_of(bench_of(claim, options), run))
        if said is not None and change in letters:
            seen = [letter == YES for letter in letters[change]]
            rows.append([change, *cells(said, seen)])
            all_said += said
            all_seen += seen
    if not rows:
        return Shown("")
    columns = ["change", "pictures", "to the eye", "to the judge", "agree", "only to the judge", "only to the eye"]
    text = grid(columns, [*rows, ["all", *cells(all_said, all_seen)]])
    return Shown(f"## the judge and the eye\n\nShares of pictures that show the target.\n\n{text}")


def cells(said: list[bool], seen: list[bool]) -> list[Any]:
    """Cells of a row, from what the judge said and what the eye saw."""
    pairs = [*zip(said, seen, strict=True)]
    both = [(a == b, a > b, a < b) for a, b in pairs]
    shares = [sum(seen), sum(said), *map(sum, zip(*both, strict=True))]
    return [str(len(pairs)), *(f"{share / len(pairs):.2f}" for share in shares)]


TABLES = [Table("claims/by eye", PAGE, measure, show)]


def main() -> None:
    """Draw the sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="cache folder of images, as for tables.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sheets")
    args = parser.parse_args()
    options = Options(args.out, images=args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    for claim, change, run in planned(options):
        made = pictures_of(bench_of(claim, options), run, options)
        make_grid(made, columns=COLUMNS).save(args.out / f"{slug(change)}.png")


if __name__ == "__main__":
    main()
