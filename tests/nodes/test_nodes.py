"""The nodes without ComfyUI: import, schemas, help, and images."""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import logging
import subprocess
import sys

import pytest
import torch
from helpers import stub_comfyui
from helpers.stub_comfyui import ROOT

from nada import UsageError, generate, sample_latents

NODE_IDS = {"LoadStyleGAN2", "NADALoadCLIP", "NADATextAdapt", "SampleLatents", "GenerateImages", "NADASaveGenerator"}
NODE_IDS |= {"NADALoadLatents", "NADAMixLatents", "NADAInterpolateLatents", "NADAEditLatents", "NADACompareGrid"}
NODE_IDS |= {"NADALoadStyle", "NADAApplyStyle", "NADASaveStyle"}
NODE_IDS |= {"NADAImageAdapt", "NADAAdaptMany", "NADAPickSnapshot", "NADABlendGenerators", "NADAEvaluate"}
NODE_IDS |= {"NADATrainingOptions", "NADABeforeAfterAnimation", "NADALatentWalk"}
NODE_IDS |= {"NADAAlignPhoto", "NADALoadEncoder", "NADAInvertPhoto", "NADATuneToPhoto", "NADAPasteBack"}
NODE_IDS |= {"NADATrainMapper", "NADAApplyMapper", "NADASaveMapper", "NADALoadMapper", "NADATextDirection"}


@pytest.fixture
def schemas(host):
    nodes = asyncio.run(host.nodes.NADAExtension().get_node_list())
    return {node.define_schema().node_id: node.define_schema() for node in nodes}


def test_imports_without_comfyui_and_reports_why_it_fails(caplog):
    if importlib.util.find_spec("comfy_api"):
        pytest.skip("comfy_api can be imported here, so the entry point would not fail")
    name = "nada_pack_without_host"
    pack = stub_comfyui.load_pack(name)
    assert (ROOT / pack.WEB_DIRECTORY / "docs").is_dir()
    with caplog.at_level(logging.ERROR), pytest.raises(ModuleNotFoundError):
        asyncio.run(pack.comfy_entrypoint())
    assert caplog.records[-1].exc_info
    stub_comfyui.forget_pack(name)


@pytest.mark.slow
def test_import_does_not_touch_open_clip():
    code = "import sys, nada; sys.exit('open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_classes_as_scanners_read_them():
    """Registries find nodes by reading the source: a direct base class and a literal id."""
    found = set()
    for path in (ROOT / "nodes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "io.ComfyNode" for base in node.bases):
                calls = [c for c in ast.walk(node) if isinstance(c, ast.Call) and ast.unparse(c.func) == "io.Schema"]
                found |= {ast.literal_eval(k.value) for c in calls for k in c.keywords if k.arg == "node_id"}
    assert found == NODE_IDS


def test_every_socket_is_explained(schemas):
    assert set(schemas) == NODE_IDS
    for name, schema in schemas.items():
        assert all([schema.display_name, schema.category, schema.description]), name
        for socket in [*schema.inputs, *schema.outputs]:
            assert len(socket.options.get("tooltip", "")) > 10, f"{name}.{socket.id} has no tooltip"
        names = [socket.id for socket in schema.inputs]
        assert len(names) == len(set(names))


def test_defaults_lie_in_their_ranges(schemas):
    for name, schema in schemas.items():
        for socket in (s for s in schema.inputs if s.is_widget):
            default, options = socket.options["default"], socket.options
            if socket.type in ("INT", "FLOAT"):
                assert options["min"] <= default <= options["max"], f"{name}.{socket.id}"
                assert type(options["min"]) is type(default)
            if socket.type == "COMBO":
                assert default in options["options"]


def test_every_node_has_a_help_page_that_names_its_inputs(schemas):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "web" / "docs").glob("*.md")}
    assert set(pages) == NODE_IDS
    for name, schema in schemas.items():
        for socket in [*schema.inputs, *schema.outputs]:
            assert f"`{socket.id}`" in pages[name], f"the page of {name} does not mention {socket.id}"


def test_precision_reaches_the_images(host):
    from nada import load_generator

    demo = load_generator("demo")  # half precision starts at 64 px
    codes = sample_latents(demo, 2)
    full, half = (host.nodes.GenerateImages.execute(demo, codes, "const", 0, kind).args[0] for kind in ("full", "half"))
    assert 0 < float((full - half).abs().mean()) < 0.002


def test_images_have_comfyui_layout(host, small):
    latents = host.nodes.SampleLatents.execute(small, 0, 3, 0.7).args[0]
    images = host.nodes.GenerateImages.execute(small, latents, "const").args[0]
    assert images.shape == (3, 32, 32, 3)
    assert images.dtype == torch.float32
    expected = ((generate(small, latents) + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
    assert torch.equal(images, expected)


def test_latents_of_another_generator_are_refused(host, small):
    with pytest.raises(UsageError, match="another generator: 10 codes"):
        host.nodes.GenerateImages.execute(small, torch.zeros(1, 10, 20), "const")
    assert "another generator" in host.texts[-1], "the node says it too"


def test_times_in_words(host):
    words = [host.nodes.live.duration(seconds) for seconds in (0.4, 59.7, 95, 7500)]
    assert words == ["0 s", "1 min 0 s", "1 min 35 s", "2 h 5 min"]
