"""Fuzz the readers of all kinds of files: `python tests/fuzz/fuzzer.py --count 20000`.

It takes valid files, damages them byte by byte or in their JSON, and uses the results as a user would: reads them, and
shows their content. Each must end in a result or in a NadaError of one printable line, after little work, without
importing, compiling, starting or connecting to anything. The n-th file of a seed is always the same one.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from helpers.checkpoint_fuzz import Guard, mutated
from PIL import Image

from fuzz.kinds import KINDS, Kind
from nada.errors import NadaError, printable

SECONDS = 20  # limit in processor time, for a slow machine; ordinary files take some milliseconds
DEEP = json.loads("[" * 500 + "1" + "]" * 500)
VALUES = [
    5,
    -1,
    0,
    0.5,
    1e300,
    10**400,
    2**63,
    "",
    "x",
    "\x1b[2J\nnada: fine",
    "\ud800",
    "x" * 5000,
    True,
    None,
    [],
    {},
]
VALUES += [[{}], [None], [5], {"a": 5}, float("nan"), float("inf"), DEEP]
TEXTS = [json.dumps(value) for value in VALUES]  # each use parses its own copy, since the next change may be inside it
BAD = ("executed", "slow", "traceback", "raw")


def places(value: Any) -> list[tuple[Any, Any]]:
    """All (container, key) pairs in parsed JSON."""
    found = []
    pending = [value]
    while pending:
        part = pending.pop()
        entries = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, child in entries:
            found.append((part, key))
            pending.append(child)
    return found


def rewritten(value: Any, rng: random.Random) -> Any:
    """Change one thing in JSON data: replace, remove, rename or move it."""
    if not (found := places(value)):
        return json.loads(rng.choice(TEXTS))
    container, key = rng.choice(found)
    child = container[key]
    if isinstance(child, str) and child.startswith("{") and rng.random() < 0.95:  # our own descriptions in a header
        container[key] = json.dumps(rewritten(json.loads(child), rng))
    elif rng.random() < 0.7:
        container[key] = json.loads(rng.choice(TEXTS))
    elif rng.random() < 0.5:
        del container[key]
    elif isinstance(container, dict):
        container[str(json.loads(rng.choice(TEXTS)))[:200]] = container.pop(key)
    else:
        other, place = rng.choice(places(value))
        container[key] = json.loads(json.dumps(other[place]))  # a copy, as a list cannot contain itself
    return value


def described_otherwise(data: bytes, rng: random.Random) -> bytes:
    """Change the description inside a safetensors or JSON file."""
    if data.startswith(b"{"):
        return json.dumps(rewritten(json.loads(data), rng)).encode()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for _ in range(rng.choice([1, 1, 2])):
        texts = header.get("__metadata__")
        if texts and rng.random() < 0.8:
            rewritten(texts, rng)
        else:
            rewritten(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def damaged(files: list[bytes], seed: int, number: int) -> bytes:
    """Make the n-th damaged file of a seed."""
    rng = random.Random(f"{seed} {number} {len(files)}")
    data = rng.choice(files)
    if (data.startswith(b"{") or data[8:9] == b"{") and rng.random() < 0.7:
        try:
            return described_otherwise(data, rng)
        except (RecursionError, ValueError, TypeError, AttributeError):
            pass  # the first change left nothing for a second one
    return mutated(files, seed, number)


def outcome(kind: Kind, path: Path, guard: Guard) -> tuple[str, str]:
    """Use a file, and return how that ended, "used", "refused" or one of `BAD`, with details of anything bad."""
    began = time.thread_time()
    try:
        with guard.watching():
            content = kind.read(path)
        kind.use(content, path)
        result = ("used", "")
    except NadaError as error:
        result = ("refused", "") if str(error).isprintable() else ("raw", repr(error))
    except Exception:
        result = ("traceback", traceback.format_exc())
    seconds = time.thread_time() - began
    if guard.seen:
        result = ("executed", str(guard.seen))
        guard.seen = []
    return ("slow", f"{seconds:.1f} s") if seconds > SECONDS else result


def fuzz(count: int, seed: int = 0, kinds: Collection[str] = tuple(KINDS), first: int = 0) -> dict[str, Counter[str]]:
    """Use `count` damaged files, equally many of each kind.

    Args:
        count: number of files in all.
        seed: seed of the damage.
        kinds: names from `KINDS`.
        first: number of the first file of each kind, to repeat a single one.

    Returns:
        {kind: {outcome: number of files}}, which is printed too; bad outcomes have the number of their file.
    """
    Image.init()  # imports Pillow's decoders, as the first unusual picture would
    printable("\0")  # imports the codec of escapes
    guard = Guard()
    results = {}
    for name in kinds:
        kind, results[name] = KINDS[name], Counter()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "made").mkdir()
            files, path = kind.make(Path(folder) / "made"), Path(folder) / kind.name
            for data in files:  # valid files must be usable; this also imports modules that are imported late
                path.write_bytes(data)
                kind.use(kind.read(path), path)
            for number in range(first, first + -(-count // len(kinds))):
                path.write_bytes(damaged(files, seed, number))
                end, details = outcome(kind, path, guard)
                results[name][end] += 1
                if details:
                    print(f"{name}: file {number} of seed {seed}: {end}\n{details}", flush=True)
        print(f"{name}: {dict(results[name])}", flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="files to use (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damages (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()  # hides notes on animations and the like
    warnings.simplefilter("ignore")
    results = fuzz(args.count, args.seed, args.kinds, args.first)
    total = sum(results.values(), Counter())
    print(
        f"{total.total()} files of {len(results)} kinds:",
        ", ".join(f"{end} {total[end]}" for end in ("used", "refused", *BAD)),
    )
    return int(any(total[end] for end in BAD))


if __name__ == "__main__":
    sys.exit(main())
