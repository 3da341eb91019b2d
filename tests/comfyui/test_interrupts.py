"""Interrupt trainings in a real ComfyUI again and again: the server keeps working, and frees its memory."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from helpers.comfyui_server import HOME, Server

ADAPT = "NADATextAdapt"

TIMES, WARM_UP = 50, 10
GROWTH = 100 << 20  # bytes; a single run uses more while it trains

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HOME, reason="COMFYUI_PATH does not name a checkout of ComfyUI"),
]


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


def prompt(seed: int, iterations: int = 100_000) -> dict:
    return {
        "generator": {"class_type": "LoadStyleGAN2", "inputs": {"generator_name": "demo"}},
        "clip": {"class_type": "NADALoadCLIP", "inputs": {"clip_name": "demo"}},
        "adapt": {
            "class_type": ADAPT,
            "inputs": {
                "generator": ["generator", 0], "clip": ["clip", 0], "preset": "none", "source": "photo",
                "target": "sketch", "iterations": iterations, "batch": 1, "learning_rate": 0.0, "seed": seed,
                "preview_every": 5, "layers": "all",
            },
        },
    }  # fmt: skip


def memory(server: Server) -> int:
    """Memory of the server's process in bytes."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("this system does not tell how much memory a process has")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def test_fifty_interrupts_at_random_steps(server):
    rng = random.Random(0)
    assert server.result(server.queue(prompt(0, 2)))["status"]["status_str"] == "success"
    seen = []
    for i in range(TIMES):
        prompt_id = server.queue(prompt(seed=i // 2))  # every second prompt resumes the run of the previous one
        time.sleep(rng.uniform(0.2, 3))
        server.bytes("/interrupt", {})
        messages = [name for name, _ in server.result(prompt_id)["status"]["messages"]]
        assert "execution_interrupted" in messages, messages
        seen.append(memory(server))
    assert "Traceback" not in server.log_text()
    assert max(seen[-5:]) - max(seen[:WARM_UP]) < GROWTH, [size >> 20 for size in seen]
    assert server.result(server.queue(prompt(0, 2)))["status"]["status_str"] == "success"
