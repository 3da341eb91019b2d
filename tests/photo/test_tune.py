"""Pivotal tuning: the image at the code becomes the photo, and the difference is a style."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from helpers.models import moved

from nada.errors import UsageError
from nada.latents.sampling import sample_latents
from nada.photo.loop import load_photo_state, save_photo_state
from nada.photo.tune import TuneConfig, tune
from nada.runs.out_of_memory import sparing
from nada.styles.files import load_style, save_style
from nada.styles.style import Style, apply_style
from nada.training.config import LEARNING_RATE_FACTORS
from nada.training.trainable import KINDS


@pytest.fixture
def photo(tiny) -> torch.Tensor:
    ws = sample_latents(tiny, 1, 3, 1.0)
    return (tiny.synthesis(ws) + 0.3 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)


def last_of(steps):
    *_, last = steps
    return last


def usual(*usual: str) -> pytest.MarkDecorator:
    """Parametrize with all kinds of changes, of which those that are not usual are slow."""
    return pytest.mark.parametrize(
        "kind", [pytest.param(kind, marks=[] if kind in usual else [pytest.mark.slow]) for kind in KINDS]
    )


def config(**changes) -> TuneConfig:
    return TuneConfig(**{"iterations": 6, "learning_rate": 3e-3} | changes)


@usual("weights")
def test_the_image_comes_nearer_and_the_base_stays(tiny, clip, photo, kind):
    ws, before = sample_latents(tiny, 1, 3, 1.0), tiny.fingerprint()
    steps = [*tune(tiny, ws, photo, config(iterations=30, train=kind), clip)]
    assert steps[-1].loss < 0.99 * steps[0].loss
    assert tiny.fingerprint() == before
    assert steps[-1].generator.fingerprint() != before


def test_the_style_adds_to_an_adaptation(tiny, photo, tmp_path):
    ws = sample_latents(tiny, 1, 3, 1.0)
    run = tune(tiny, ws, photo, config(iterations=30))
    last_of(run)
    save_style(run.style("me"), tmp_path / "me.safetensors")
    style = load_style(tmp_path / "me.safetensors")
    assert (style.name, style.base["fingerprint"]) == ("me", tiny.fingerprint())
    again = apply_style(tiny, style).synthesis(ws)
    assert torch.allclose(again, run.trained.synthesis(ws), atol=2e-3)
    look = Style.between(tiny, moved(tiny, "torgb", 0.02))
    one = apply_style(apply_style(tiny, style), look)
    other = apply_style(apply_style(tiny, look), style)
    assert torch.allclose(one.synthesis(ws), other.synthesis(ws), atol=1e-4)
    assert not one.metadata.get("notes")


def test_low_rank_by_choice_is_smaller(wide):
    ws, photo = sample_latents(wide, 1), torch.zeros(1, 3, 16, 16)
    run = tune(wide, ws, photo, config())
    last_of(run)
    assert run.style(rank=2).size < 0.5 * run.style().size


@usual("weights", "lora")
def test_resumes_as_if_it_had_never_stopped(tiny, clip, photo, tmp_path, kind):
    ws = sample_latents(tiny, 1, 3, 1.0)
    *_, expected = tune(tiny, ws, photo, config(train=kind), clip)
    run = tune(tiny, ws, photo, config(train=kind), clip)
    [*islice(run, 3)]
    save_photo_state(run.state(), tmp_path / "state.safetensors")
    again = tune(tiny, ws, photo, config(train=kind), clip)
    again.restore(load_photo_state(tmp_path / "state.safetensors"))
    *_, last = again
    assert last.iteration == 6
    assert last.generator.fingerprint() == expected.generator.fingerprint()


def test_the_state_of_a_finished_tuning_is_small(tiny, photo):
    ws = sample_latents(tiny, 1, 3, 1.0)
    run = tune(tiny, ws, photo, config())
    next(run)
    half = run.state()
    last_of(run)
    done = run.state()
    assert len(half.tensors) > 2 * len(done.tensors)
    again = tune(tiny, ws, photo, config())
    again.restore(done)
    assert [*again] == []
    assert again.trained.fingerprint() == run.trained.fingerprint()


def test_a_step_without_memory_is_retried_in_pieces(tiny, photo):
    ws, photos = sample_latents(tiny, 3, 3, 1.0), photo.expand(3, -1, -1, -1)
    *_, expected = tune(tiny, ws, photos, config())
    run = tune(tiny, ws, photos, config())
    synthesis, failures, said = run.trained.synthesis.forward, [], []

    def scarce(codes, *rest, **options):
        if len(codes) > 1:
            failures.append(len(codes))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return synthesis(codes, *rest, **options)

    run.trained.synthesis.forward = scarce
    *_, last = sparing(run, run, said.append)
    assert failures
    assert last.iteration == 6
    assert "chunks" in said[0]
    del run.trained.synthesis.forward
    assert torch.allclose(last.generator.synthesis(ws), expected.generator.synthesis(ws), atol=1e-4)


def test_codes_of_another_generator_are_refused(tiny, photo):
    with pytest.raises(UsageError, match="codes are"):
        tune(tiny, torch.zeros(1, 3, 20), photo)
    with pytest.raises(UsageError, match="learning_rate is 0"):
        TuneConfig(learning_rate=0.0)


@pytest.mark.parametrize("kind", LEARNING_RATE_FACTORS)
def test_the_step_size_suits_what_trains(tiny, kind):
    whole = TuneConfig().effective_learning_rate(tiny)
    assert TuneConfig(train=kind).effective_learning_rate(tiny) == pytest.approx(whole * LEARNING_RATE_FACTORS[kind])
    assert TuneConfig(train=kind, learning_rate=0.5).effective_learning_rate(tiny) == 0.5


def test_a_generator_that_was_short_of_memory_trains_fully_the_next_time(tiny, photo):
    tiny.synthesis.recompute = True
    assert not tune(tiny, sample_latents(tiny, 1), photo, config()).trained.synthesis.recompute


def test_photos_are_tuned_with_their_own_noise_in_any_chunks(tiny):
    """With the noise that the photos were made with, the loss is zero from the start."""
    ws = sample_latents(tiny, 3, 3, 1.0)
    random = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(3, 1, *size, generator=random) for name, size in tiny.synthesis.noise_shapes.items()}
    photos = tiny.synthesis(ws, noise)
    losses = {}
    for pieces in (1, 2):
        run = tune(tiny, ws, photos, config(iterations=1), noise=noise)
        run.pieces = pieces
        losses[pieces] = float(last_of(run).loss)
    assert max(losses.values()) < 1e-6 < float(last_of(tune(tiny, ws, photos, config(iterations=1))).loss)
    assert tune(tiny, ws, photos, config(), noise=noise).key != tune(tiny, ws, photos, config()).key
