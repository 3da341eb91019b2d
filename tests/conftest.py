"""Small models for all tests, and a stand-in for ComfyUI."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import random
import sys
from pathlib import Path

import pytest

# Threads should yield their core while they wait for work. By default they do not, and with more threads than idle
# cores the suite takes 20 times as long. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from helpers import comfyui_server, stub_comfyui
from helpers.models import TINY_CLIP, alive

from nada.clip.loading import load_clip
from nada.clip.models import ClipEnsemble
from nada.stylegan2 import Generator, GeneratorConfig


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", metavar="SEED", help="run files, and the tests within each, in a random order")


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("--shuffle")
    return f"threads: {torch.get_num_threads()}" + (f", order: --shuffle {seed}" if seed else "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests for `--shuffle`. Tests of a file stay together, so that its fixtures are created only once."""
    if seed := config.getoption("--shuffle"):
        place = lambda text: random.Random(f"{seed} {text}").random()
        items.sort(key=lambda item: (place(item.path), place(item.nodeid)))


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Undo the command line's logging setup, with which later tests could not capture log lines."""
    loggers = [logging.getLogger(name) for name in (None, "nada", "huggingface_hub")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


@pytest.fixture(autouse=True)
def seeded_global_generator():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_copies_in_the_users_cache(tmp_path, monkeypatch):
    """Keep the command line's converted copies of checkpoints in the test's folder."""
    monkeypatch.setattr("nada.cli.shared.CONVERTED", tmp_path / "converted")


@pytest.fixture
def small() -> Generator:
    """A generator of 32 px with eight latent codes."""
    return alive(GeneratorConfig(32, (24, 20, 16, 12), z_dim=16, w_dim=20, mapping_layers=2))


@pytest.fixture
def wide() -> Generator:
    """A generator with a matrix large enough to be factored: 48 x 432 in the blocks of 8 and 16 px."""
    return alive(GeneratorConfig(16, (48, 48, 48), z_dim=16, w_dim=20, mapping_layers=2))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    """A folder with a tiny CLIP of random weights in open_clip's layout."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    torch.manual_seed(1)
    save_file(open_clip.create_model(f"local-dir:{folder}").state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def clip(clip_folder) -> ClipEnsemble:
    return load_clip(str(clip_folder))


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A stand-in for ComfyUI, with which the pack is imported."""
    host = stub_comfyui.Host(tmp_path)
    for name, module in stub_comfyui.modules(host).items():
        monkeypatch.setitem(sys.modules, name, module)
    stub_comfyui.load_pack()
    host.nodes = importlib.import_module(f"{stub_comfyui.PACK}.nodes")
    host.load = importlib.import_module(f"{stub_comfyui.PACK}.nodes.load")
    asyncio.run(host.nodes.NADAExtension().get_node_list())
    yield host
    stub_comfyui.forget_pack()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A real ComfyUI with only this pack."""
    server = comfyui_server.Server(tmp_path_factory.mktemp("comfyui"))
    yield server
    server.stop()
