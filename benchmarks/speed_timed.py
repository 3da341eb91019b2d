"""One variant of adapting a generator, with methods to time it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from clock import clock
from speed_parts import Stopwatch
from speed_profile import Profile
from torch.utils.flop_counter import FlopCounterMode

from nada import AdaptConfig, Generator, adapt
from nada.clip.models import ClipEnsemble, ClipModel
from nada.stylegan2 import GeneratorConfig, standard_channels
from nada.stylegan2.ops import kernels
from nada.training import precision
from nada.training.goal import Goal

CLIPS = {"ViT-B/32": "ViT-B-32-quickgelu", "ViT-B/16": "ViT-B-16-quickgelu"}  # the paper's, with random weights
WIDTH = 512  # length of their embeddings
GEMM = 2048  # side of the matrices in the product that measures the speed of the machine
COPIED = 1 << 26  # numbers in the copy that measures the speed of its memory


@dataclass(frozen=True)
class Case:
    """One variant of adapting a generator."""

    name: str
    """Name in the tables."""
    size: int = 256
    """Side of the images in pixels."""
    layers: str | int = "all"
    """Layers to train; see AdaptConfig."""
    batch: int = 2
    select_batch: int = 8
    select_every: int = 1
    train: str = "weights"
    precision: str = "full"
    clips: tuple[str, ...] = tuple(CLIPS)
    pieces: int = 1
    """Number of chunks; see Adaptation."""
    recompute: bool = False
    """Whether activations are recomputed; see Synthesis."""
    fused: bool = True
    """Whether fused kernels may be used where they are faster."""
    tf32: bool = True
    """Whether matrix products may use TensorFloat-32, as PyTorch lets convolutions do anyway."""
    cuda_graphs: bool = False
    """Whether to use CUDA graphs; see AdaptConfig."""
    reference: str | None = None
    """Checkout of the public implementation, to time that instead; None for ours."""
    device: str = "cpu"
    threads: int = 1

    def on(self, **changes: Any) -> Case:
        """A copy with changes."""
        return replace(self, **changes)


class Timed:
    """Run of a case, with the seconds of its iterations and its peak memory."""

    def __init__(self, case: Case):
        torch.set_num_threads(case.threads)
        torch.manual_seed(0)
        kernels.enabled, precision.enabled = case.fused, case.tf32
        self.case, self.device = case, torch.device(case.device)
        generator = Generator(GeneratorConfig(case.size, standard_channels(case.size))).eval().requires_grad_(False)
        clip = ClipEnsemble([random_clip(name) for name in case.clips]).to(self.device)
        self.prepare(generator.to(self.device), clip)

    def prepare(self, generator: Generator, clip: ClipEnsemble) -> None:
        """Start the run."""
        case = self.case
        settings = {"layers": case.layers, "select_batch": case.select_batch, "select_every": case.select_every}
        settings |= {"batch": case.batch, "train": case.train, "precision": case.precision, "iterations": 1_000_000}
        settings |= {"cuda_graphs": case.cuda_graphs}
        ends = tuple(F.normalize(torch.randn(WIDTH), dim=0) for _ in clip)
        config = AdaptConfig("photo", "sketch", **settings)
        self.run = adapt(generator, clip, config, goal=Goal(ends, ends, "photo"))
        self.run.pieces, self.run.trained.synthesis.recompute = case.pieces, case.recompute

    def work(self) -> None:
        """Run one iteration."""
        next(self.run)

    def step(self) -> dict[str, float]:
        """Run an iteration, and return its wall and processor seconds, and the peak memory so far in bytes.

        If layers are selected in every n-th iteration, the seconds are the mean of n, which include one selection.
        """
        began, count = (time.perf_counter(), time.process_time()), self.case.select_every
        for _ in range(count):
            self.work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
        return {"wall": wall / count, "processor": processor / count, "memory": peak_memory(self.device)}

    def parts(self) -> dict[str, float]:
        """Measure the seconds of each part of an iteration, and of a preview of four images."""
        return Stopwatch(self.run, self.device).iteration()

    def floor(self) -> dict[str, float]:
        """Count the floating point operations of an iteration, and those that this machine does per second."""
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = NoModules()
        with counter:
            self.work()
        return {"operations": counter.get_total_flops(), "per second": gemm_speed(self.device)}

    def profile(self) -> dict[str, Any]:
        """Time the operations of an iteration by kind, beside a large matrix product and a large copy.

        Returns:
            "kinds" (see `Profile.by_kind`), the seconds "between" operations and "waiting" for a processor that other
            processes use, and what this machine does "per second": floating point operations, and bytes.
        """
        now = partial(clock, self.device)
        began, ours = time.perf_counter(), now()
        with Profile(now) as found:
            self.work()
        ours, whole = now() - ours, time.perf_counter() - began
        rates = gemm_speed(self.device), copy_speed(self.device)
        seconds = {"between": found.between, "waiting": max(whole - ours, 0.0)}
        return {"kinds": found.by_kind(*rates), **seconds, "per second": rates}


class NoModules(nullcontext):
    """Replacement for the counter's tracker of modules, which fails for gradients with respect to codes."""

    parents = frozenset({"Global"})


def random_clip(name: str) -> ClipModel:
    """A CLIP model of the true architecture, with random weights that are exact in half precision, like OpenAI's."""
    model = open_clip.create_model(CLIPS[name], pretrained=None).half().float()
    return ClipModel(name, 1.0, model, open_clip.get_tokenizer(CLIPS[name]))


def gemm_speed(device: torch.device) -> float:
    """Measure the operations per second of a large matrix product, the best of five."""
    a, b = torch.randn(2, GEMM, GEMM, device=device)
    return 2 * GEMM**3 / _least_time(lambda: a @ b, device)


def copy_speed(device: torch.device) -> float:
    """Measure the bytes per second, read and written, of a large copy, the best of five."""
    a, b = torch.zeros(2, COPIED, device=device)
    return 2 * a.nbytes / _least_time(lambda: b.copy_(a), device)


def _least_time(work: Callable[[], Any], device: torch.device) -> float:
    best = float("inf")
    for _ in range(5):
        began = clock(device)
        work()
        best = min(best, clock(device) - began)
    return best


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: PyTorch's on CUDA, else that of the whole process (Linux)."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _of_process("VmHWM")


def memory_now(device: torch.device) -> int:
    """Memory in use in bytes, measured as in `peak_memory`."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _of_process("VmRSS")


def _of_process(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(entry))
