"""How fast an adaptation is, and how much memory it takes: `python benchmarks/speed.py --reference PATH`.

Generators and CLIP models have their true shapes and random weights: speed does not depend on the values. Every way of
doing the work runs in a process of its own, and they take turns, iteration by iteration, so that what else the machine
does falls on all of them. Results go to docs/speed.json and docs/speed.md; groups that are not run keep theirs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from speed_cases import Case, in_turns
from speed_page import page

DOCS = Path(__file__).parents[1] / "docs"
RESULTS, PAGE = DOCS / "speed.json", DOCS / "speed.md"
PAPER_LAYERS = {256: 9, 512: 10, 1024: 12}  # two thirds, as the authors' notebook has it
STRESS = 12  # layers of 14 codes at 256 px: nearly all are chosen


def against_reference(size: int, base: Case, path: str) -> dict[str, list[Case]]:
    """The public implementation, ours, and ours with fewer choices."""
    off = base.on(size=size)
    on = off.on(layers=STRESS if size == 256 else PAPER_LAYERS[size])
    return {
        f"all layers, {size} px": [off.on(name="reference", reference=path), off.on(name="ours")],
        f"choosing {on.layers} layers in every step, {size} px": [
            on.on(name="reference", reference=path),
            on.on(name="ours"),
            on.on(name="ours, choosing in every 4th step on 4 images", select_every=4, select_batch=4),
        ],
    }


def by_layers(size: int, base: Case) -> dict[str, list[Case]]:
    """All layers, some chosen adaptively, and fixed sets."""
    sets = ["all", PAPER_LAYERS[size], "texture", "b64-b256"]
    return {f"layers, {size} px": [base.on(size=size, name=str(layers), layers=layers) for layers in sets]}


def by_kind(size: int, base: Case) -> dict[str, list[Case]]:
    """What of the layers is trained."""
    kinds = ("weights", "affine", "stylespace", "lora")
    return {f"what is trained, {size} px": [base.on(size=size, name=kind, train=kind) for kind in kinds]}


def by_batch(size: int, base: Case) -> dict[str, list[Case]]:
    """Images per step."""
    return {f"batch, {size} px": [base.on(size=size, name=str(n), batch=n) for n in (1, 2, 4)]}


def by_memory(size: int, base: Case) -> dict[str, list[Case]]:
    """The steps down that `Adaptation.spare_memory` takes."""
    whole = base.on(size=size)
    return {
        f"memory, all layers, {size} px": [
            whole.on(name="whole batches"),
            whole.on(name="two pieces", pieces=2),
            whole.on(name="two pieces, block by block", pieces=2, recompute=True),
        ]
    }


GROUPS: dict[str, Callable[..., dict[str, list[Case]]]] = {
    "reference": against_reference,
    "layers": by_layers,
    "kinds": by_kind,
    "batch": by_batch,
    "memory": by_memory,
}


def parts(size: int, base: Case, layers_of: list[str | int], rounds: int, warmup: int) -> dict[str, dict]:
    """Where the time goes, and the floor by arithmetic, for each number of layers."""
    found = {}
    for layers in layers_of:
        case = base.on(size=size, layers=layers, name="ours")
        (row,) = in_turns([case], rounds, warmup, ("parts", "floor"))
        found[f"layers {layers}, {size} px"] = row
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="256", help="pixels, such as 256,512,1024 (default: %(default)s)")
    parser.add_argument("--groups", default="parts,layers,memory", help=f"of parts, {', '.join(GROUPS)}; or all")
    parser.add_argument("--layers", default="all,12", help="of the group parts (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=2, help="timed, of each case (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=1, help="iterations before, not timed (default: %(default)s)")
    parser.add_argument(
        "--reference", metavar="PATH", help="a checkout of the public StyleGAN-nada, to run beside ours"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each process, on a CPU (default: %(default)s)")
    args = parser.parse_args()
    base = Case("", device=args.device, threads=args.threads)
    names = ["parts", *GROUPS] if args.groups == "all" else args.groups.split(",")
    layers = [int(name) if name.isdigit() else name for name in args.layers.split(",")]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"parts": {}, "comparisons": {}}
    for size in map(int, args.sizes.split(",")):
        for name in names:
            if name == "parts":
                results["parts"] |= parts(size, base, layers, args.iterations, args.warmup)
            elif name != "reference" or args.reference:
                extra = [args.reference] if name == "reference" else []
                for title, cases in GROUPS[name](size, base, *extra).items():
                    results["comparisons"][title] = in_turns(cases, args.iterations, args.warmup)
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
