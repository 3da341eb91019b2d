"""Measure the effect of TensorFloat-32 without a GPU that has it: two tables of docs/speed.md.

Such GPUs round the factors of a product to 10 bits of mantissa, and sum in full precision. Here a CPU does the same in
every convolution and matrix product, forward and backward. The first table shows the error of an iteration's gradients
at the paper's size; the second compares whole trainings of the demo generator, in pairs of equal seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from pages import Options, Shown, Table, grid
from paper_bench import Bench, Run, make_bench
from paper_claims import BASE_SETTINGS, COLUMNS, FIRST_RUN
from speed_timed import Case, Timed
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

PAGE = "docs/speed.md"
SEEDS, COUNT, SIZE = 3, 200, 64  # trainings of each kind; measured images; pixels in the single iteration
PAIRS = (("photo", "sketch"), ("dog", "pig"))
CUT = 13  # number of mantissa bits that are cut off, of 23
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)
ALL = "convolutions and matrix products"
KINDS = {"convolutions": CONVOLUTIONS, ALL: (*CONVOLUTIONS, *PRODUCTS)}
SHOWN = [column for column in COLUMNS if column[0] not in ("rest kept", "source found again")]


def rounded(x: Tensor) -> Tensor:
    """Round float32 to the nearest number with 10 bits of mantissa."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << (CUT - 1))) >> CUT << CUT).view(torch.float32)


class TensorFloat32(TorchDispatchMode):
    """Mode that rounds the factors of some operations."""

    def __init__(self, operations: tuple):
        super().__init__()
        self.operations = operations

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in self.operations:
            args = [rounded(x) if isinstance(x, Tensor) and x.dtype == torch.float32 else x for x in args]
        return function(*args, **(kwargs or {}))


@contextmanager
def multiplying(kind: str | None) -> Iterator[None]:
    """Context in which products are computed as one of `KINDS`, or unchanged; attention becomes visible products."""
    with sdpa_kernel(SDPBackend.MATH), TensorFloat32(KINDS[kind]) if kind else nullcontext():
        yield


def gradients(size: int, kind: str | None) -> Tensor:
    """All gradients of the second iteration of a run in one vector; the first is in full precision."""
    run = Timed(Case("ours", size=size)).run
    with multiplying(None):
        next(run)
    found: dict[str, Tensor] = {}
    run.trainer.step = found.update  # instead of a step, after which no gradient is kept
    with multiplying(kind):
        next(run)
    return torch.cat([gradient.flatten().double() for name, gradient in found.items() if "." in name])


def measure_gradients(options: Options) -> Iterator[str]:
    for kind in KINDS:
        for result in options.kept(f"tf32/{kind}", partial(turned, kind)):
            yield f"{kind}: {result}"


def turned(kind: str) -> dict[str, float]:
    """Relative error and cosine of the gradients of an iteration if products of a kind are rounded."""
    exact, other = gradients(SIZE, None), gradients(SIZE, kind)
    error = float((other - exact).norm() / exact.norm())
    return {"error": error, "cosine": float(other @ exact / other.norm() / exact.norm())}


def show_gradients(options: Options) -> Shown:
    found = {kind: result for kind in KINDS if (result := options.found(f"tf32/{kind}"))}
    rows = [[kind, f"{result['error']:.2%}", f"{result['cosine']:.6f}"] for kind, result in found.items()]
    return Shown(grid(["rounded", "difference, of their length", "cosine"], rows) if rows else "")


def trainings(options: Options) -> dict[tuple[str, str], list[Run]]:
    """{(change, kind of products): trainings, one for each seed}."""
    settings = tuple(sorted({**BASE_SETTINGS, "iterations": options.fewer(BASE_SETTINGS["iterations"])}.items()))
    found = {}
    for pair in PAIRS:
        for kind in ("full", "rounded"):
            found[" -> ".join(pair), kind] = [
                Run(*pair, (*settings, ("seed", FIRST_RUN + seed)), (options.fewer(BASE_SETTINGS["iterations"]),))
                for seed in range(options.seeds or SEEDS)
            ]
    return found


def measure_trainings(options: Options) -> Iterator[str]:
    bench = make_bench("demo", options.fewer(COUNT, 8))
    for (change, kind), runs in trainings(options).items():
        for run in runs:
            name = f"tf32/{kind}_{run.name(bench.models)}"
            work = partial(measured, bench, kind, run, options.file(name).with_suffix(".png"))
            for record in options.kept(name, work):
                yield f"{change}, {kind}: {record['seconds']:.0f} s"


def measured(bench: Bench, kind: str, run: Run, picture: Path) -> dict[str, Any]:
    """Record of a training with one kind of products."""
    with multiplying(ALL if kind == "rounded" else None):
        return bench.measure(run, picture, None)


def show_trainings(options: Options) -> Shown:
    bench, rows = make_bench("demo", options.fewer(COUNT, 8)), []
    for (change, kind), runs in trainings(options).items():
        records = [record for run in runs if (record := options.found(f"tf32/{kind}_{run.name(bench.models)}"))]
        found = [record["moments"][str(runs[0].moments[-1])] for record in records]
        if found:
            rows.append([change, kind, *(f"{mean(row[name] for row in found):.3f}" for name, _ in SHOWN)])
    return Shown(grid(["change", "products", *(title for _, title in SHOWN)], rows) if rows else "")


TABLES = [
    Table("tf32/gradients", PAGE, measure_gradients, show_gradients),
    Table("tf32/trainings", PAGE, measure_trainings, show_trainings),
]
