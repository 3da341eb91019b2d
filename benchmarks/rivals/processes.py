"""Do each run in a process of its own, for the command: such a process cannot import __main__.py."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import torch

from ..pages import reserved
from .runs import Bench, Run

DISCRIMINATORS = {"demo": Path(__file__).parent / "demo_discriminator.safetensors"}


def make_bench(args: argparse.Namespace) -> Bench:
    """Load the models named on the command line."""
    discriminator = args.discriminator or DISCRIMINATORS.get(args.generator)
    return Bench(args.folder, args.generator, args.clip, args.encoder, discriminator, args.count, args.records)


def do(args: argparse.Namespace, bench: Bench, run: Run, title: str = "starts") -> bool:
    """Do a run in a separate process, so that its peak memory is its own.

    Returns:
        False if there is nothing to do, since the run has a record, or another command does it.
    """
    with reserved(bench.records / f"{run.name}.lock") as free:
        if free and bench.record(run) is None:
            say(f"{run.name}: {title}")
            process = multiprocessing.get_context("spawn").Process(target=_work, args=(args, run))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"{run.name} failed; the runs before it are kept")
            return True
    return False


def _work(args: argparse.Namespace, run: Run) -> None:
    torch.set_num_threads(args.threads)
    record: dict[str, Any] = make_bench(args).measure(run, say)
    say(f"{run.name}: " + ", ".join(f"{name} {value:.3f}" for name, value in record["measures"].items()))


def say(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)
