"""Training nodes with a stand-in for ComfyUI: previews, cancel, out of memory, resume."""

from __future__ import annotations

import copy
import shutil
import weakref

import pytest
import torch
from helpers import stub_comfyui
from helpers.stub_comfyui import Cancelled
from safetensors import SafetensorError

import nada

CONFIG = nada.AdaptConfig("photo", "sketch", iterations=4, batch=8)


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


def test_the_style_weight_of_pictures_counts(host, tiny, clip):
    options = {"source": "", "target": "", "iterations": 2, "batch": 8, "learning_rate": 0.0, "image_share": 0.5}
    pictures = torch.rand(2, 20, 30, 3)
    plain, styled = (
        host.nodes.NADAImageAdapt.execute(tiny, clip, pictures, style_weight=weight, **options).args[0]
        for weight in (0.0, 2.0)
    )
    assert styled.metadata["adaptations"][0]["style_weight"] == 2.0
    assert plain.fingerprint() != styled.fingerprint()


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
