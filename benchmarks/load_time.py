"""Seconds and peak memory of loading a 1024 px generator: `python benchmarks/load_time.py`.

It writes a generator with random weights in every format, then loads each file in a separate process: without a cache,
with an empty cache of converted copies, and with a cached copy. Memory is the peak growth of the process, compared with
the size of the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch

from nada import load_generator, save_generator
from nada.stylegan2 import Generator, GeneratorConfig, standard_channels

FORMATS = ("rosinality .pt", "rosinality .pt, no average w", "NVIDIA .pkl", "TensorFlow .pkl", "this project's")


def peak_memory() -> int:
    """Peak memory of this process alone in bytes, without its parent (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def write(kind: str, generator: Generator, path: Path) -> None:
    """Write a generator to a file of one of the formats."""
    from helpers.checkpoint_files import nvidia_bytes, rosinality_checkpoint, tensorflow_bytes, torch_bytes

    if kind == FORMATS[0]:
        path.write_bytes(torch_bytes(rosinality_checkpoint(generator)))
    elif kind == FORMATS[1]:
        path.write_bytes(torch_bytes(rosinality_checkpoint(generator, latent_avg=False)))
    elif kind == FORMATS[2]:
        path.write_bytes(nvidia_bytes(generator))
    elif kind == FORMATS[3]:
        path.write_bytes(tensorflow_bytes(generator))
    else:
        save_generator(generator, path)


def measure(path: str, cache: str | None, threads: int) -> dict[str, float]:
    """Load a file once in this process: seconds, and growth of the peak memory."""
    torch.set_num_threads(threads)
    load_generator("demo")  # imports and allocations of the first load
    before = peak_memory()
    began = time.perf_counter()
    load_generator(path, cache)
    return {"seconds": time.perf_counter() - began, "megabytes": (peak_memory() - before) / 1e6}


def in_own_process(path: Path, cache: Path | None, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--load", str(path), "--threads", str(threads)]
    command += ["--cache", str(cache)] if cache else []
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=1024, help="size of the generator (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="measure this checkpoint instead of random ones")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        print(json.dumps(measure(args.load, args.cache, args.threads)))
        return
    print(f"{args.threads} thread(s), torch {torch.__version__}; seconds, and peak memory as a multiple of the file")
    print(f"{'':30} {'file MB':>8} {'plain':>7} {'memory':>7} {'1st, cached':>12} {'2nd, cached':>12} {'memory':>7}")
    with tempfile.TemporaryDirectory() as folder:
        path, generator = Path(folder) / "model", None
        if not args.file:
            generator = Generator(GeneratorConfig(args.resolution, standard_channels(args.resolution)))
        for i, kind in enumerate((str(args.file),) if args.file else FORMATS):
            if generator:
                write(kind, generator, path)
            cache = Path(folder) / f"cache{i}"
            runs = [in_own_process(args.file or path, c, args.threads) for c in (None, cache, cache)]
            size = (args.file or path).stat().st_size / 1e6
            plain, first, second = (run["seconds"] for run in runs)
            memory, again = (runs[i]["megabytes"] / size for i in (0, 2))
            print(f"{kind[-30:]:30} {size:8.1f} {plain:7.2f} {memory:7.2f} {first:12.2f} {second:12.2f} {again:7.2f}")


if __name__ == "__main__":
    main()
