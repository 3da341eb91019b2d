"""Seconds per iteration, and the share of selecting layers: `python benchmarks/step_time.py`.

The two halves of an iteration are timed in turns within one run, so that their ratio is reliable on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from nada import AdaptConfig, adapt, layer_freeze, load_clip, load_generator
from nada.cli.shared import pick_device


def seconds(work, device: torch.device) -> float:
    """Wall time of one call in seconds, until the device has finished."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measure(args: argparse.Namespace) -> dict:
    """Medians over `args.rounds` of the two halves of an iteration."""
    device = pick_device(args.device)
    generator, clip = load_generator(args.generator).to(device), load_clip(args.clip, device)
    config = AdaptConfig("photo", "sketch", batch=args.batch, select_batch=args.select_batch, layers="auto")
    run = adapt(generator, clip, config)
    for _ in range(3):
        next(run)  # warm-up: the first calls allocate and plan
    chosen, everything, convs = [], [], tuple(layer_freeze.candidates(generator.layers))
    for _ in range(args.rounds):
        run.iteration = 0  # so that the number of rounds is not limited by the run's length
        both = seconds(lambda: next(run), device)
        run.trainer.count, choosing = None, run.trainer.count
        run.trainer.layers = convs
        everything.append(seconds(lambda: next(run), device))
        run.trainer.count = choosing
        chosen.append(both)
    on, off = median(chosen), median(everything)
    return {
        "generator": f"{args.generator}, {generator.config.resolution} px",
        "clip": args.clip,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "batch": args.batch,
        "select_batch": args.select_batch,
        "layers chosen": f"{config.layer_count(generator)} of {len(convs)}",
        "seconds per iteration, layers chosen each time": round(on, 4),
        "seconds per iteration, all layers": round(off, 4),
        "ratio": round(on / off, 2),
        "share of the selection": round(1 - off / on, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="demo", help="generator, as for `nada adapt` (default: %(default)s)")
    parser.add_argument("--clip", default="demo", help="CLIP models, as for `nada adapt` (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="images per iteration (default: %(default)s)")
    parser.add_argument("--select-batch", type=int, default=8, help="images per selection (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="timed iterations of each kind (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="device (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    result = measure(args)
    print(json.dumps(result) if args.json else "\n".join(f"{key:48} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
