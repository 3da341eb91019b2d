"""The mapper's nodes, with a stand-in for ComfyUI."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from helpers.stub_comfyui import Cancelled
from PIL import Image

import nada
from nada import UsageError, sample_latents

OPTIONS = {"target": "sketch", "iterations": 3, "batch": 1, "learning_rate": 0.0}


@pytest.fixture
def mapper(small):
    return nada.LatentMapper(small.num_ws, small.config.w_dim).requires_grad_(False)


def test_trains_in_inference_mode_and_leaves_the_generator(host, tiny, clip):
    before = copy.deepcopy(tiny.state_dict())
    with torch.inference_mode():  # as ComfyUI runs every node
        result = host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS, preview_every=2, bands="coarse")
    mapper, image = result.args
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())
    assert not any(p.is_inference() or p.requires_grad for p in mapper.parameters())
    assert mapper.metadata["target"] == "sketch"
    assert mapper.bands == ("coarse",)
    assert torch.equal(result.ui, image)
    assert [value for value, preview in host.progress if preview] == [2, 3]
    assert host.texts[-1].startswith("iteration 3/3 | loss ")


def test_automatic_widgets_leave_the_choice_to_the_configuration(host, tiny, clip, monkeypatch):
    seen = []
    monkeypatch.setattr(host.nodes.mapper, "LiveMapper", lambda generator, clip, config, images: seen.append(config))
    monkeypatch.setattr(host.nodes.mapper, "follow", lambda live, every: (None, Image.new("RGB", (1, 1))))
    inputs = {widget.id: widget.options for widget in host.nodes.NADATrainMapper.define_schema().inputs}
    for values in ({name: inputs[name]["default"] for name in ("views", "learning_rate")}, {"views": 0}, {"views": 2}):
        host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS | values)
    assert [(config.views, config.learning_rate) for config in seen] == [(None, None), (0, None), (2, None)]
    assert inputs["views"]["min"] == inputs["views"]["default"] == -1


def test_cancel_stops_and_holds_nothing(host, tiny, clip, monkeypatch):
    runs, train = [], host.nodes.mapper.train_mapper
    monkeypatch.setattr(host.nodes.mapper, "train_mapper", lambda *a: runs.append(weakref.ref(r := train(*a))) or r)
    host.cancel_after = 2
    with pytest.raises(Cancelled):
        host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS)
    assert len(host.progress) == 2
    assert runs[0]() is None
    saved = host.folder / "output" / "stylegan_mappers" / "cancelled" / "sketch.safetensors"
    assert nada.load_mapper(saved).metadata["iterations_done"] == 3  # the third update raises
    assert "saved as the mapper cancelled/sketch" in host.texts[-1]


def another_mapper(path) -> bytes:
    """The file of a mapper for codes of another generator."""
    nada.save_mapper(nada.LatentMapper(4, 8), path)
    return path.read_bytes()


def test_a_finished_training_is_not_repeated(host, tiny, clip, monkeypatch):
    first, _ = host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS).args
    longer, _ = host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS | {"iterations": 4}).args
    assert longer.metadata["iterations_done"] == 4
    monkeypatch.setattr(nada.text_edits.MapperTraining, "train_step", lambda self: pytest.fail("trained again"))
    with torch.inference_mode():
        again, image = host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS).args
    assert host.texts[-1].endswith("was trained before")
    assert image.shape[-1] == 3
    assert not any(p.is_inference() or p.requires_grad for p in again.parameters())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    (path,) = (
        p
        for p in (host.folder / "models" / "stylegan_runs").iterdir()
        if nada.load_mapper(p).metadata["iterations_done"] == 3
    )
    for content in (b"damaged", another_mapper(path)):
        path.write_bytes(content)
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS)
        assert path.with_name(f"{path.name}.damaged").read_bytes() == content


def test_out_of_memory_gives_advice(host, tiny, clip, monkeypatch):
    def too_large(run):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(nada.text_edits.MapperTraining, "train_step", too_large)
    with pytest.raises(torch.OutOfMemoryError):
        host.nodes.NADATrainMapper.execute(tiny, clip, **OPTIONS)
    assert host.texts[-1].startswith("out of memory: lower batch")


def test_applies_with_a_strength(host, small, mapper):
    ws = sample_latents(small, 2)
    with torch.inference_mode():
        moved = host.nodes.NADAApplyMapper.execute(ws, mapper, 0.5).args[0]
    assert torch.equal(moved, mapper(ws, 0.5))
    assert not moved.is_inference()
    assert torch.equal(host.nodes.NADAApplyMapper.execute(ws, mapper, 0.0).args[0], ws)
    with pytest.raises(UsageError, match="takes"):
        host.nodes.NADAApplyMapper.execute(ws[:, :4], mapper, 1.0)


def test_saved_mapper_is_listed_and_loads(host, small, mapper):
    mapper.metadata = {"target": "pig"}
    host.nodes.NADASaveMapper.execute(mapper, "animals/pig")
    path = host.folder / "output" / "stylegan_mappers" / "animals" / "pig_00001_.safetensors"
    assert path.is_file()
    assert host.nodes.host.files(host.nodes.host.MAPPERS) == ["animals/pig_00001_.safetensors"]
    assert path.name not in host.nodes.host.files(host.nodes.host.GENERATORS)
    names = host.nodes.NADALoadMapper.define_schema().inputs[0].options["options"]
    assert names == ["animals/pig_00001_.safetensors"]
    loaded = host.nodes.NADALoadMapper.execute(names[0]).args[0]
    assert host.texts[-1] == "pig | coarse, middle | 8 codes of 20 numbers"
    ws = sample_latents(small, 1)
    assert torch.equal(loaded(ws), mapper(ws))
    with pytest.raises(UsageError, match="below output/stylegan_mappers only"):
        host.nodes.NADASaveMapper.execute(mapper, "../pig")


def test_without_a_mapper_the_node_says_how_to_make_one(host):
    (name,) = host.nodes.NADALoadMapper.define_schema().inputs[0].options["options"]
    assert host.nodes.NADALoadMapper.fingerprint_inputs(name) == name
    with pytest.raises(UsageError, match="there is no mapper yet"):
        host.nodes.NADALoadMapper.execute(name)


def test_an_empty_text_is_refused_before_anything_runs(host):
    check = host.nodes.NADATrainMapper.validate_inputs
    assert check() is True, "ComfyUI itself says that an input is missing"
    assert "target text is empty" in check(" ")
