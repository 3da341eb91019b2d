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
from speed_cases import in_turns
from speed_count import by_count
from speed_page import page
from speed_timed import Case, memory_now

from nada import AdaptConfig, adapt, load_clip, load_generator

DOCS = Path(__file__).parents[1] / "docs"
RESULTS, PAGE = DOCS / "speed.json", DOCS / "speed.md"
PAPER_LAYERS = {256: 9, 512: 10, 1024: 12}  # two thirds, as the authors' notebook has it
STRESS = 12  # layers of 14 codes at 256 px: nearly all are chosen
ALONE = "ViT-B/32"
LONG_RUN = (50, 200, 500, 1000, 1500, 2000)  # iterations after which the memory is looked at


def against_reference(size: int, base: Case, path: str) -> dict[str, list[Case]]:
    """The public implementation and ours, which once chooses layers as often, and once as seldom as recommended."""
    off = base.on(size=size)
    on = off.on(layers=STRESS if size == 256 else PAPER_LAYERS[size])
    seldom = on.on(name="ours", select_every=4, select_batch=4)
    choosing = f"choosing {on.layers} layers in every step"
    return {  # two processes at a time, since the reference takes up to 16 GB
        f"all layers, {size} px": [off.on(name="reference", reference=path), off.on(name="ours")],
        f"{choosing}, {size} px": [on.on(name="reference", reference=path), on.on(name="ours")],
        f"{choosing}, ours in every 4th on 4 images, {size} px": [on.on(name="reference", reference=path), seldom],
    }


def by_layers(size: int, base: Case) -> dict[str, list[Case]]:
    """All layers, some chosen adaptively, and fixed sets."""
    sets = ["all", PAPER_LAYERS[size], "texture", "b64-b256"]
    return {f"layers, {size} px": [base.on(size=size, name=str(layers), layers=layers) for layers in sets]}


def by_kind(size: int, base: Case) -> dict[str, list[Case]]:
    """What of the layers is trained."""
    kinds = ("weights", "affine", "stylespace", "lora")
    return {f"what is trained, {size} px": [base.on(size=size, name=kind, train=kind) for kind in kinds]}


def by_precision(size: int, base: Case) -> dict[str, list[Case]]:
    """Full and half."""
    return {f"precision, {size} px": [base.on(size=size, name=kind, precision=kind) for kind in ("full", "half")]}


def by_card(size: int, base: Case) -> dict[str, list[Case]]:
    """What only a GPU has: shorter products, fused kernels, recordings; each beside those before it."""
    plain = base.on(size=size, name="plain", fused=False, tf32=False)
    ways = [
        plain,
        plain.on(name="TF32", tf32=True),
        plain.on(name="TF32, fused", tf32=True, fused=True),
        plain.on(name="TF32, fused, CUDA graphs", tf32=True, fused=True, cuda_graphs=True),
        plain.on(name="half, fused, CUDA graphs", precision="half", fused=True, cuda_graphs=True),
    ]
    return {f"on the card, {size} px": ways} if torch.device(base.device).type == "cuda" else {}


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
    "precision": by_precision,
    "card": by_card,
    "memory": by_memory,
}


def growth(size: int, base: Case) -> dict[str, list[Case]]:
    """What the cost grows with; each case is named by the number."""
    base = base.on(size=size)
    return {
        f"images in a step, {size} px": [base.on(name=str(n), batch=n) for n in (1, 2, 3, 4)],
        f"layers chosen in every step, {size} px": [base.on(name=str(k), layers=k) for k in (1, 5, 9)],
        f"CLIP models ({ALONE}), {size} px": [base.on(name=str(n), clips=n * (ALONE,)) for n in (1, 2, 3, 4)],
    }


def by_resolution(base: Case) -> list[Case]:
    """Sizes of the images."""
    return [base.on(size=size, name=f"{size} px") for size in (64, 128, 256, 512, 1024)]


def long_run(device: str) -> list[dict[str, int]]:
    """Memory in the course of an adaptation of the demo generator that chooses layers anew in every 4th step."""
    torch.set_num_threads(1)
    config = AdaptConfig("photo", "sketch", batch=2, layers=6, select_every=4, iterations=LONG_RUN[-1])
    run = adapt(load_generator("demo").to(device), load_clip("demo", device), config)
    steps = (step.iteration for step in run)
    return [{"iteration": i, "memory": memory_now(torch.device(device))} for i in steps if i in LONG_RUN]


ALL = ("parts", *GROUPS, "growth", "resolution", "long", "count")


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
    parser.add_argument("--groups", default="parts,layers,memory", help=f"of {', '.join(ALL)}; or all")
    parser.add_argument("--layers", default="all,12", help="of the group parts (default: %(default)s)")
    parser.add_argument("--iterations", type=int, help="timed, of each case (default: 2, on a GPU 20)")
    parser.add_argument("--warmup", type=int, help="iterations before, not timed (default: 1, on a GPU 5)")
    parser.add_argument(
        "--reference", metavar="PATH", help="a checkout of the public StyleGAN-nada, to run beside ours"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each process, on a CPU (default: %(default)s)")
    args = parser.parse_args()
    base = Case("", device=args.device, threads=args.threads)
    names = ALL if args.groups == "all" else args.groups.split(",")
    layers = [int(name) if name.isdigit() else name for name in args.layers.split(",")]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    usual = (2, 1) if args.device == "cpu" else (20, 5)
    turns = [n if given is None else given for given, n in zip((args.iterations, args.warmup), usual, strict=True)]

    def keep(kind: str, found: dict) -> None:
        results.setdefault(kind, {}).update(found)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(page(results))

    for size in map(int, args.sizes.split(",")):
        if "parts" in names:
            keep("parts", parts(size, base, layers, *turns))
        for name in (name for name in GROUPS if name in names):
            if name != "reference" or args.reference:
                extra = [args.reference] if name == "reference" else []
                for title, cases in GROUPS[name](size, base, *extra).items():
                    keep("comparisons", {title: in_turns(cases, *turns)})
        if "count" in names:
            keep("counted", {f"{size} px": by_count(size, base)})
        if "growth" in names:
            for title, cases in growth(size, base).items():
                keep("growth", {title: in_turns(cases, *turns)})
    if "resolution" in names:
        keep("growth", {"GFLOP of a step": in_turns(by_resolution(base), *turns, ("floor",))})
    if "long" in names:
        keep("long", {f"demo generator on {args.device}": long_run(args.device)})


if __name__ == "__main__":
    main()
