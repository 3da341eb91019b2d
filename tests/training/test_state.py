"""A resumed run equals one that never stopped, bit for bit, and a state cannot be resumed as another run."""

from __future__ import annotations

import dataclasses
from itertools import islice

import pytest
import torch
from helpers.models import alive

from nada.adapt import adapt
from nada.clip.loading import load_clip
from nada.errors import NadaError, UsageError
from nada.latents.sampling import sample_latents
from nada.photo.loop import PhotoLoop
from nada.photo.project import ProjectConfig, project
from nada.photo.tune import TuneConfig, tune
from nada.training.config import AdaptConfig
from nada.training.state import load_state, save_state


def config(**changes) -> AdaptConfig:
    return AdaptConfig(**{"source": "photo", "target": "sketch", "iterations": 5, "layers": "all"} | changes)


def stopped(tiny, clip, settings, after=3):
    run = adapt(tiny, clip, settings)
    for step in run:
        if step.iteration == after:
            return run.state(history=[1, 2])
    raise AssertionError("the run ended too early")


def assert_equal(a, b):
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


USUAL = [
    {},
    {"layers": 2, "mixing": 0.5, "views": 2},
    {"train": "lora", "rank": 2, "layers": 2, "train_torgb": True},
]
OTHERS = [
    {"layers": 2, "select_every": 2, "angle_weight": 1.0, "patch_weight": 0.5, "norm_weight": 0.1},
    {"train": "stylespace", "train_mapping": True, "mixing": 1.0},
    {"train": "affine", "train_const": True, "layers": "b8"},
    {"source": "", "global_weight": 0.3},
]


@pytest.mark.parametrize(
    "changes", [*USUAL, *(pytest.param(changes, marks=pytest.mark.slow) for changes in OTHERS)], ids=str
)
def test_a_resumed_run_equals_an_uninterrupted_one(tiny, clip, tmp_path, changes):
    settings = config(**changes)
    whole = list(adapt(tiny, clip, settings))
    save_state(stopped(tiny, clip, settings), tmp_path / "resume.safetensors")
    rest = list(adapt(tiny, clip, settings, resume=load_state(tmp_path / "resume.safetensors")))
    assert [step.iteration for step in rest] == [4, 5]
    assert [step.layers for step in rest] == [step.layers for step in whole[3:]]
    assert [float(step.loss) for step in rest] == [float(step.loss) for step in whole[3:]]
    assert_equal(rest[-1].generator, whole[-1].generator)
    assert rest[-1].generator.metadata == whole[-1].generator.metadata


def photo_of(generator):
    return generator.synthesis(sample_latents(generator, 1, 3)).clamp(-1, 1)


LOOPS = {
    "adapt": lambda generator, clip: adapt(generator, clip, config(layers=2)),
    "lora": lambda generator, clip: adapt(generator, clip, config(train="lora")),
    "project": lambda generator, clip: project(generator, photo_of(generator), ProjectConfig(w_iterations=3), clip),
    "tune": lambda generator, clip: tune(
        generator, sample_latents(generator, 1), photo_of(generator), TuneConfig(iterations=3), clip
    ),
}


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    "loop", [pytest.param(loop, marks=[] if loop in ("adapt", "project") else [pytest.mark.slow]) for loop in LOOPS]
)
def test_no_memory_for_adams_averages_leaves_none_half_made(tiny, clip, monkeypatch, loop, number):
    """A loop that failed there can be repeated, and its state can be saved and restored, bit for bit."""
    init_group, zeros_like, made = torch.optim.Adam._init_group, torch.zeros_like, []

    def full(tensor, **options):
        made.append(tensor)
        if len(made) == number:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return zeros_like(tensor, **options)

    def init_with_little_memory(optimizer, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "zeros_like", full)
            return init_group(optimizer, *arguments)

    whole, run = LOOPS[loop](tiny, clip), LOOPS[loop](tiny, clip)
    monkeypatch.setattr(torch.optim.Adam, "_init_group", init_with_little_memory)
    with pytest.raises(torch.OutOfMemoryError):
        next(run)
    monkeypatch.undo()
    if isinstance(run, PhotoLoop):
        resumed = LOOPS[loop](tiny, clip)
        resumed.restore(run.state())
    else:
        resumed = adapt(tiny, clip, run.config, resume=run.state())
    expected = [float(step.loss) for step in islice(whole, 2)]
    assert [float(step.loss) for step in islice(run, 2)] == expected
    assert [float(step.loss) for step in islice(resumed, 2)] == expected


def test_a_finished_run_can_be_extended(tiny, clip):
    state = stopped(tiny, clip, config(iterations=3))
    *_, whole = adapt(tiny, clip, config(iterations=5))
    for _ in range(2):  # a state can be used repeatedly
        *_, step = adapt(tiny, clip, config(iterations=5), resume=state)
        assert_equal(step.generator, whole.generator)
    with pytest.raises(UsageError, match="has done 3 iterations, more than 2"):
        adapt(tiny, clip, config(iterations=2), resume=state)


@pytest.mark.parametrize("style_weight", [0.0, 2.0])
def test_a_run_to_style_images_is_resumed_without_them(tiny, clip, tmp_path, style_weight):
    images = torch.rand(3, 3, 40, 40) * 2 - 1
    settings = config(target="", source="", layers=2, style_weight=style_weight)
    *_, whole = adapt(tiny, clip, settings, style_images=images)
    run = adapt(tiny, clip, settings, style_images=images)
    next(run)
    save_state(run.state(), tmp_path / "state.safetensors")
    *_, rest = adapt(tiny, clip, settings, resume=load_state(tmp_path / "state.safetensors"))
    assert_equal(rest.generator, whole.generator)


@pytest.mark.parametrize(
    ("styles", "words"),
    [
        ({}, "style_weight compares with style images"),
        ({"style.0": torch.ones(2, 9)}, "the state of the run is damaged: it has no features"),
        ({"style.1": torch.ones(2, 9, 32)}, "the state of the run is damaged: it has no features"),
        ({"style.0": torch.full((2, 9, 32), torch.nan)}, r"style\.0 holds impossible numbers"),
        ({"style.0": torch.ones(2, 9, 7)}, "features of 7 numbers"),
    ],
)
def test_damaged_styles_are_refused(tiny, clip, styles, words):
    images, settings = torch.rand(2, 3, 40, 40) * 2 - 1, config(target="", source="", style_weight=1.0)
    run = adapt(tiny, clip, settings, style_images=images)
    next(run)
    state = run.state()
    del state.tensors["style.0"]
    state.tensors.update(styles)
    with pytest.raises(NadaError, match=words):
        adapt(tiny, clip, settings, resume=state)


def test_the_state_is_a_copy(tiny, clip):
    run = adapt(tiny, clip, config())
    next(run)
    state = run.state()
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    next(run)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors.items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "painting"}, "other settings: target is 'painting' instead of 'sketch'. Only"),
        ({"learning_rate": 0.5}, "learning_rate is 0.5"),
        ({"seed": 3}, "seed is 3"),
        ({"train": "lora"}, "train is 'lora' instead of 'weights'"),
    ],
)
def test_other_settings_are_refused(tiny, clip, changes, words):
    with pytest.raises(UsageError, match=words):
        adapt(tiny, clip, config(**changes), resume=stopped(tiny, clip, config()))


def test_how_it_is_computed_may_change(tiny, clip):
    state = stopped(tiny, clip, config())
    step = next(adapt(tiny, clip, config(cuda_graphs=True), resume=state))
    assert step.iteration == state.recipe["iterations_done"] + 1


def test_other_models_are_refused(tiny, clip, clip_folder):
    state = stopped(tiny, clip, config())
    with pytest.raises(UsageError, match="another base generator"):
        adapt(alive(tiny.config, seed=5), clip, config(), resume=state)
    with pytest.raises(UsageError, match="clip is"):
        adapt(tiny, load_clip(f"{clip_folder}:0.5"), config(), resume=state)
    other = load_clip(str(clip_folder))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    with pytest.raises(UsageError, match="other weights than when the run was started"):
        adapt(tiny, other, config(), resume=state)


def test_files_that_are_no_state_are_refused(tiny, clip, tmp_path):
    with pytest.raises(NadaError, match="does not exist"):
        load_state(tmp_path / "resume.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"noise" * 50)
    with pytest.raises(NadaError, match="this is no run state"):
        load_state(tmp_path / "noise.safetensors")
    state = stopped(tiny, clip, config())
    del state.tensors["trained.b8.conv0.weight"]
    with pytest.raises(NadaError, match=r"b8.conv0.weight is missing"):
        adapt(tiny, clip, config(), resume=state)


def test_notes_travel_with_the_file(tiny, clip, tmp_path):
    state = stopped(tiny, clip, config())
    save_state(state, tmp_path / "resume.safetensors")
    loaded = load_state(tmp_path / "resume.safetensors")
    assert loaded.notes == {"history": [1, 2]}
    assert dataclasses.replace(loaded, tensors={}) == dataclasses.replace(state, tensors={})
