"""Measure work and memory in units that are comparable on slow, fast and busy machines."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# units: 80 times what the slowest file takes, so that a busy machine never meets it; the faults that it is there for
# grow with the square of the file and take 10 000 units and more
LIMIT = 4000


@cache
def unit() -> float:
    """Seconds of processor time that this machine needs for a million rounds of a small loop."""
    times = []
    for _ in range(3):
        start = time.thread_time()
        sum(i * i for i in range(1_000_000))
        times.append(time.thread_time() - start)
    return min(times)


@contextmanager
def little_work() -> Iterator[None]:
    """Fail if a block takes more than `LIMIT` units of this thread's processor time.

    Objects of earlier tests are hidden from the garbage collector, whose passes over them would be counted too.
    """
    allowed = LIMIT * unit()
    gc.freeze()
    start = time.thread_time()
    try:
        yield
    finally:
        used = time.thread_time() - start
        gc.unfreeze()
        assert used < allowed, f"took {used:.1f} s of processor time, {allowed:.1f} s are allowed"


def peak_memory() -> int:
    """Peak memory of this process so far in bytes; 0 where the system does not measure it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
