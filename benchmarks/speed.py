"""Measure speed and memory of adaptation: the tables of docs/speed.md.

Generators and CLIP models have their true shapes and random weights, since speed does not depend on the values. Each
variant runs in a separate process, and the variants take turns, iteration by iteration, so that other load of the
machine affects all of them alike. The numbers behind the tables are in docs/speed.json, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import speed_page
import torch
from pages import Options, Shown, Table, demo_models, key_of
from speed_cases import in_turns
from speed_count import by_count
from speed_timed import Case, memory_now

from nada import AdaptConfig, adapt, load_clip, load_generator
from nada.errors import UsageError
from nada.generators.half_precision import require_half

PAGE = "docs/speed.md"
VERSION = 1  # raise it when what is timed changes, so that results are not mixed with earlier ones
SIZES = (256, 512, 1024)
PAPER_LAYERS = {256: 9, 512: 10, 1024: 12}  # two thirds, as in the authors' notebook
STRESS = 12  # number of layers of 14 codes at 256 px, so that nearly all are selected
ALONE = "ViT-B/32"
PROFILED = ((64, "all"), (128, "all"), (256, "all"), (256, STRESS), (1024, "all"))
ELSEWHERE = ", without AVX-512"  # end of the titles of tables for processors that lack these instructions
METHODS = {"parts": ("parts", "floor"), "profile": ("profile",)}  # methods of `Timed`, for each kind of table
LONG_RUN = (50, 200, 500, 1000, 1500, 2000)  # iterations after which the memory is measured


def against_reference(size: int, base: Case) -> dict[str, list[Case]]:
    """The public implementation and ours, with layers selected in every iteration, and as recommended in every 4th."""
    path, off = base.reference, base.on(size=size, reference=None)
    on = off.on(layers=STRESS if size == 256 else PAPER_LAYERS[size])
    ways = lambda case: [case.on(name="ours"), case.on(name="ours, half precision", precision="half")]
    few = on.on(select_batch=4)
    recommended = few.on(name="ours", select_every=4)
    choosing = f"choosing {on.layers} layers in every iteration"
    return {  # two processes at a time, since the reference takes up to 16 GB
        f"all layers, {size} px": [off.on(name="reference", reference=path), *ways(off)],
        f"{choosing}, {size} px": [on.on(name="reference", reference=path), *ways(on)],
        f"{choosing} on 4 images, {size} px": [few.on(name="reference", reference=path), *ways(few)],
        f"{choosing}, ours in every 4th on 4 images, {size} px": [on.on(name="reference", reference=path), recommended],
    }


def by_layers(size: int, base: Case) -> dict[str, list[Case]]:
    """All layers, adaptively selected ones, and fixed sets."""
    sets = ["all", PAPER_LAYERS[size], "texture", "b64-b256"]
    return {f"layers, {size} px": [base.on(size=size, name=str(layers), layers=layers) for layers in sets]}


def by_kind(size: int, base: Case) -> dict[str, list[Case]]:
    """Trained parts of the layers."""
    kinds = ("weights", "affine", "stylespace", "lora")
    return {f"what is trained, {size} px": [base.on(size=size, name=kind, train=kind) for kind in kinds]}


def by_precision(size: int, base: Case) -> dict[str, list[Case]]:
    """Full and half precision."""
    return {f"precision, {size} px": [base.on(size=size, name=kind, precision=kind) for kind in ("full", "half")]}


def by_card(size: int, base: Case) -> dict[str, list[Case]]:
    """Accelerations that only a GPU has: TensorFloat-32, fused kernels, CUDA graphs; each on top of those before it."""
    plain = base.on(size=size, name="plain", fused=False, tf32=False)
    ways = [
        plain,
        plain.on(name="TF32", tf32=True),
        plain.on(name="TF32, fused", tf32=True, fused=True),
        plain.on(name="TF32, fused, CUDA graphs", tf32=True, fused=True, cuda_graphs=True),
        plain.on(name="half, fused, CUDA graphs", precision="half", fused=True, cuda_graphs=True),
    ]
    return {f"on the card, {size} px": ways}


def by_memory(size: int, base: Case) -> dict[str, list[Case]]:
    """The settings that `Adaptation.spare_memory` tries in order."""
    whole = base.on(size=size)
    return {
        f"memory, all layers, {size} px": [
            whole.on(name="whole batches"),
            whole.on(name="two pieces", pieces=2),
            whole.on(name="two pieces, block by block", pieces=2, recompute=True),
        ]
    }


def growth(size: int, base: Case) -> dict[str, list[Case]]:
    """Settings that the cost grows with; each case is named by the number."""
    base = base.on(size=size)
    return {
        f"images in an iteration, {size} px": [base.on(name=str(n), batch=n) for n in (1, 2, 3, 4)],
        f"layers chosen in every iteration, {size} px": [base.on(name=str(k), layers=k) for k in (1, 5, 9)],
        f"CLIP models ({ALONE}), {size} px": [base.on(name=str(n), clips=n * (ALONE,)) for n in (1, 2, 3, 4)],
    }


def long_run(device: str, options: Options) -> list[dict[str, int]]:
    """Memory during an adaptation of the demo generator with a selection of layers in every 4th iteration."""
    torch.set_num_threads(options.threads)
    moments = [options.fewer(moment) for moment in LONG_RUN]
    config = AdaptConfig("photo", "sketch", batch=2, layers=6, select_every=4, iterations=moments[-1])
    run = adapt(load_generator("demo").to(device), load_clip("demo", device), config)
    steps = (step.iteration for step in run)
    return [{"iteration": i, "memory": memory_now(torch.device(device))} for i in steps if i in moments]


def base_of(options: Options) -> Case:
    reference = str(options.reference) if options.reference else None
    return Case("", device=options.device, threads=options.threads, reference=reference)


def compared(group: Group, size: int, title: str, options: Options) -> list[dict[str, Any]]:
    """Measure the cases of a group in turns, under a title; without those in half precision where it is refused."""
    cases = group(size, base_of(options))[title]
    try:
        require_half(torch.device(options.device))
    except UsageError:
        cases = [case for case in cases if case.precision != "half"]
    return in_turns(cases, options.turns, options.warmup)


def looked_into(kind: str, layers: str | int, size: int, options: Options) -> dict[str, Any]:
    """Time iterations of one case, and look into them for a table of that kind; see `METHODS`."""
    case = base_of(options).on(name="ours", size=size, layers=layers, reference=None)
    return in_turns([case], options.turns, options.warmup, METHODS[kind])[0]


def counted(size: int, options: Options) -> list[dict[str, Any]]:
    return by_count(size, base_of(options).on(reference=None))


def by_resolution(options: Options) -> list[dict[str, Any]]:
    """Sizes of the images."""
    base = base_of(options).on(reference=None)
    cases = [base.on(size=size, name=f"{size} px") for size in (64, 128, 256, 512, 1024)]
    return in_turns(cases, options.turns, options.warmup, ("floor",))


Group = Callable[[int, Case], dict[str, list[Case]]]
COMPARISONS: tuple[Group, ...] = (against_reference, by_layers, by_kind, by_precision, by_card, by_memory)
SHOW = {
    "comparisons": speed_page.comparison,
    "parts": speed_page.parts,
    "profile": speed_page.profile,
    "growth": speed_page.growth,
    "long": speed_page.long_run,
    "counted": speed_page.counted,
}


def plans() -> Iterator[tuple[str, str, Callable[[Options], Any]]]:
    """Yield all tables: kind, title, and the function that measures it."""
    for size in SIZES:
        for group in COMPARISONS:
            for title in group(size, Case("")):
                yield "comparisons", title, partial(compared, group, size, title)
        for layers in ("all", STRESS):
            yield "parts", f"layers {layers}, {size} px", partial(looked_into, "parts", layers, size)
        for title in growth(size, Case("")):
            yield "growth", title, partial(compared, growth, size, title)
        yield "counted", f"{size} px", partial(counted, size)
    size = SIZES[0]
    for title in against_reference(size, Case("")):
        yield "comparisons", title + ELSEWHERE, partial(compared, against_reference, size, title)
    for layers in ("all", STRESS):
        yield "parts", f"layers {layers}, {size} px{ELSEWHERE}", partial(looked_into, "parts", layers, size)
    for size, layers in PROFILED:
        yield "profile", f"operations, layers {layers}, {size} px", partial(looked_into, "profile", layers, size)
    yield "growth", "GFLOP of an iteration", by_resolution
    for device in ("cpu", "cuda"):
        yield "long", f"demo generator on {device}", partial(long_run, device)


def measure(name: str, work: Callable[[Options], Any], options: Options) -> Iterator[str]:
    for _ in options.kept(file_name(name, options), partial(work, options)):
        yield "measured"


def show(name: str, options: Options) -> Shown:
    found = options.found(file_name(name, options))
    return Shown(as_table(name, found), figures=found) if found else Shown("")


def as_table(name: str, found: Any) -> str:
    """Format the results under a name as Markdown."""
    _, kind, title = name.split("/", 2)
    return SHOW[kind](title, found)


def file_name(name: str, options: Options) -> str:
    """Name of the file with a table's results; slashes in titles are replaced."""
    group, kind, title = name.split("/", 2)
    models = demo_models() if kind == "long" else ""  # others have random weights
    return f"{group}/{kind}/{title.replace('/', ' ')} {key_of(VERSION, models, options.timing)}"


TABLES = [
    Table(
        f"speed/{kind}/{title}",
        PAGE,
        partial(measure, f"speed/{kind}/{title}", work),
        partial(show, f"speed/{kind}/{title}"),
        work.func is compared and work.args[0] is against_reference if isinstance(work, partial) else False,
        title.endswith(ELSEWHERE),
    )
    for kind, title, work in plans()
]
