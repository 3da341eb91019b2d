"""A second family of generators works everywhere, without changes in losses, runs, styles or nodes."""

from __future__ import annotations

import ast
import inspect

import pytest
import torch
from helpers.toy_family import ToyGenerator

import nada
from nada import AdaptConfig, EvaluateConfig, MapperConfig, OptimizeConfig, UsageError
from nada.generators import Generator, contract
from nada.text_edits import optimize_latents
from tools.imports import ROOT, imports


@pytest.fixture
def toy() -> ToyGenerator:
    return ToyGenerator()


def config(**changes) -> AdaptConfig:
    return AdaptConfig(
        **{"source": "photo", "target": "sketch", "iterations": 3, "batch": 2, "layers": "all"} | changes
    )


def changed(toy, adapted) -> set[str]:
    before, after = toy.state_dict(), adapted.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({}, {"L0", "L1"}),
        pytest.param({"layers": 1}, {"L0", "L1"}, marks=pytest.mark.slow),
        ({"layers": "L1, Color"}, {"L1", "Color"}),
        pytest.param({"layers": "b8"}, {"L0"}, marks=pytest.mark.slow),
        (
            {"train_torgb": True, "train_const": True, "train_mapping": True},
            {"L0", "L1", "Color", "start", "linear", "w_avg"},
        ),
        pytest.param({"train": "lora", "rank": 2}, {"L0", "L1"}, marks=pytest.mark.slow),
        ({"train": "stylespace", "precision": "half"}, {"L0", "L1"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_adapts(toy, clip, changes, moved):
    *_, last = nada.adapt(toy, clip, config(**changes))
    found = {name.split(".")[1] for name in changed(toy, last.generator)}
    assert found <= moved if changes.get("layers") == 1 else found == moved
    if changes.get("layers") == 1:
        assert len(last.layers) == 1


def test_wrong_layers_are_named(toy, clip):
    with pytest.raises(UsageError, match="no layer 'L7'; the layers are mapping, Start, L0, L1, Color"):
        nada.adapt(toy, clip, config(layers="L7"))


def test_runs_are_kept_and_resumed(toy, clip, tmp_path):
    whole = nada.KeptRun(tmp_path / "whole", toy, clip, config(), moments=3)
    list(whole)
    stopped = nada.KeptRun(tmp_path / "parts", toy, clip, config(), moments=3)
    next(stopped)
    resumed = nada.KeptRun(tmp_path / "parts", toy, clip, config(), moments=3)
    assert resumed.begin == 1
    list(resumed)
    assert resumed.run.trained.fingerprint() == whole.run.trained.fingerprint()
    snapshots = resumed.folder.open_snapshots(toy)
    assert [s.iteration for s in snapshots.all] == [1, 2, 3]
    difference = nada.generate(snapshots.generator(snapshots.last), ws := nada.sample_latents(toy, 2)) - nada.generate(
        resumed.run.trained, ws
    )
    assert difference.abs().max() < 2 / 255


def test_styles_are_saved_applied_in_bands_and_blended(toy, clip, tmp_path):
    *_, last = nada.adapt(toy, clip, config(train_mapping=True))
    nada.save_style(nada.Style.between(toy, last.generator), tmp_path / "toy.safetensors")
    style = nada.load_style(tmp_path / "toy.safetensors")
    assert style.base["family"] == "toy"
    coarse = nada.apply_style(toy, style, coarse=1, middle=0, fine=0)
    assert {name.split(".")[1] for name in changed(toy, coarse)} == {"L0", "linear", "w_avg"}
    blended = nada.blend_generators(toy, last.generator, 1.0, from_resolution=16)
    assert {name.split(".")[1] for name in changed(toy, blended)} == {"L1"}


def test_latent_tools(toy, clip):
    ws = nada.sample_latents(toy, 3, seed=1)
    assert nada.generate(toy, ws, noise="random").shape == (3, 3, 16, 16)
    assert nada.mix_latents(ws, ws.flip(0), 1).shape == ws.shape
    assert nada.interpolate_latents(ws, 7).shape == (7, 3, 6)
    directions = nada.principal_directions(toy, 2, samples=100)
    assert nada.edit_latents(ws, directions.vectors[0], 1.0).shape == ws.shape
    *_, step = nada.train_mapper(toy, clip, MapperConfig("pig", iterations=2, batch=1))
    assert step.mapper(ws).shape == ws.shape
    *_, step = optimize_latents(toy, clip, ws, OptimizeConfig("pig", iterations=2))
    assert not torch.equal(step.ws, ws)
    result = nada.evaluate(toy, clip, EvaluateConfig("pig", count=4, seeds=1), base=toy)
    assert result["measures"]["cosine with source"]["mean"] == pytest.approx(1, abs=1e-5)


def test_nodes(host, toy, clip):
    options = {"source": "photo", "target": "sketch", "iterations": 2, "batch": 1, "learning_rate": 0.0}
    adapted, _, snapshots, _ = host.nodes.NADATextAdapt.execute(toy, clip, **options, layers="all").args
    assert changed(toy, adapted)
    assert host.nodes.NADAPickSnapshot.execute("last", 1, snapshots).args[2] == 2
    latents = host.nodes.SampleLatents.execute(toy, 0, 2, 0.7).args[0]
    assert host.nodes.GenerateImages.execute(adapted, latents, "const", 0).args[0].shape == (2, 16, 16, 3)


def test_the_toy_has_no_more_than_the_contract(toy):
    """Otherwise the toy family would not prove that the contract suffices."""
    promised = {name for name in vars(Generator) if not name.startswith("_")} | set(Generator.__annotations__)
    own = {name for name in vars(ToyGenerator) if not name.startswith("_")}
    assert own <= promised
    synthesis = {name for name in vars(type(toy.synthesis)) if not name.startswith("_")} - {"forward"}
    assert synthesis <= {*vars(contract.Synthesis), *contract.Synthesis.__annotations__}


def test_only_checkpoints_and_the_public_names_know_a_family():
    """Exceptions are the latent mapper, which is built from StyleGAN2's fully connected layers as in the paper, and the
    check of the base in a style file.
    """
    allowed = {"nada/stylegan2", "nada/checkpoint", "nada/__init__.py", "nada/text_edits/mapper.py"}
    allowed |= {"nada/styles/files.py"}
    for path in [*(ROOT / "nada").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]:
        name = path.relative_to(ROOT).as_posix()
        if not any(name.startswith(part) for part in allowed):
            assert not [found.target for found in imports(path) if found.target.startswith("nada/stylegan2")], name


def test_stylegan2_fulfils_the_contract(small):
    tree = ast.parse(inspect.getsource(contract))
    (generator,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Generator")
    for node in generator.body:
        name = (
            node.name
            if isinstance(node, ast.FunctionDef)
            else node.target.id
            if isinstance(node, ast.AnnAssign)
            else ""
        )
        assert not name or hasattr(small, name), name
    assert list(small.layers)[:3] == ["mapping", "b4.const", "b4.conv1"]
    for layer in small.layers:
        assert small.parameters_of(layer)
    with pytest.raises(UsageError, match=r"no layer 'b64\.conv0'"):
        small.parameters_of("b64.conv0")
    for name in small.state_dict():
        assert small.resolution_of(name) in (0, 4, 8, 16, 32)


@pytest.mark.parametrize(("resolution", "fits"), [(16, True), (1024, True), (0, False), (1025, False), ("16", False)])
def test_the_base_of_a_style_of_an_unknown_family_has_a_possible_resolution(toy, tmp_path, resolution, fits):
    style = nada.Style("x", {"synthesis.L0.bias": torch.ones(10)}, {"fingerprint": "f", "config": {}, "family": "toy"})
    style.base["config"]["resolution"] = resolution
    nada.save_style(style, tmp_path / "x.safetensors")
    if fits:
        assert nada.load_style(tmp_path / "x.safetensors").base["family"] == "toy"
    else:
        with pytest.raises(nada.CheckpointError, match="damaged"):
            nada.load_style(tmp_path / "x.safetensors")
