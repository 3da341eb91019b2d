"""The nodes that invert photos and tune to them, with a stand-in for ComfyUI."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from helpers.models import writing_anything
from helpers.stub_comfyui import Cancelled

import nada
from nada import UsageError, sample_latents
from nada.photo.loop import PhotoLoop, load_photo_state, save_photo_state

INVERT = {"w_iterations": 3, "plus_iterations": 2}
TUNE = {"iterations": 3}


@pytest.fixture
def photo(small) -> torch.Tensor:
    """Two pictures in ComfyUI's layout, of another size than the generator's."""
    images = small.synthesis(sample_latents(small, 2, 3, 1.0)).clamp(-1, 1)
    return torch.nn.functional.interpolate(images, (50, 70)).movedim(1, -1) / 2 + 0.5


class FixedEncoder(torch.nn.Module):
    """Encoder that finds the same codes in every picture."""

    def encode(self, images, generator):
        assert images.shape[1:] == (3, 32, 32)
        assert images.min() >= -1
        return sample_latents(generator, 1).expand(len(images), -1, -1)


def test_inverts_in_inference_mode_and_leaves_the_generator(host, small, clip, photo):
    before = small.fingerprint()
    with torch.inference_mode():  # as ComfyUI runs every node
        result = host.nodes.NADAInvertPhoto.execute(small, photo, clip=clip, preview_every=2, **INVERT)
    latents, image = result.args
    assert latents.shape == (2, small.num_ws, 20)
    assert not latents.is_inference()
    assert small.fingerprint() == before
    assert torch.equal(result.ui, image)
    assert [value for value, preview in host.progress if preview] == [2, 4, 5]
    assert host.texts[-1].startswith("2 photos | images off by ")


@pytest.mark.parametrize(
    "shape",
    [
        (10, 10, 3),
        (40, 33, 1),
        *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((32, 32, 4), (1200, 900, 3))),
    ],
)
def test_takes_pictures_of_any_size_and_kind(host, small, shape):
    with torch.inference_mode():
        latents, _ = host.nodes.NADAInvertPhoto.execute(small, torch.rand(1, *shape), **INVERT).args
    assert latents.shape == (1, small.num_ws, 20)


def test_an_encoder_alone_or_as_a_start(host, small, photo):
    with torch.inference_mode():
        alone, _ = host.nodes.NADAInvertPhoto.execute(
            small, photo, optimize=False, encoder=FixedEncoder(), **INVERT
        ).args
        both, _ = host.nodes.NADAInvertPhoto.execute(small, photo, encoder=FixedEncoder(), **INVERT).args
    codes = sample_latents(small, 1).expand(2, -1, -1)
    assert torch.equal(alone, codes)
    assert 0 < (both - codes).abs().amax() < 0.5
    with pytest.raises(UsageError, match="connect one"):
        host.nodes.NADAInvertPhoto.execute(small, photo, optimize=False, **INVERT)


def test_frames_are_smoothed(host, small, photo):
    frames = photo[:1].repeat(6, 1, 1, 1) + 0.2 * torch.randn(6, *photo.shape[1:])
    rough, even = (
        host.nodes.NADAInvertPhoto.execute(small, frames.clamp(0, 1), smooth=smooth, **INVERT).args[0]
        for smooth in (0.0, 2.0)
    )
    assert even.diff(dim=0).abs().mean() < 0.5 * rough.diff(dim=0).abs().mean()


def test_cancel_holds_nothing_and_the_next_run_continues(host, small, photo, monkeypatch):
    whole, _ = host.nodes.NADAInvertPhoto.execute(small, photo, seed=7, **INVERT).args
    loops, create = [], PhotoLoop.__init__
    monkeypatch.setattr(PhotoLoop, "__init__", lambda self, *a: loops.append(weakref.ref(self)) or create(self, *a))
    host.progress.clear()
    host.cancel_after = 2
    with pytest.raises(Cancelled):
        host.nodes.NADAInvertPhoto.execute(small, photo, seed=8, **INVERT)
    gc.collect()
    assert [loop() for loop in loops] == [None]
    assert host.texts[-1] == "stopped after iteration 3; the next run continues from there"
    host.cancel_after = None
    steps, step = [], nada.Projection.train_step
    monkeypatch.setattr(nada.Projection, "train_step", lambda self: steps.append(self.iteration) or step(self))
    latents, _ = host.nodes.NADAInvertPhoto.execute(small, photo, seed=8, **INVERT).args
    assert steps == [3, 4]
    again, _ = host.nodes.NADAInvertPhoto.execute(small, photo, seed=8, **INVERT).args
    assert steps == [3, 4], "what is done is not repeated"
    assert torch.equal(again, latents)
    assert not torch.equal(latents, whole)


def rewritten(path, change):
    """Change the tensors and the recipe in a stored state."""
    state = load_photo_state(path)
    change(state.tensors, state.recipe)
    with writing_anything():
        save_photo_state(state, path)


def nan(tensor):
    return torch.full_like(tensor, float("nan"))


DAMAGES = [lambda path: rewritten(path, lambda tensors, recipe: tensors.pop("pivot"))]
MORE_DAMAGES = [
    lambda path: path.write_bytes(b"damaged"),
    lambda path: rewritten(path, lambda t, recipe: t.update({"trained.codes": nan(t["trained.codes"])})),
    lambda path: rewritten(path, lambda tensors, recipe: recipe.update(iterations_done=99)),
    lambda path: rewritten(path, lambda tensors, recipe: tensors.pop("exp_avg.codes")),
    lambda path: rewritten(path, lambda tensors, recipe: tensors.update({"exp_avg_sq.codes": torch.zeros(3)})),
    lambda path: rewritten(path, lambda tensors, recipe: tensors.update({"step.codes": torch.tensor(-3.0)})),
    lambda path: rewritten(path, lambda t, recipe: t.update(pivot=nan(t["pivot"]))),
    lambda path: rewritten(path, lambda tensors, recipe: recipe.update(base="another")),
]


@pytest.mark.parametrize(
    "damage", [*DAMAGES, *(pytest.param(damage, marks=pytest.mark.slow) for damage in MORE_DAMAGES)]
)
def test_a_damaged_state_is_set_aside_and_costs_no_photo(host, small, photo, caplog, damage):
    first, _ = host.nodes.NADAInvertPhoto.execute(small, photo, **INVERT).args
    (stored,) = (host.folder / "models" / "stylegan_runs").iterdir()
    stored.unlink()
    host.progress.clear()
    host.cancel_after = 2
    with pytest.raises(Cancelled):
        host.nodes.NADAInvertPhoto.execute(small, photo, **INVERT)
    host.cancel_after = None
    damage(stored)
    again, _ = host.nodes.NADAInvertPhoto.execute(small, photo, **INVERT).args
    assert torch.equal(first, again)
    assert "cannot be used and was renamed" in caplog.text
    assert stored.with_name(f"{stored.name}.damaged").is_file()
    assert torch.equal(first, host.nodes.NADAInvertPhoto.execute(small, photo, **INVERT).args[0])


def test_tunes_to_a_photo_and_gives_a_style(host, small, clip, photo):
    ws = sample_latents(small, 2)
    with torch.inference_mode():
        result = host.nodes.NADATuneToPhoto.execute(small, photo, ws, clip=clip, **TUNE)
    style, image = result.args
    assert torch.equal(result.ui, image)
    assert style.base["fingerprint"] == small.fingerprint()
    tuned = nada.apply_style(small, style)
    assert not torch.equal(tuned.synthesis(ws), small.synthesis(ws))
    assert not any(parameter.is_inference() for parameter in tuned.parameters())


def test_a_cancelled_tuning_leaves_its_likeness(host, small, photo):
    host.cancel_after = 1
    with pytest.raises(Cancelled):
        host.nodes.NADATuneToPhoto.execute(small, photo, sample_latents(small, 2), **TUNE)
    saved = host.folder / "output" / "stylegan_styles" / "cancelled" / "likeness.safetensors"
    assert nada.load_style(saved).recipe["iterations_done"] == 2
    assert "saved as the style cancelled/likeness" in host.texts[-1]


@pytest.mark.parametrize("node", ["NADAInvertPhoto", "NADATuneToPhoto"])
def test_out_of_memory_is_spared_then_gives_advice(host, small, photo, monkeypatch, node):
    def too_large(run):
        raise torch.OutOfMemoryError("out of memory")

    loop = nada.Projection if node == "NADAInvertPhoto" else nada.Tuning
    monkeypatch.setattr(loop, "train_step", too_large)
    options = INVERT if node == "NADAInvertPhoto" else TUNE | {"latents": sample_latents(small, 2)}
    with pytest.raises(torch.OutOfMemoryError):
        getattr(host.nodes, node).execute(small, photo, **options)
    assert any("continues in 2 chunks" in text for text in host.texts)
    assert host.texts[-1].startswith("out of memory, even one photo")
