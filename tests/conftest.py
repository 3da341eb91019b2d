"""Small models that every test can afford, and a ComfyUI of straw."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import sys
from pathlib import Path

import comfyui_server
import pytest
import stub_comfyui
import torch

from nada.clip.loading import load_clip
from nada.clip.models import ClipEnsemble
from nada.stylegan2 import Generator, GeneratorConfig

TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}


@pytest.fixture(autouse=True)
def seeded_global_generator():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_copies_in_the_users_cache(tmp_path, monkeypatch):
    """The command line keeps converted copies of checkpoints; those of tests lie with the test."""
    monkeypatch.setattr("nada.cli.shared.CONVERTED", tmp_path / "converted")


def alive(config: GeneratorConfig, seed: int = 0) -> Generator:
    """A random generator in which nothing is zero: biases, noise strengths and the average w count too."""
    torch.manual_seed(seed)
    generator = Generator(config)
    with torch.no_grad():
        for name, tensor in generator.named_parameters():
            if name.endswith("bias"):
                tensor.add_(torch.randn_like(tensor) * 0.3)
            elif name.endswith("noise_strength"):
                tensor.fill_(0.2)
        generator.mapping.w_avg.copy_(torch.randn(config.w_dim) * 0.3)
    return generator.eval().requires_grad_(False)


def moved(base: Generator, names: str = "", size: float = 0.1, seed: int = 5) -> Generator:
    """A copy whose synthesis parameters with `names` in their names are a little elsewhere."""
    adapted, rng = copy.deepcopy(base), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in adapted.synthesis.named_parameters():
            if names in name:
                tensor.add_(size * torch.randn(tensor.shape, generator=rng))
    return adapted


@pytest.fixture
def small() -> Generator:
    """32 px, eight latent codes."""
    return alive(GeneratorConfig(32, (24, 20, 16, 12), z_dim=16, w_dim=20, mapping_layers=2))


@pytest.fixture
def wide() -> Generator:
    """A generator with a matrix large enough to be factored: 48 x 432 in the blocks of 8 and 16 px."""
    return alive(GeneratorConfig(16, (48, 48, 48), z_dim=16, w_dim=20, mapping_layers=2))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    """A folder with a tiny CLIP of random weights, as open_clip lays it out."""
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
    """A ComfyUI of straw, around which the pack is imported."""
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
    """A real ComfyUI with nothing in it but this pack."""
    server = comfyui_server.Server(tmp_path_factory.mktemp("comfyui"))
    yield server
    server.stop()
