"""Metadata in files: one reader for all kinds, which refuses whatever its users could not handle."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial

import pytest
import torch
from helpers.models import moved
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nada import CheckpointError, load_mapper, load_state, load_style, save_generator, save_mapper, save_state
from nada.checkpoint.loading import load_generator
from nada.checkpoint.metadata import MAX_DEPTH, NUMBER, fits, read_description, read_json, strict_json
from nada.measure.demo_judge import load_judge
from nada.photo.codes import Codes, save_codes
from nada.photo.crop import middle_crop
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig, save_small_encoder
from nada.photo.loop import PhotoState, save_photo_state
from nada.styles.files import save_style
from nada.styles.style import Style
from nada.text_edits import LatentMapper
from nada.training.config import RECOMMENDABLE, AdaptConfig
from nada.training.state import RunState

RECIPE = {"source": "photo", "target": "sketch", "base": "x", "iterations_done": 1}
RECIPE |= {"clip": [{"name": "demo", "weight": 1.0}]}
DEEP = json.loads('{"a":' * 500 + "1" + "}" * 500)
HOSTILE = [5, "x", [], {}, [{}], [5], None, True, -1, 1e300, "\ud800", 10**400, DEEP]


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "Expecting property"),
        (b'{"a": "\xff"}', "decode"),
        ('{"a": 1}'.encode("utf-16"), "decode"),
        ('{"a": 1}'.encode("utf-32-le"), ""),
        ("1" * 21, "21 digits"),
        (f'{{"a": -{"9" * 5000}}}', "digits"),
        (nested(MAX_DEPTH), "deep"),
        (nested(100_000), ""),
        (r'{"a": "\ud800"}', "surrogates"),
        (r'{"\udfff": 1}', "surrogates"),
    ],
)
def test_json_that_would_break_those_who_use_it(text, what):
    with pytest.raises(CheckpointError, match=f"damaged JSON: .*{what}"):
        read_json(text)


def test_valid_json_is_restored():
    value = {
        "seed": 2**64 - 1,
        "loss": [1e-30, None, True],
        "text": "草图\n",
        "deep": json.loads(nested(MAX_DEPTH - 3)),
    }
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value).encode()) == value


def test_shapes():
    shape = {"name": str, "sizes?": [int], "weight?": (NUMBER, None), "each?": {str: [NUMBER]}}
    for good in ({}, {"sizes": [1, 2]}, {"weight": None, "other": 5}, {"weight": 2}, {"each": {"a": [1.5]}}):
        assert fits({"name": "x", **good}, shape)
    nan = float("nan")
    for bad in ({"name": 1}, {"sizes": 1}, {"sizes": [True]}, {"weight": nan}, {"weight": True}, {"each": {"a": 1}}):
        assert not fits({"name": "x", **bad}, shape)
    assert not fits({}, shape)
    assert not fits([], shape)


def test_later_formats_ask_for_an_update():
    with pytest.raises(CheckpointError, match="style has format 3, this version reads up to 2; update it"):
        read_description({"k": '{"format": 3}'}, "k", 2, "style")
    for text in ('{"format": "1"}', '{"format": true}', "[]", "5"):
        with pytest.raises(CheckpointError, match="description is damaged"):
            read_description({"k": text}, "k", 2, "style")


def test_numbers_that_json_cannot_say_become_null():
    value = {"a": float("nan"), "b": [float("inf"), 1.0], "c": ("x", -float("inf"))}
    assert json.loads(strict_json(value)) == {"a": None, "b": [None, 1.0], "c": ["x", None]}


def test_files_say_nothing_that_json_cannot(small, tmp_path):
    """Whatever a stranger's file said of itself; a NaN in a header would break other programs."""
    odd, path = {**RECIPE, "x": [float("nan"), {"y": float("inf")}]}, tmp_path / "a.safetensors"
    mapper, adapted = LatentMapper(4, 8), moved(small)
    mapper.metadata, adapted.metadata = odd, {"adaptations": [odd]}
    crop = middle_crop((40, 60))
    for save in (
        partial(save_generator, adapted),
        partial(save_mapper, mapper),
        partial(save_style, Style.between(small, adapted)),
        partial(save_state, RunState({"a": torch.ones(1)}, odd, {}, (), {"history": odd})),
        partial(save_codes, Codes(torch.zeros(1, 4, 8), (crop,), ("",), "", odd)),
        partial(save_photo_state, PhotoState(odd, {"a": torch.ones(1)})),
        partial(save_small_encoder, SmallEncoder(SmallEncoderConfig(16, (8, 16), 8, 4, 8), "", odd)),
    ):
        save(path)
        with safe_open(path, "pt") as file:
            texts = file.metadata().values()
        assert all(json.loads(text, parse_constant=pytest.fail) for text in texts)


def described(path, key, change):
    """Rewrite the description in a file."""
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()[key])
    change(description)
    save_file(load_file(path), path, {key: json.dumps(description)})


@pytest.mark.parametrize(
    "part",
    [
        "adaptations",
        "styles",
        *(pytest.param(part, marks=pytest.mark.slow) for part in ("notes", "blends", "source", "recommended")),
    ],
)
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:12])
def test_generators_with_odd_metadata_are_refused_or_of_use(tiny, tmp_path, part, value):
    """All users of a generator's metadata can rely on its structure."""
    path = tmp_path / "a.safetensors"
    save_generator(tiny, path)
    described(path, "nada", lambda description: description["metadata"].update({part: value}))
    try:
        metadata = load_generator(path).metadata
    except CheckpointError:
        return
    assert all(isinstance(note, str) for note in metadata.get("notes", []))
    assert all(isinstance(recipe, dict) for recipe in metadata.get("adaptations", []))
    assert all(f"{entry['name']} x {entry['strength']:g}" for entry in metadata.get("styles", []))
    assert isinstance(metadata.get("recommended", {}), dict)


@pytest.mark.parametrize("name", RECOMMENDABLE)
@pytest.mark.parametrize("value", [*HOSTILE, 10**6, 0.5, float("inf"), "b4"], ids=lambda value: str(value)[:12])
def test_recommended_settings_are_sane_or_refused(tiny, tmp_path, name, value):
    """A file can recommend neither an endless training nor a batch that no memory holds."""
    path = tmp_path / "a.safetensors"
    save_generator(tiny, path)
    described(path, "nada", lambda description: description["metadata"].update(recommended={name: value, "new": value}))
    try:
        loaded = load_generator(path)
    except CheckpointError:
        return
    config = AdaptConfig.for_generator(loaded, "photo", "sketch")
    assert (config.iterations, config.batch, config.views or 0, config.learning_rate or 0) <= (10_000, 64, 16, 0.1)


@pytest.fixture
def files(tiny, tmp_path):
    """{kind: (file, key of its description, loader)} of this project's other files."""
    mapper = LatentMapper(tiny.num_ws, tiny.config.w_dim)
    mapper.metadata = {"target": "pig"}
    save_mapper(mapper, tmp_path / "mapper")
    save_style(Style.between(tiny, moved(tiny)), tmp_path / "style")
    goal = {"source": "photo", "directions": ["AAAA"], "targets": ["AAAA"]}
    state = RunState({"random": torch.zeros(3, dtype=torch.uint8)}, RECIPE, goal, ("b4.conv1",), {"history": {}})
    save_state(state, tmp_path / "state")
    return {
        "mapper": (tmp_path / "mapper", "nada_mapper", load_mapper),
        "style": (tmp_path / "style", "nada_style", load_style),
        "state": (tmp_path / "state", "nada-run", load_state),
    }


@pytest.mark.parametrize("kind", ["mapper", "style", "state"])
def test_other_files_with_an_odd_description_end_in_a_sentence(files, kind):
    path, key, load = files[kind]
    honest = path.read_bytes()
    load(path)
    with safe_open(path, "pt") as file:
        names = set(json.loads(file.metadata()[key]))
    for name in names - {"bytes", "kind"}:  # written for people, never read
        for value in HOSTILE:
            path.write_bytes(honest)
            described(path, key, lambda description, name=name, value=value: description.update({name: value}))
            with suppress(CheckpointError):
                load(path)


def test_a_state_keeps_its_parts(files):
    state = load_state(files["state"][0])
    assert (state.recipe, state.layers, state.notes) == (RECIPE, ("b4.conv1",), {"history": {}})
    assert state.tensors["random"].dtype == torch.uint8


def test_each_loader_says_what_it_wants(files, tiny, tmp_path):
    save_generator(tiny, tmp_path / "generator")
    for path in (tmp_path / "generator", files["style"][0]):
        for load, words in [
            (load_mapper, "no mapper"),
            (load_state, "no run state"),
            (load_judge, "no judge"),
        ]:
            with pytest.raises(CheckpointError, match=words):
                load(path)
    (tmp_path / "text").write_text("hello")
    for load in (load_mapper, load_state, load_judge):
        with pytest.raises(CheckpointError, match="this is no "):
            load(tmp_path / "text")
