"""The loader node and published models: listed, downloaded when needed, kept, and noticed when they change."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import pytest
from helpers import stub_comfyui
from helpers.checkpoint_files import nvidia_bytes, small_generator

from nada import PRESETS, PUBLISHED, NadaError, UsageError, save_generator
from nada.clip.weights import weights_in
from nada.published.catalog import UNSTATED


@pytest.fixture
def fetched(host, monkeypatch):
    """Replace the node's downloads by a function that writes a file and reports two steps."""
    calls = []

    def download(model, folder, progress):
        calls.append(model.name)
        path = folder / model.file
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            progress(50_000_000, 100_000_000)
            path.write_bytes(nvidia_bytes(small_generator()))
            progress(100_000_000, 100_000_000)
        return path, ["The SHA-256 is the known one."]

    monkeypatch.setattr(host.load, "download", download)
    return calls


ENTRY = f"(download) {PUBLISHED[0].label}"


def test_downloads_are_one_entry_that_opens_a_short_list(host):
    folder = host.folder / "models" / "stylegan"
    folder.mkdir(parents=True)
    (folder / "mine.pt").touch()
    names, downloads = (s.options["options"] for s in host.nodes.LoadStyleGAN2.define_schema().inputs)
    assert names == ["mine.pt", "demo", "demo-person", "download a published model..."]
    assert downloads[0] == "faces | ffhq-1024, 133 MB, NVIDIA, non-commercial | presets for faces"
    assert len(downloads) < len(PUBLISHED) * 0.75, "one entry a model, not one a format"
    groups = [entry.split()[0] for entry in downloads]
    assert len(set(groups)) == sum(a != b for a, b in zip(groups, [*groups[1:], ""], strict=True)), "not grouped"
    unknown = {model.name for model in PUBLISHED if model.license == UNSTATED}
    marked = {entry.split("| ")[1].partition(",")[0] for entry in downloads if "LICENSE UNKNOWN" in entry}
    assert marked == unknown
    fits = {entry.split()[0] for entry in downloads if "presets for" in entry}
    assert fits == {preset.domain for preset in PRESETS.values() if preset.kind != "general"}


def test_the_list_downloads_what_it_says(host, fetched):
    names, downloads = (s.options["options"] for s in host.nodes.LoadStyleGAN2.define_schema().inputs)
    for entry in (downloads[1], downloads[-1]):
        host.nodes.LoadStyleGAN2.execute(names[-1], entry)
        assert f"| {fetched[-1]}," in entry
    prints = {host.nodes.LoadStyleGAN2.fingerprint_inputs(names[-1], entry) for entry in downloads}
    assert len(prints) == len(downloads)


def test_only_entries_of_the_lists_are_accepted(host):
    """Prompts from before the list of downloads work too."""
    valid = host.nodes.LoadStyleGAN2.validate_inputs
    assert all(valid(f"(download) {model.label}") is True for model in PUBLISHED)
    assert valid("demo") is valid(None) is True
    for name in ("gone.pt", "../secret.pt", "(download) x"):
        assert "there is no generator" in valid(name)


def test_picking_one_downloads_it_with_progress_and_says_the_license(host, fetched):
    before = host.nodes.LoadStyleGAN2.fingerprint_inputs(ENTRY)
    generator = host.nodes.LoadStyleGAN2.execute(ENTRY).args[0]
    assert generator.config.resolution == 16
    assert fetched == [PUBLISHED[0].name]
    assert [done for done, _ in host.progress] == [50_000_000, 100_000_000]
    assert "NVIDIA Source Code License" in host.texts[0]
    assert "SHA-256" in host.texts[-1]
    assert PUBLISHED[0].file in host.nodes.host.files(host.nodes.host.GENERATORS)
    assert host.nodes.LoadStyleGAN2.fingerprint_inputs(ENTRY) == before, "the next run repeats nothing"


def test_cancelling_reaches_the_download(host, fetched):
    host.cancel_after = 0
    with pytest.raises(stub_comfyui.Cancelled):
        host.nodes.LoadStyleGAN2.execute(ENTRY)


def test_no_network_is_said_on_the_node(host, monkeypatch):
    def download(model, folder, progress):
        raise NadaError("there is no network")

    monkeypatch.setattr(host.load, "download", download)
    with pytest.raises(NadaError):
        host.nodes.LoadStyleGAN2.execute(ENTRY)
    assert host.texts[-1] == "there is no network"


def test_converted_copies_lie_in_comfyuis_models_and_are_not_listed(host):
    folder = host.folder / "models" / "stylegan"
    folder.mkdir(parents=True)
    (folder / "dogs.pkl").write_bytes(nvidia_bytes(small_generator()))
    first, second = (host.nodes.LoadStyleGAN2.execute("dogs.pkl").args[0] for _ in range(2))
    assert first.fingerprint() == second.fingerprint()
    assert len(list((host.folder / "models" / "stylegan_converted").glob("*.safetensors"))) == 1
    assert host.nodes.host.files(host.nodes.host.GENERATORS) == ["dogs.pkl"]


def test_a_replaced_file_is_noticed_even_with_its_old_size_and_time(host):
    path = host.folder / "models" / "stylegan" / "dogs.safetensors"
    path.parent.mkdir(parents=True)
    save_generator(small_generator(), path)
    before, stat = host.nodes.LoadStyleGAN2.fingerprint_inputs(path.name), path.stat()
    save_generator(small_generator(seed=2), path)
    assert path.stat().st_size == stat.st_size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert host.nodes.LoadStyleGAN2.fingerprint_inputs(path.name) != before


def test_replaced_clip_weights_are_noticed(host, clip_folder):
    folder = host.folder / "models" / "open_clip" / "mine, new"
    shutil.copytree(clip_folder, folder)
    file = folder.with_name("mine.pt")
    file.write_bytes(b"weights")
    key = host.nodes.NADALoadCLIP.fingerprint_inputs
    choices = [(folder.name,), ("custom", "RN50@mine.pt,demo"), ("demo",), ("custom", "ViT-B/32")]
    before = [key(*choice) for choice in choices]
    for path in (weights_in(folder), file):
        os.utime(path, ns=(1, 1))
    assert [key(*choice) == old for choice, old in zip(choices, before, strict=True)] == [False, False, True, True]


def test_a_comma_in_the_path_of_one_of_several_clip_models_is_explained(host, monkeypatch):
    monkeypatch.setattr(host.nodes.host, "clip_path", {"mine": "/a, b/mine"}.get)
    assert host.load.clip_spec("custom", "mine") == "/a, b/mine"
    with pytest.raises(UsageError, match="has a comma"):
        host.nodes.NADALoadCLIP.execute("custom", "mine,demo")


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("LoadStyleGAN2", {"generator_name": None}),
        ("NADALoadCLIP", {"clip_name": "custom", "custom": None}),
        ("NADALoadCLIP", {"clip_name": None}),
        ("NADALoadEncoder", {"encoder_name": None}),
        ("NADALoadStyle", {"style_name": None}),
        ("NADALoadMapper", {"mapper_name": None}),
        ("NADALoadLatents", {"latents_name": None}),
        ("NADAEditLatents", {"direction": None}),
        ("NADAPickSnapshot", {"run": None}),
    ],
)
def test_a_name_that_comes_through_a_link_gives_a_constant_key(host, node, inputs):
    """An exception would make ComfyUI run the node, and all behind it, every time."""
    key = getattr(host.nodes, node).fingerprint_inputs
    assert key(**inputs) == key(**inputs)


def test_openais_clip_is_downloaded_into_comfyuis_models_with_progress(host, monkeypatch):
    seen = []

    def load_clip(spec, folder, progress):
        seen.append((spec, folder))
        progress(300_000_000, 600_000_000)
        progress(1_000_000, 599_000_000)  # the second model
        return SimpleNamespace(describe=lambda: [{"name": "ViT-B/32", "weight": 1.0}])

    monkeypatch.setattr(host.load, "load_clip", load_clip)
    preset = next(name for name, spec in host.load.CLIP_PRESETS.items() if spec == "ViT-B/32,ViT-B/16")
    host.nodes.NADALoadCLIP.execute(preset)
    assert seen == [("ViT-B/32,ViT-B/16", host.folder / "models" / "open_clip")]
    assert [done for done, _ in host.progress] == [300_000_000, 1_000_000]
    assert "300 of 600 MB" in host.texts[0]


def test_without_the_second_widget_the_entry_means_the_first_download(host, fetched):
    """Old prompts lack the widget; an error of `fingerprint_inputs` would run the whole graph again each time."""
    node, entry = host.nodes.LoadStyleGAN2, host.nodes.load.DOWNLOAD
    assert node.fingerprint_inputs(entry) == node.fingerprint_inputs(entry, host.nodes.load.FIRST_DOWNLOAD)
    assert node.fingerprint_inputs(entry, None) == entry, "a linked one is compared by its own node"
