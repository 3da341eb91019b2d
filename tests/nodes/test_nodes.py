"""The nodes without ComfyUI: schemas, behavior with a stand-in, and the files served beside them."""

from __future__ import annotations

import ast
import asyncio
import copy
import importlib
import importlib.util
import inspect
import logging
import shutil
import subprocess
import sys
import weakref

import pytest
import torch
from helpers import stub_comfyui
from helpers.models import moved
from helpers.stub_comfyui import ROOT, Cancelled
from safetensors import SafetensorError

import nada
from nada import UsageError, generate, sample_latents

CONFIG = nada.AdaptConfig("photo", "sketch", iterations=4, batch=8)
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


def test_training_leaves_inference_mode_and_the_source_alone(host, tiny, clip):
    before = copy.deepcopy(tiny.state_dict())
    with torch.inference_mode():  # as ComfyUI runs every node
        result = host.nodes.NADATextAdapt.execute(
            tiny, clip, source="photo", target="sketch", iterations=3, batch=8, learning_rate=0.0, preview_every=2
        )
    adapted, image, snapshots, charts = result.args
    assert [moment.iteration for moment in snapshots.all] == [1, 2, 3]
    assert charts.shape[2] == 800
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())
    changed = [n for n, t in adapted.state_dict().items() if not torch.equal(t, before[n])]
    assert changed
    assert not any(t.is_inference() or t.requires_grad for t in adapted.state_dict().values())
    assert adapted.metadata["adaptations"][0]["target"] == "sketch"
    assert image.shape[0] == 1
    assert image.shape[3] == 3
    assert 0 <= image.min() <= image.max() <= 1
    assert torch.equal(result.ui, image)


def test_previews_come_when_asked_and_end_with_the_result(host, tiny, clip):
    options = {"source": "photo", "target": "sketch", "iterations": 5, "batch": 8, "learning_rate": 0.0}
    result = host.nodes.NADATextAdapt.execute(tiny, clip, **options, preview_every=2, select_batch=2)
    assert [value for value, preview in host.progress if preview] == [2, 4, 5]
    picture = host.progress[-1][1][1]
    assert torch.equal(host.nodes.host.picture_to_image(picture), result.args[1])
    assert host.texts[-1].startswith("iteration 5/5 | loss ")


def test_cancel_stops_at_the_next_step_and_holds_nothing(host, tiny, clip, monkeypatch):
    runs = []
    adapt = nada.adapt
    monkeypatch.setattr(
        "nada.runs.kept_run.adapt", lambda *args, **more: runs.append(weakref.ref(r := adapt(*args, **more))) or r
    )
    host.cancel_after = 2
    options = {"source": "photo", "target": "sketch", "iterations": 9, "batch": 8, "learning_rate": 0.0}
    with pytest.raises(Cancelled) as held:
        host.nodes.NADATextAdapt.execute(tiny, clip, **options)
    assert len(host.progress) == 2
    assert held.value.__traceback__
    assert runs[0]() is None, "the twin lives on in the cancelled frame"
    host.cancel_after = None
    assert host.nodes.NADATextAdapt.execute(tiny, clip, **options).args[0].metadata["adaptations"]


def test_out_of_memory_gives_advice_and_frees_what_it_held(host, tiny, clip, monkeypatch):
    held = []

    def too_large(run):
        held.append(weakref.ref(run))
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(nada.Adaptation, "train_step", too_large)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        host.nodes.NADATextAdapt.execute(tiny, clip, source="a", target="b", iterations=1, batch=1, learning_rate=0.0)
    assert caught.value.__traceback__
    assert held[0]() is None
    assert host.texts[-1].startswith("out of memory, even one image at a time")


def full_after(patch, loop, iterations):
    """Let a loop run out of memory for good after some iterations."""
    train_step = loop.train_step

    def too_large(run):
        if run.iteration == iterations:
            raise torch.OutOfMemoryError("out of memory")
        return train_step(run)

    patch.setattr(loop, "train_step", too_large)


def test_out_of_memory_loses_no_training(host, tiny, clip, monkeypatch):
    whole = train(host, tiny, clip, seed=5)
    shutil.rmtree(host.folder / "models" / "stylegan_runs")
    with monkeypatch.context() as patch:
        full_after(patch, nada.Adaptation, 3)
        with pytest.raises(torch.OutOfMemoryError):
            train(host, tiny, clip, seed=5)
    advice, stopped, best = host.texts[-1].split(" | ")
    assert advice.startswith("out of memory, even one image at a time")
    assert stopped == "stopped after iteration 3; the next run continues from there"
    assert best.endswith("is saved as the style cancelled/photo_to_sketch")
    assert train(host, tiny, clip, seed=5).fingerprint() == whole.fingerprint()
    assert "continues after iteration 3" in host.texts


@pytest.mark.slow
def test_out_of_memory_while_saving_hides_nothing(host, tiny, clip, monkeypatch):
    full_after(monkeypatch, nada.Adaptation, 3)
    monkeypatch.setattr(nada.KeptRun, "keep", lambda self: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        train(host, tiny, clip, snapshots=1)
    assert host.texts[-1].startswith("out of memory, even one image at a time")


def test_all_errors_that_mean_out_of_memory_are_known(host, monkeypatch):
    """Those that the library knows, and those that ComfyUI knows, which clears the error of some devices when asked."""
    words = [
        "MPS backend out of memory (MPS allocated: 17.50 GB, other allocations: 500 MB, max allowed: 18.13 GB)",
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ]
    errors = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), *map(RuntimeError, words)]
    module, asked = host.nodes.host, []
    for known in (None, lambda error: asked.append(error) or str(error) == "known to ComfyUI"):
        if known:
            monkeypatch.setattr(module.memory, "is_oom", known, raising=False)
            errors.append(RuntimeError("known to ComfyUI"))
        assert all(map(module.is_out_of_memory, errors))
        assert not module.is_out_of_memory(RuntimeError("broken"))
    assert asked[:-1] == errors


def test_a_step_too_large_for_the_memory_is_repeated_in_pieces(host, tiny, clip, monkeypatch):
    def with_room_for(images):
        synthesis = type(tiny.synthesis)
        forward = synthesis.forward

        def checked(self, ws, *rest, **options):
            if len(ws) > images:
                raise torch.OutOfMemoryError("out of memory")
            return forward(self, ws, *rest, **options)

        monkeypatch.setattr(synthesis, "forward", checked)

    options = {"source": "a", "target": "b", "iterations": 3, "batch": 4, "learning_rate": 0.0, "preview_images": 1}
    whole = host.nodes.NADATextAdapt.execute(tiny, clip, **options, seed=5).args[0]
    shutil.rmtree(host.folder / "models" / "stylegan_runs")
    with_room_for(2)
    pieces = host.nodes.NADATextAdapt.execute(tiny, clip, **options, seed=5).args[0]
    assert any(text.startswith("out of memory; continues in 2 chunks") for text in host.texts)
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(tensor, pieces.state_dict()[name], atol=1e-4), name


def test_layers_come_from_the_mode_or_the_count(host, small, clip, monkeypatch):
    seen = []
    monkeypatch.setattr(host.nodes.adapt, "adapted", lambda cls, g, c, config, *rest: seen.append(config))
    options = {"source": "a", "target": "b", "iterations": 1, "batch": 1, "learning_rate": 0.01}
    host.nodes.NADATextAdapt.execute(small, clip, **options, layers="all", layer_count=3)
    host.nodes.NADATextAdapt.execute(small, clip, **options, layers="count", layer_count=3)
    assert [(config.layers, config.learning_rate) for config in seen] == [("all", 0.01), (3, 0.01)]


def test_empty_texts_are_refused_before_anything_runs(host):
    check = host.nodes.NADATextAdapt.validate_inputs
    assert check(target=None) is True
    assert "target text is empty" in check(target="  ")
    assert check(target="pig") is True


def test_style_images_come_in_comfyuis_layout(host, tiny, clip):
    options = {"source": "", "target": "", "iterations": 2, "batch": 8, "learning_rate": 0.0, "image_share": 0.5}
    with torch.inference_mode():
        pictures = torch.rand(3, 20, 30, 3)
        adapted = host.nodes.NADAImageAdapt.execute(tiny, clip, pictures, **options).args[0]
    (recipe,) = adapted.metadata["adaptations"]
    config = nada.AdaptConfig("", "", iterations=2, batch=8, image_share=1.0)
    direct = nada.adapt(tiny, clip, config, style_images=pictures.clone().permute(0, 3, 1, 2) * 2 - 1)
    assert recipe["goal"] == direct.recipe()["goal"]


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


def test_saved_generator_is_listed_and_loads(host, small):
    host.nodes.NADASaveGenerator.execute(small, "styles/sketch")
    path = host.folder / "output" / "stylegan" / "styles" / "sketch_00001_.safetensors"
    assert path.is_file()
    assert "styles/sketch_00001_.safetensors" in host.nodes.host.files(host.nodes.host.GENERATORS)
    assert any("sketch_00001_.safetensors" in text for text in host.texts)
    (path.parent / "notes.txt").write_text("not a generator")
    assert "styles/notes.txt" not in host.nodes.host.files(host.nodes.host.GENERATORS)


def test_saving_twice_keeps_both(host, small):
    folder = host.folder / "output" / "stylegan"
    host.nodes.NADASaveGenerator.execute(small, "sketch")
    first = (folder / "sketch_00001_.safetensors").read_bytes()
    host.nodes.NADASaveGenerator.execute(moved(small), "sketch")
    assert sorted(path.name for path in folder.iterdir()) == [f"sketch_0000{n}_.safetensors" for n in (1, 2)]
    assert (folder / "sketch_00001_.safetensors").read_bytes() == first
    assert nada.load_generator(folder / "sketch_00002_.safetensors").fingerprint() == moved(small).fingerprint()


PREFIXES = ["../sketch", "/tmp/sketch", "a" * 300, "a\0b"]
MORE_PREFIXES = ["", "styles/", "styles/" + "草" * 100, "a\nb", "\x1b[2J", "\ud800"]


@pytest.mark.parametrize(
    "prefix", [*PREFIXES, *(pytest.param(prefix, marks=pytest.mark.slow) for prefix in MORE_PREFIXES)]
)
def test_saving_stays_in_its_folder(host, small, prefix, monkeypatch):
    """Nodes that save a file refuse a bad prefix before they make what is to be saved."""
    nodes, codes = host.nodes, nada.sample_latents(small, 2)
    monkeypatch.setattr(sys.modules[f"{stub_comfyui.PACK}.nodes.animate"], "generate", None)
    saves = {
        nodes.NADASaveGenerator: (small,),
        nodes.NADASaveStyle: (small, moved(small)),
        nodes.NADASaveMapper: (nada.LatentMapper(small.num_ws, 20),),
        nodes.NADABeforeAfterAnimation: (small, small, codes, 2, 64, 24.0),
        nodes.NADALatentWalk: (small, 0, 2, 2, 0.7, 64, 24.0),
    }
    assert {*saves} == {node for node in nodes.NODES if "filename_prefix" in inspect.signature(node.execute).parameters}
    for node, inputs in saves.items():
        with pytest.raises(UsageError, match="filename_prefix"):
            node.execute(*inputs, filename_prefix=prefix)


def test_folders_keep_what_others_registered(host):
    import folder_paths

    folder_paths.folder_names_and_paths["stylegan"] = (["elsewhere"], {".ckpt"})
    host.nodes.host.register_folders()
    paths, endings = folder_paths.folder_names_and_paths["stylegan"]
    assert paths[0] == "elsewhere"
    assert {".ckpt", ".pkl", ".safetensors"} <= endings


def test_clip_entries_become_specifications(host):
    folder = host.folder / "models" / "open_clip"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "open_clip_config.json").touch()
    (folder / "b32.safetensors").touch()
    spec = host.nodes.load.clip_spec
    assert host.nodes.host.clip_folders() == ["mine"]
    assert spec("demo") == "demo"
    assert spec(next(name for name in host.nodes.load.CLIP_PRESETS if "B/16" in name)) == "ViT-B/32,ViT-B/16"
    assert spec("mine") == str(folder / "mine")
    assert spec("custom", "ViT-B/32:1, mine:0.5") == f"ViT-B/32:1,{folder / 'mine'}:0.5"
    assert spec("custom", "ViT-B-32@b32.safetensors") == f"ViT-B-32@{folder / 'b32.safetensors'}"
    assert spec("custom", "ViT-B-32@laion2b_s34b_b79k") == "ViT-B-32@laion2b_s34b_b79k"
    with pytest.raises(UsageError, match="write the models on one line"):
        spec("custom", "ViT-B/32\nViT-B/16:1")


@pytest.mark.parametrize(
    "custom", ["../mine", "/etc", "ViT-B-32@/etc/passwd", "ViT-B-32@../x.pt", "C:\\x", "\\\\host\\x", "~/x", "x.pt"]
)
def test_clip_paths_stay_in_their_folder(host, custom):
    with pytest.raises(UsageError, match="not in models/open_clip"):
        host.nodes.load.clip_spec("custom", custom)
    assert "not in models/open_clip" in host.nodes.NADALoadCLIP.validate_inputs(custom)


@pytest.mark.parametrize("custom", ["some/folder", "folder", "ViT-B/32", "ViT-B-32@weights", "RN50, folder:0.5"])
def test_files_and_folders_beside_the_programs_own_are_no_clip(host, tmp_path, monkeypatch, custom):
    """A workflow cannot name a path that the library would open relative to ComfyUI's folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("some/folder", "folder", "ViT-B/32"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "weights").touch()
    with pytest.raises(UsageError, match="not in models/open_clip"):
        host.nodes.load.clip_spec("custom", custom)


@pytest.mark.parametrize("custom", ["ViT-B/32\nRN50", "a\0", "\x1b[2J", "RN50@a\rb", "x\u2028y"])
def test_control_characters_in_a_clip_name_end_in_a_sentence(host, custom):
    answer = host.nodes.NADALoadCLIP.validate_inputs(custom)
    assert "one line" in answer
    assert answer.isprintable()


def test_texts_on_nodes_and_errors_are_one_printable_line(host, small):
    hostile = "x\x1b[2J\nall is well"
    small.metadata["notes"] = [hostile]
    path = host.folder / "models" / "stylegan" / "a.safetensors"
    path.parent.mkdir(parents=True)
    nada.save_generator(small, path)
    host.nodes.LoadStyleGAN2.execute(path.name)
    assert r"x\x1b[2J\nall is well" in host.texts[-1]
    path.write_bytes(b"nothing")
    with pytest.raises(host.nodes.host.NadaError):
        host.nodes.LoadStyleGAN2.execute(path.name)
    assert all(text.isprintable() for text in host.texts)


def test_times_in_words(host):
    words = [host.nodes.live.duration(seconds) for seconds in (0.4, 59.7, 95, 7500)]
    assert words == ["0 s", "1 min 0 s", "1 min 35 s", "2 h 5 min"]


def train(host, tiny, clip, **changes):
    settings = {"source": "photo", "target": "sketch", "iterations": 4, "batch": 8, "learning_rate": 0.0} | changes
    return host.nodes.NADATextAdapt.execute(tiny, clip, preview_every=0, preview_images=1, **settings).args[0]


def test_a_cancelled_run_is_resumed_and_a_finished_one_is_not_repeated(host, tiny, clip, monkeypatch):
    (whole,) = [step.generator for step in nada.adapt(tiny, clip, CONFIG)][-1:]
    host.cancel_after = 2
    with pytest.raises(stub_comfyui.Cancelled):
        train(host, tiny, clip)
    assert "stopped after iteration 3; the next run continues" in host.texts[-1]  # the third update raises
    host.cancel_after, host.progress[:] = None, []
    resumed = train(host, tiny, clip)
    assert "continues after iteration 3" in host.texts
    assert [done for done, _ in host.progress] == [4, 4]
    assert resumed.fingerprint() == whole.fingerprint()

    monkeypatch.setattr(nada.Adaptation, "train_step", lambda self: pytest.fail("trained again"))
    assert train(host, tiny, clip).fingerprint() == whole.fingerprint()
    assert "was trained before" in host.texts[-1]


@pytest.mark.slow
def test_only_the_same_run_is_resumed(host, tiny, clip):
    first = train(host, tiny, clip)
    assert train(host, tiny, clip, iterations=6).metadata["adaptations"][-1]["iterations_done"] == 6
    assert "continues after iteration 4" in host.texts
    host.texts.clear()
    shorter, other = train(host, tiny, clip, iterations=2), train(host, tiny, clip, seed=1)
    assert not any("continues" in text or "before" in text for text in host.texts)
    assert len({g.fingerprint() for g in (first, shorter, other)}) == 3


@pytest.mark.slow
def test_a_damaged_state_costs_only_the_time(host, tiny, clip, caplog):
    first = train(host, tiny, clip)
    runs = host.folder / "models" / "stylegan_runs"
    (path,) = runs.glob("*/states/iteration_00004.safetensors")
    path.write_bytes(b"not a state")
    assert train(host, tiny, clip).fingerprint() == first.fingerprint()
    assert "cannot be used and was renamed to" in caplog.text
    assert path.with_name(f"{path.name}.damaged").read_bytes() == b"not a state", "nothing is deleted"


def test_a_full_disk_costs_the_continuation_and_not_the_result(host, tiny, clip, monkeypatch, caplog):
    def full(*args):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("nada.checkpoint.saving.save_file", full)
    assert train(host, tiny, clip).metadata["adaptations"]
    assert "the disk is full" in caplog.text
