"""Fuzz the checkpoint readers: `python tests/helpers/checkpoint_fuzz.py --count 100000`.

It takes valid files of every format, made from random weights, damages them in the ways below, and loads the results
as usual. Each load must end in a generator or in a CheckpointError, after little work, without importing, compiling,
starting or writing anything, and the process must not grow. The n-th file of a seed is always the same one.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from safetensors.torch import save

from helpers.checkpoint_files import (
    containers,
    encoder_checkpoint,
    nvidia_bytes,
    rosinality_checkpoint,
    rosinality_names,
    small_generator,
    tensorflow_bytes,
    torch_bytes,
)
from helpers.effort import little_work, peak_memory
from nada.checkpoint import load_generator, save_generator
from nada.errors import CheckpointError

MEGABYTES = 300  # limit of the process's growth, however many files it reads
FORBIDDEN = ("import", "exec", "compile", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen")
FORBIDDEN += ("socket.connect", "socket.getaddrinfo", "ctypes.dlopen", "os.remove", "os.rename", "os.mkdir")

# Tokens that damage inserts: instructions and names of pickles, wrong sizes, marks of containers.
OPCODES = b"().012NKMJGXTUCBRbtl]}aesudqrhjcoQ0\x80\x81\x85\x88\x8a\x8e\x91\x92\x93\x94\x95\x96"
TOKENS = [bytes([code]) for code in OPCODES]
TOKENS += [b"cos\nsystem\n", b"cbuiltins\neval\n", b"X\x02\x00\x00\x00ls\x85R", b"h\x00", b"\x80\x04"]
TOKENS += [b"(" * 50, b"}" * 50, b"torch\nFloatStorage\n", b"numpy\ndtype\n", b"dnnlib.tflib.network\nNetwork\n"]
TOKENS += [b"\x8e" + b"\xff" * 8, b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\xff", b"\xff" * 4, b"\0" * 8, b"\xff" * 8]
TOKENS += [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b'"data_offsets":[0,9999999999]', b'"shape":[-1]']
TOKENS += [b"[" * 200, b'{"a":' * 50, b"1e999", b"NaN"]


def corpus(folder: Path) -> list[bytes]:
    """Make valid files of every format and container."""
    generator = small_generator(8)
    save_generator(generator, folder / "own")
    checkpoint = rosinality_checkpoint(generator)
    files = [torch_bytes(checkpoint, legacy) for legacy in (False, True)]
    files += [torch_bytes(rosinality_checkpoint(small_generator(4), training=True), legacy) for legacy in (False, True)]
    files += [torch_bytes(encoder_checkpoint(generator)), (folder / "own").read_bytes(), save(generator.state_dict())]
    files += [save({name: tensor.clone() for name, tensor in rosinality_names(generator).items()})]
    files += [containers(checkpoint)[0]]
    files += [nvidia_bytes(generator, protocol) for protocol in (2, 3, 4, 5)]
    files += [nvidia_bytes(small_generator(8, architecture="resnet", c_dim=3, conv_clamp=256.0))]
    files += [tensorflow_bytes(generator, protocol) for protocol in (2, 3, 4, 5)]
    files += [tensorflow_bytes(small_generator(8, architecture="orig"), growing=True)]
    return files


def _place(data: bytearray, rng: random.Random) -> int:
    """Random place, twice as often close to the ends, where containers describe themselves."""
    edge = min(len(data), 3000)
    where = rng.random()
    if where < 1 / 3:
        return rng.randrange(edge)
    return rng.randrange(len(data) - edge, len(data)) if where < 2 / 3 else rng.randrange(len(data))


def flip(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Flip one bit."""
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Overwrite a few bytes."""
    place = _place(data, rng)
    data[place : place + rng.choice([1, 2, 4, 8])] = rng.randbytes(rng.choice([1, 2, 4, 8]))


def count(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Change a number: a little smaller or larger, or huge."""
    place, size = _place(data, rng), rng.choice([1, 2, 4, 8])
    number = int.from_bytes(data[place : place + size], "little") + rng.choice([-1, 1, 16, 1 << 7, 1 << 15, 1 << 31])
    data[place : place + size] = (number % (1 << 8 * size)).to_bytes(size, "little")


def insert(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Insert a token, sometimes many times."""
    place = _place(data, rng)
    data[place:place] = rng.choice(TOKENS) * rng.choice([1, 1, 1, 3, 1000])


def replace(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Overwrite with a token."""
    place, token = _place(data, rng), rng.choice(TOKENS)
    data[place : place + len(token)] = token


def delete(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Delete a stretch."""
    place = _place(data, rng)
    del data[place : place + rng.choice([1, 4, 30, 500])]


def repeat(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Insert a stretch of the file at another place."""
    begin, place = _place(data, rng), _place(data, rng)
    data[place:place] = data[begin : begin + rng.choice([4, 30, 500, 5000])]


def splice(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Insert a stretch of another file."""
    other = rng.choice(others)
    begin, place, size = rng.randrange(len(other)), _place(data, rng), rng.choice([30, 500, 5000])
    data[place : place + size] = other[begin : begin + size]


def cut(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Cut off the end."""
    del data[_place(data, rng) :]


Damage = Callable[[bytearray, random.Random, list[bytes]], None]
DAMAGES: list[Damage] = [flip, overwrite, count, insert, replace, delete, repeat, splice, cut]


def mutated(files: list[bytes], seed: int, number: int) -> bytes:
    """Make the n-th damaged file of a seed."""
    rng = random.Random(f"{seed} {number}")
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if data:
            rng.choice(DAMAGES)(data, rng, files)
    return bytes(data)


class Guard:
    """Detector of what a reader must never do, which can be switched on and off.

    Python keeps audit hooks forever, and calls them at every `id`, so that many of them would slow down all later
    tests. All guards share one.
    """

    on: ClassVar[list[Guard]] = []  # guards that are watching

    def __init__(self) -> None:
        self.seen: list[str] = []
        _add_hook()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context in which the guard is switched on."""
        self.on.append(self)
        try:
            yield
        finally:
            self.on.remove(self)


@cache
def _add_hook() -> None:
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple) -> None:
    if Guard.on and (event.startswith(FORBIDDEN) or (event == "open" and _writes(arguments))):
        for guard in Guard.on:
            guard.seen.append(f"{event} {str(arguments)[:200]}")


def _writes(arguments: tuple) -> bool:
    mode = arguments[1] if len(arguments) > 1 else None
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")


def fuzz(count: int, seed: int = 0, first: int = 0, report: Callable[[int, Counter], None] | None = None) -> Counter:
    """Load `count` files.

    Args:
        count: number of files.
        seed: seed of the damage.
        first: number of the first file, to repeat a single one.
        report: called every thousand files with the number of files and their outcomes.

    Returns:
        {"generator": number, "refused": number, "slowest in ms": ..., "grown by MB": ...}.

    Raises:
        AssertionError: a file was slow, made the process grow, or made the reader do something forbidden.
        Exception: any other error of the reader; its note has the file's number.
    """
    guard, outcomes = Guard(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        files = corpus(Path(folder))
        path = Path(folder) / "model"
        for data in files:  # valid files must load; this also imports what torch imports late
            path.write_bytes(data)
            load_generator(path)
        before = peak_memory()
        for number in range(first, first + count):
            path.write_bytes(mutated(files, seed, number))
            began = time.thread_time()
            try:
                with guard.watching(), little_work():
                    load_generator(path)
                outcomes["generator"] += 1
            except CheckpointError as error:
                outcomes["refused" if str(error).isprintable() else "refused, not in one line"] += 1
            except BaseException as error:
                error.args = (f"file {number} of seed {seed}: {error}",)
                raise
            milliseconds = round(1000 * (time.thread_time() - began))
            assert not guard.seen, f"file {number} of seed {seed}: {guard.seen}"
            assert not outcomes["refused, not in one line"], f"file {number} of seed {seed}"
            outcomes["slowest in ms"] = max(outcomes["slowest in ms"], milliseconds)
            if report and (number - first + 1) % 1000 == 0:
                report(number - first + 1, outcomes)
        grown = (peak_memory() - before) >> 20
        assert grown < MEGABYTES, f"the process grew by {grown} MB"
        outcomes["grown by MB"] = grown
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="files to read (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damages (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    outcomes = fuzz(args.count, args.seed, args.first, lambda done, so_far: print(done, dict(so_far), flush=True))
    print(f"{args.count} files in {time.process_time() - began:.0f} s (process {os.getpid()}): {dict(outcomes)}")


if __name__ == "__main__":
    main()
