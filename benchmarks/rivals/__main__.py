"""Compare NADA with its rivals on one harness.

    python -m benchmarks.rivals plan                 show the remaining runs, and their processor time
    python -m benchmarks.rivals run                  do them; stop and resume at any time; several at once share them
    python -m benchmarks.rivals run --only cdc-sketch-10-0

`python benchmarks/tables.py 'rivals/*' --results benchmarks/records --write` does what is left, and writes the tables
of docs/rivals.md. The folder --records has the results, one JSON file for each run, and a picture for each first
repetition. Those of the demo generator come with this repository, as does its discriminator. Finished runs are not
repeated. The folder --folder keeps the images of each run: without its record, a run is measured again; without its
images too, it is also trained again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from . import truth
from .processes import do, make_bench, say
from .runs import BATCH, MEASURED, OWN_STEPS, SEEDS, STEPS, Bench, Run, left_to_do, planned

HOURS = 30  # processor hours that the whole table may take
ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> None:
    """Plan or run."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    bench = make_bench(args)
    runs = planned(args.steps, args.own_steps, args.seeds, args.targets, args.batch)
    bench.prepare(args.discriminator_steps, say)
    if args.only:
        runs = [run for run in runs if run.name == args.only]
        if not runs:
            sys.exit(f"there is no run {args.only!r} in this plan; names are like cdc-sketch-10-0")
    left = list(left_to_do(bench, runs))
    if args.what == "plan":
        show_plan(bench, runs, left, args.hours)
        return
    for count, run in enumerate(left, 1):
        do(args, bench, run, f"run {count} of {len(left)}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rivals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("plan", "run"), help="command, see above")
    parser.add_argument(
        "--records", type=Path, default=ROOT / "benchmarks" / "records" / "rivals", help="folder of results"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "rivals", help="cache folder: images, codes")
    parser.add_argument("--generator", default="demo", help="generator, as for nada adapt (default: %(default)s)")
    parser.add_argument("--clip", default="demo", help="CLIP models, as for nada adapt (default: %(default)s)")
    parser.add_argument("--encoder", default="demo", help="small encoder of the generator (default: %(default)s)")
    parser.add_argument(
        "--discriminator",
        type=Path,
        help="file with the generator's discriminator (default: the included one of the demo, else train one)",
    )
    parser.add_argument("--discriminator-steps", type=int, default=1500, help="steps for it (default: %(default)s)")
    parser.add_argument(
        "--targets", nargs="+", choices=[*truth.TARGETS], default=[*truth.TARGETS], help="targets (default: all)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps with images (default: %(default)s)")
    parser.add_argument("--own-steps", type=int, default=OWN_STEPS, help="steps without (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, help="batch of methods with images (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="repetitions of each row (default: %(default)s)")
    parser.add_argument("--count", type=int, default=MEASURED, help="images to measure (default: %(default)s)")
    parser.add_argument("--only", metavar="NAME", help="name of a single run, such as cdc-sketch-10-0")
    parser.add_argument(
        "--hours", type=float, default=HOURS, help="processor hours to warn from (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    return parser.parse_args(argv)


def show_plan(bench: Bench, runs: list[Run], left: list[Run], hours: float) -> None:
    """Print the number of remaining runs of each method, and their estimated time."""
    total = 0.0
    for method in dict.fromkeys(run.method for run in left):
        mine = [run for run in left if run.method == method]
        seconds = sum(bench.seconds(run) for run in mine)
        total += seconds
        print(f"{method:24} {len(mine):3} runs  {mine[0].steps:5} steps  {seconds / 3600:6.2f} h")
    print(f"{len(left)} of {len(runs)} runs are left: {total / 3600:.1f} hours of processor time, without measuring")
    if total > hours * 3600:
        print(f"that is more than {hours:g} hours; lower --steps, --own-steps or --seeds")


if __name__ == "__main__":
    main()
