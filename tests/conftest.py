"""Small models for all tests, and a stand-in for ComfyUI."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib
import json
import logging
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import IO

import pytest

# Threads should yield their core while they wait for work. By default they do not, and with more threads than idle
# cores the suite takes 20 times as long. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from helpers import comfyui_server, stub_comfyui
from helpers.models import TINY, TINY_CLIP, alive
from PIL import Image

from nada.clip.loading import load_clip
from nada.clip.models import ClipEnsemble
from nada.clip.prompts import imagenet_templates
from nada.generators.threads import use_threads
from nada.pictures import grids
from nada.stylegan2 import Generator, GeneratorConfig
from nada.training.trainable import Trainable


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", metavar="SEED", help="run files, and the tests within each, in a random order")
    parser.addoption("--processor-time", action="store_true", help="tell the processor seconds of each room of tests")


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("--shuffle")
    return f"threads: {torch.get_num_threads()}" + (f", order: --shuffle {seed}" if seed else "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests for `--shuffle`. Tests of a file stay together, so that its fixtures are created only once."""
    if seed := config.getoption("--shuffle"):
        place = lambda text: random.Random(f"{seed} {text}").random()
        items.sort(key=lambda item: (place(item.path), place(item.nodeid)))


def pytest_collection_finish() -> None:
    """Collect garbage less often, which takes a twentieth of the time."""
    gc.set_threshold(10_000)
    keep_modules()


def keep_modules() -> None:
    """Exclude the objects of all imported modules from garbage collection.

    Otherwise each complete collection looks through half a million of them.
    """
    gc.collect()
    gc.freeze()


def processor_seconds() -> float:
    """Seconds that this process and its ended children have computed, on all cores."""
    return sum(os.times()[:4])


PROCESSOR_SECONDS: Counter[str] = Counter()  # by room


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = processor_seconds()
    try:
        return (yield)
    finally:
        PROCESSOR_SECONDS["/".join(item.nodeid.partition("::")[0].split("/")[:2])] += processor_seconds() - before


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--processor-time"):
        terminalreporter.section("processor seconds")
        whole = processor_seconds()
        rows = {**dict(PROCESSOR_SECONDS.most_common()), "start": whole - PROCESSOR_SECONDS.total(), "total": whole}
        for name, seconds in rows.items():
            terminalreporter.write_line(f"{seconds:7.1f}  {name}")


def pytest_runtest_setup() -> None:
    """Let open_clip read CLIP's vocabulary once, and let copies of a model share it: each time costs up to seconds."""
    factory = sys.modules.get("open_clip.factory")  # to import it takes seconds, and most rooms need none of it
    if factory and isinstance(factory.SimpleTokenizer, type):
        factory.SimpleTokenizer.__deepcopy__ = lambda self, memo: self
        factory.SimpleTokenizer = lru_cache(typed=True)(factory.SimpleTokenizer)


@pytest.fixture(scope="session", autouse=True)
def quick_png_files():
    """Compress PNG files less: that is half the time of saving the results of a small run."""
    Image.preinit()
    save = Image.SAVE["PNG"]

    def quick(picture: Image.Image, file: IO[bytes], name: str, **options: bool) -> None:
        picture.encoderinfo.setdefault("compress_level", 1)
        save(picture, file, name, **options)

    Image.register_save("PNG", quick)
    yield
    Image.register_save("PNG", save)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Do not flush files to the disk, which is a sixth of the time of a small run; other processes still do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def process_as_it_was():
    """Undo the command line's logging setup, with which later tests could not capture log lines, and its threads."""
    loggers = [logging.getLogger(name) for name in (None, "nada", "huggingface_hub")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    use_threads(None)
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


@pytest.fixture(autouse=True)
def half_precision_everywhere(monkeypatch):
    """Processors without bfloat16 compute half precision too, only slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch):
    """Put phrases into two of the method's 79 prompts: to embed all of them takes longer than a small training.

    Modules of tests about the prompts themselves, or beside other processes, have a fixture of this name that changes
    nothing.
    """
    for module in ("clip.directions", "clip.prompts", "training.goal"):
        monkeypatch.setattr(f"nada.{module}.imagenet_templates", lambda: imagenet_templates()[:2])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Show small images at half their usual size: to draw and save them takes as long as to train a small run.

    Tests about the pictures themselves have a fixture of this name that changes nothing.
    """
    monkeypatch.setattr(grids, "TILE_MIN", grids.TILE_MIN // 2)


@pytest.fixture(autouse=True)
def seeded_global_generator():
    torch.default_generator.manual_seed(0)  # torch.manual_seed formats the call stack for each kind of other devices


@pytest.fixture(autouse=True)
def no_copies_in_the_users_cache(request, tmp_path_factory, monkeypatch):
    """Keep the command line's converted copies of checkpoints in a folder of the test, which is made when needed."""
    folder = tmp_path_factory.getbasetemp() / "converted" / sha256(request.node.nodeid.encode()).hexdigest()
    monkeypatch.setattr("nada.cli.shared.CONVERTED", folder)


@pytest.fixture
def small() -> Generator:
    """A generator of 32 px with eight latent codes."""
    return alive(GeneratorConfig(32, (24, 20, 16, 12), z_dim=16, w_dim=20, mapping_layers=2))


@pytest.fixture
def tiny() -> Generator:
    """8 px, four latent codes, three convolutions: for what happens around a training."""
    return alive(TINY)


@pytest.fixture
def wide() -> Generator:
    """A generator with a matrix large enough to be factored: 48 x 432 in the blocks of 8 and 16 px."""
    return alive(GeneratorConfig(16, (48, 48, 48), z_dim=16, w_dim=20, mapping_layers=2))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    """A folder with a tiny CLIP of random weights in open_clip's layout."""
    import open_clip
    from safetensors.torch import save_file

    keep_modules()
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    torch.manual_seed(1)
    save_file(open_clip.create_model(f"local-dir:{folder}").state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def loaded_clip(clip_folder) -> ClipEnsemble:
    return load_clip(str(clip_folder))


@pytest.fixture
def clip(loaded_clip) -> ClipEnsemble:
    """The tiny CLIP: a copy that a test may change, except its tokenizer."""
    return copy.deepcopy(loaded_clip)


@pytest.fixture
def stepped(monkeypatch) -> dict[str, torch.Tensor]:
    """Gradients {name: gradient} of the latest step of a training, which clears them."""
    found: dict[str, torch.Tensor] = {}
    step = Trainable.step

    def noted(self, optimizer, gradients, layers):
        found.clear()
        found.update({name: value.clone() for name, value in gradients.items() if "." in name})  # no losses
        step(self, optimizer, gradients, layers)

    monkeypatch.setattr(Trainable, "step", noted)
    return found


@pytest.fixture(scope="session")
def drawn() -> Callable[[str, str], torch.Tensor]:
    """Function that draws individuals that no training of the demo used, once for each style and species.

    Returns:
        Pictures [3, 3, 128, 128] in -1..1.
    """
    from nada.demo.world import draw, random_parameters

    individuals = random_parameters(3, torch.Generator().manual_seed(2**31 - 1))
    return cache(lambda style, species: draw(individuals, species, style, torch.Generator().manual_seed(0)) * 2 - 1)


@pytest.fixture
def host(tmp_path, tmp_path_factory, monkeypatch):
    """A stand-in for ComfyUI, with which the pack is imported."""
    host = stub_comfyui.Host(tmp_path)
    for name, module in stub_comfyui.modules(host).items():
        monkeypatch.setitem(sys.modules, name, module)
    with monkeypatch.context() as compiled:  # once for all tests, even where Python is told to keep no compiled files
        compiled.setattr(sys, "dont_write_bytecode", False)
        compiled.setattr(sys, "pycache_prefix", str(tmp_path_factory.getbasetemp() / "compiled"))
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
