"""A ComfyUI to make pictures in: one that runs, or one that is started for it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from helpers.comfyui_server import HOME, TEMPLATES, Client, Server, to_prompt  # noqa: E402  as the tests use it

__all__ = ["ROOT", "TEMPLATES", "Client", "add_server_option", "running", "to_prompt"]


def add_server_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a running ComfyUI."""
    parser.add_argument("--server", help="host and port of a running ComfyUI (default: start the one in COMFYUI_PATH)")


@contextmanager
def running(address: str | None) -> Iterator[Client]:
    """Yield a client of the ComfyUI at an address, or of one that runs only for this, with a folder of its own."""
    if address:
        yield Client(address)
        return
    if not HOME:
        sys.exit("give the address of a running ComfyUI with --server, or the path of a checkout in COMFYUI_PATH")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "comfyui")
        try:
            yield server
        finally:
            server.stop()
