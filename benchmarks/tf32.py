"""What TensorFloat-32 changes, found out without a GPU that has it: `python benchmarks/tf32.py`.

Such GPUs round what goes into a product to 10 bits of mantissa, and add up in full precision. Here a CPU does the same
to every convolution and matrix product of a step, forward and backward. First one step of the paper's shapes: how far
gradients turn. Then whole trainings of the demo generator, in pairs of equal seeds: what the judge sees.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from paper_claims import BASE_SETTINGS, FIRST_RUN, Bench
from speed_timed import Case, Timed
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from nada import AdaptConfig, adapt, generate

CUT = 13  # of the 23 bits of a mantissa
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)
KINDS = {"convolutions": CONVOLUTIONS, "convolutions and matrix products": (*CONVOLUTIONS, *PRODUCTS)}
SHOWN = ("target rate", "parameters correlation", "parameters spread kept", "quality", "diversity")


def rounded(x: Tensor) -> Tensor:
    """float32 to the nearest number with 10 bits of mantissa."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << (CUT - 1))) >> CUT << CUT).view(torch.float32)


class TensorFloat32(TorchDispatchMode):
    """Rounds what goes into some operations."""

    def __init__(self, operations: tuple):
        super().__init__()
        self.operations = operations

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in self.operations:
            args = [rounded(x) if isinstance(x, Tensor) and x.dtype == torch.float32 else x for x in args]
        return function(*args, **(kwargs or {}))


@contextmanager
def multiplying(kind: str | None) -> Iterator[None]:
    """Multiply as one of `KINDS` says, or as ever; attention as matrix products, which can be seen."""
    with sdpa_kernel(SDPBackend.MATH), TensorFloat32(KINDS[kind]) if kind else nullcontext():
        yield


def gradients(size: int, kind: str | None) -> Tensor:
    """All gradients of the second step of a run, in one row; the first is that of full precision."""
    run = Timed(Case("ours", size=size)).run
    with multiplying(None):
        next(run)
    with multiplying(kind):
        next(run)
    return torch.cat([p.grad.flatten().double() for p in run.trained.parameters() if p.grad is not None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="pixels of the one step (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    exact = gradients(args.size, None)
    for kind in KINDS:
        other = gradients(args.size, kind)
        error = float((other - exact).norm() / exact.norm())
        cosine = float(other @ exact / other.norm() / exact.norm())
        print(
            f"{args.size} px, {kind}: gradients differ by {error:.2e} of their length, cosine {cosine:.6f}", flush=True
        )
    bench = Bench("demo", "demo", 200) if args.seeds else None
    for source, target in (("photo", "sketch"), ("dog", "pig")):
        for kind in (None, "convolutions and matrix products"):
            rows = []
            for seed in range(args.seeds):
                config = AdaptConfig(source, target, **BASE_SETTINGS, seed=FIRST_RUN + seed)
                with multiplying(kind):
                    *_, last = adapt(bench.base, bench.clip, config)
                rows.append(bench.judge_images(target, generate(last.generator, bench.ws)))
            figures = ", ".join(f"{name} {mean(row[name] for row in rows):.3f}" for name in SHOWN if rows)
            print(f"{source} -> {target}, {kind or 'full'}: {figures}", flush=True)


if __name__ == "__main__":
    main()
