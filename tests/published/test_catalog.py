"""The catalog of published models: complete rows, known facts, and a sentence for a damaged file."""

from __future__ import annotations

import json
import re

import pytest

from nada.errors import NadaError, UsageError
from nada.published.catalog import (
    CATALOG,
    NVIDIA,
    PUBLISHED,
    PUBLISHED_CLIPS,
    YUNET,
    agrees,
    find_published,
    read_catalog,
)

ROW = {"name": "a", "resolution": 64, "content": "b", "license": "c", "url": "https://d/e.pt", "size": 1_000_001}
DETECTOR = {"name": "k", "content": "l", "url": "https://m/n.onnx", "size": 9, "sha256": "0" * 64}
CLIP = {"name": "f", "architecture": "g", "repository": "h", "revision": "0" * 40, "size": 9, "sha256": "0" * 64}


def catalog(*rows: dict, clips: tuple = (), detectors: tuple = ()) -> str:
    return json.dumps({"generators": rows, "clips": clips, "detectors": detectors})


def test_the_catalog_is_sound():
    read = read_catalog(CATALOG.read_text("utf-8"))
    assert (read.generators, read.clips, read.detectors) == (PUBLISHED, PUBLISHED_CLIPS, (YUNET,))
    names = [model.name for model in PUBLISHED]
    assert len({model.file for model in PUBLISHED}) == len({*names}) == len(names)
    for model in PUBLISHED:
        assert model.file.endswith((".pt", ".pkl", ".safetensors"))
        assert 32 <= model.resolution <= 1024
    assert {"ffhq-1024", "afhqdog-512", "metfaces-1024", "church-256"} <= {*names}
    assert find_published("ffhq-1024").license == NVIDIA
    for clip in PUBLISHED_CLIPS:
        assert find_published(clip.name) is clip
        assert len(clip.sha256) == 64
        assert re.search("MIT.*Apache", clip.license), "both publishers' statements"
    with pytest.raises(UsageError, match="ffhq-1024"):
        find_published("ffhq")


def test_a_file_on_the_hub_cannot_change_under_its_name():
    """Either the address names a commit, or the hash is known."""
    for model in PUBLISHED:
        if "huggingface.co" in model.url:
            assert re.search(r"/resolve/[0-9a-f]{40}/", model.url) or len(model.sha256) == 64, model.name


def test_a_row_has_its_size_once():
    exact, about = read_catalog(catalog(ROW, {**ROW, "name": "b", "size": 5, "url": "https://d/e.pkl"})).generators
    assert (exact.size, exact.megabytes, about.file) == (1_000_001, 2, "b.pkl")
    row = {key: value for key, value in ROW.items() if key != "size"}
    found = read_catalog(catalog({**row, "megabytes": 7}, clips=(CLIP,), detectors=(DETECTOR,)))
    (about,), (clip,), (detector,) = found.generators, found.clips, found.detectors
    assert (detector.file, detector.megabytes, detector.license) == ("n.onnx", 1, "MIT")
    assert (about.size, about.megabytes, about.sha256) == (None, 7, "")
    assert clip.megabytes == 1


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5}, {"resolution": "64"}, {"resolution": True}, {"size": 0}, {"license": ""}, {"mirror": "x"},
        {"url": "http://d/e.pt"}, {"url": "https://d/e f.pt"}, {"sha256": "ab"}, {"sha256": "AB" * 32},
        {"megabytes": 5}, {"content": None},
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(change):
    with pytest.raises(NadaError, match=next(iter(change))):
        read_catalog(catalog({**ROW, **change}))


@pytest.mark.parametrize("missing", ROW)
def test_a_row_that_lacks_something_is_refused(missing):
    with pytest.raises(NadaError, match=missing):
        read_catalog(catalog({key: value for key, value in ROW.items() if key != missing}))


def test_what_is_no_catalog_is_refused():
    texts = [catalog(detectors=({**DETECTOR, "sha256": ""},)), catalog(detectors=({"name": "k"},))]
    texts += ["", "[]", "{}", '{"generators": 5}', catalog("x"), catalog(clips=({**CLIP, "revision": "main"},))]
    for text in texts:
        with pytest.raises(NadaError, match="catalog of published models is damaged"):
            read_catalog(text)
    with pytest.raises(NadaError, match="names a twice"):
        read_catalog(catalog(ROW, ROW))


def test_hashes_agree_as_far_as_they_are_known():
    assert agrees("", "ab" * 32)
    assert agrees("ab...ab", "ab" * 32)
    assert not agrees("ac...ab", "ab" * 32)
    assert agrees("ab" * 32, "ab" * 32)
    assert not agrees("ab", "ab" * 32)
