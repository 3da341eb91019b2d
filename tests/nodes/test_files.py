"""Files of the nodes: saved generators, folders, names of CLIP models, and texts with control characters."""

from __future__ import annotations

import inspect
import shutil
import sys

import pytest
from helpers import stub_comfyui
from helpers.models import moved

import nada
from nada import UsageError

PREFIXES = ["../sketch", "/tmp/sketch", "a" * 300, "a\0b"]
MORE_PREFIXES = ["", "styles/", "styles/" + "草" * 100, "a\nb", "\x1b[2J", "\ud800"]


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
        host.nodes.NADALoadCLIP.execute("custom", custom)
    assert host.nodes.NADALoadCLIP.execute("demo", custom).args[0].small, "it counts only if it is chosen"


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
    with pytest.raises(UsageError, match="one line") as answer:
        host.nodes.NADALoadCLIP.execute("custom", custom)
    assert str(answer.value).isprintable()


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


@pytest.mark.parametrize("kind", ["stylegan", "stylegan_styles", "stylegan_runs"])
def test_a_folder_may_be_deleted_while_comfyui_runs(host, kind):
    root = host.folder / "output" / kind
    root.mkdir(parents=True)
    (root / "a.style.safetensors").touch()
    assert any("a.style" in name for name in host.nodes.host.files(kind))
    shutil.rmtree(root)
    for _ in range(2):
        assert not any("a.style" in name for name in host.nodes.host.files(kind))
    assert host.nodes.LoadStyleGAN2.validate_inputs("demo") is True
