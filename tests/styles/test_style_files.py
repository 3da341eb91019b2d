"""Style files restore everything, and malicious ones are refused."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.models import moved
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nada import (
    AdaptConfig,
    CheckpointError,
    Style,
    UsageError,
    adapt,
    apply_style,
    load_generator,
    load_style,
    preview_of,
    preview_picture,
    save_generator,
    save_style,
)
from nada.styles.low_rank import LowRank

CONV = "synthesis.b16.conv1.weight"


@pytest.fixture(autouse=True)
def small_tiles():
    """Keep the usual sizes: previews have them."""


@pytest.fixture
def adapted(small):
    return moved(small)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "style.safetensors"


def test_files_give_everything_back(wide, path):
    adapted = moved(wide)
    adapted.metadata["adaptations"] = [{"source": "photo", "target": "sketch", "base": wide.fingerprint()}]
    for rank in (None, 2):
        style = Style.between(wide, adapted, rank, preview=preview_of(wide, adapted))
        save_style(style, path)
        loaded = load_style(path)
        for name, delta in style.deltas.items():
            assert type(loaded.deltas[name]) is type(delta)
            pairs = zip(delta, loaded.deltas[name], strict=True) if rank and isinstance(delta, LowRank) else ()
            for one, other in pairs or [(delta, loaded.deltas[name])]:
                assert torch.equal(one, other)
                assert one.dtype == other.dtype
        assert loaded.name == "sketch"
        assert (loaded.recipe, loaded.error, loaded.preview) == (style.recipe, style.error, style.preview)
        assert json.loads(json.dumps(style.base)) == loaded.base
        assert apply_style(wide, loaded).fingerprint() == apply_style(wide, style).fingerprint()
    assert preview_picture(loaded.preview).size == (512, 254)
    assert path.stat().st_size < loaded.size + 60_000


def test_the_recipe_in_the_file_trains_the_same_generator_again(small, clip, path):
    config = AdaptConfig("photo", "sketch", iterations=5, batch=2, layers=3, select_batch=2, seed=7, mixing=0.5)
    for step in adapt(small, clip, config):
        if step.iteration == 4:  # interrupted: the recipe has the iterations done
            break
    save_style(Style.between(small, step.generator), path)
    style = load_style(path)
    assert AdaptConfig.from_style(style).iterations == 4
    assert style.recipe["base"] == style.base["fingerprint"] == small.fingerprint()
    *_, again = adapt(small, clip, AdaptConfig.from_style(style))
    assert again.generator.fingerprint() == step.generator.fingerprint()


def test_a_long_text_of_many_lines_becomes_a_name_that_loads(small, adapted, path):
    adapted.metadata["adaptations"] = [{"target": "a painting\n\tof a\x1b[2J dog " * 40}]
    save_style(Style.between(small, adapted), path)
    assert load_style(path).name.startswith("a painting of a [2J dog a painting")


def test_a_generator_is_no_style_and_a_style_no_generator(small, adapted, path, tmp_path):
    save_generator(small, tmp_path / "generator.safetensors")
    with pytest.raises(CheckpointError, match="this is a generator, not a style"):
        load_style(tmp_path / "generator.safetensors")
    with pytest.raises(CheckpointError, match="a generator, not a style"):
        load_style("demo")
    save_style(Style.between(small, adapted), path)
    with pytest.raises(CheckpointError, match="a style, not a generator"):
        load_generator(path)
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="something else, not a style"):
        load_style(path)
    path.write_text("hello")
    with pytest.raises(CheckpointError, match="not a model"):
        load_style(path)


def changed(path, tensors=None, **description):
    """The style file with changed contents."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    known = json.loads(metadata["nada_style"])
    own = {**load_file(path), **(tensors or {})}
    save_file(
        {n: t for n, t in own.items() if t is not None}, path, {"nada_style": json.dumps({**known, **description})}
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "update it"),
        ({"format": "1"}, "description is damaged"),
        ({"name": None}, "description is damaged"),
        ({"name": "x" * 1000}, "name has 1000"),
        ({"name": "\x1b[2J"}, "description is damaged"),
        ({"recipe": [1]}, "description is damaged"),
        ({"recipe": json.loads('{"a":' * 50 + "1" + "}" * 50)}, "description is damaged"),
        ({"base": {"fingerprint": "x", "config": {}}}, "cannot be built"),
        ({"base": {"fingerprint": "x", "config": {"resolution": 31, "channels": [1]}}}, "power of two"),
        ({"notes": [1]}, "description is damaged"),
        ({"error": float("nan")}, "description is damaged"),
        ({"preview": "%%%"}, "preview is damaged"),
        ({"preview": "A" * (1 << 21)}, "preview has"),
        ({"tensors": {CONV + "::up": None}}, "::down"),
        ({"tensors": {CONV + "::down": None}}, "lacks .*::down"),
        ({"tensors": {CONV: torch.ones(2)}}, "two differences"),
        ({"tensors": {CONV + "::up": torch.ones(48, 7)}}, "cannot be multiplied"),
        ({"tensors": {CONV + "::up": torch.full((48, 2), float("nan"))}}, "not finite"),
        ({"tensors": {"x": torch.ones(2, dtype=torch.int32)}}, "float16 or float32"),
        ({"tensors": {"\x1b[2J": torch.ones(2)}}, "cannot be printed"),
        ({"tensors": {f"x{i}": torch.ones(1) for i in range(1100)}}, "more or larger tensors"),
    ],
    ids=str,
)
def test_hostile_files(wide, path, change, words):
    save_style(Style.between(wide, moved(wide, "weight"), rank=2), path)
    changed(path, **change)
    with pytest.raises((CheckpointError, UsageError), match=words):
        apply_style(wide, load_style(path))


def test_unknown_tensors_are_refused_when_applied(small, adapted, path):
    save_style(Style.between(small, adapted), path)
    changed(path, {"synthesis.b8.conv1.__class__": torch.ones(3)})
    with pytest.raises(UsageError, match="missing here"):
        apply_style(small, load_style(path))


def test_a_cut_file_is_refused(small, adapted, path):
    save_style(Style.between(small, adapted), path)
    data = path.read_bytes()
    for size in (0, 5, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError):
            load_style(path)


def test_damaged_previews_are_refused(small):
    with pytest.raises(CheckpointError, match="preview is damaged and cannot be read"):
        preview_picture(b"\xff\xd8\xff\xe0 not a picture")
    with pytest.raises(CheckpointError, match="preview is damaged and cannot be read"):
        preview_picture(b"")
