"""The clock of all benchmarks."""

from __future__ import annotations

import time

import torch


def clock(device: torch.device) -> float:
    """Current time: the wall clock on a GPU; on a CPU this process's time, which other processes hardly change."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()
