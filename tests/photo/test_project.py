"""Projection finds codes for each photo separately, in W and then in W+, and resumes exactly."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from helpers.toy_family import ToyGenerator

from nada.errors import NadaError, UsageError
from nada.latents.sampling import sample_latents
from nada.photo.loop import load_photo_state, save_photo_state
from nada.photo.project import ProjectConfig, noise_penalty, project, w_spread


def config(**changes) -> ProjectConfig:
    return ProjectConfig(**{"w_iterations": 4, "plus_iterations": 4} | changes)


def photos_of(generator, count: int = 2, seed: int = 5) -> torch.Tensor:
    return generator.synthesis(sample_latents(generator, count, seed, 1.0)).clamp(-1, 1)


def last_of(steps):
    *_, last = steps
    return last


@pytest.mark.parametrize("family", ["stylegan2", pytest.param("toy", marks=pytest.mark.slow)])
def test_finds_images_like_the_photos(tiny, clip, family):
    generator = tiny if family == "stylegan2" else ToyGenerator()
    photos = photos_of(generator)
    steps = [*project(generator, photos, config(w_iterations=60, plus_iterations=40, learning_rate=0.3), clip)]
    first, last = steps[0], steps[-1]
    assert len(steps) == 100
    assert last.losses["pyramid"] < 0.4 * first.losses["pyramid"]
    made = generator.synthesis(last.ws)
    mean = generator.synthesis(generator.mapping.w_avg.expand_as(last.ws))
    assert (made - photos).square().mean() < 0.2 * (mean - photos).square().mean()


def test_one_code_in_w_then_one_for_each_layer(small):
    steps = [*project(small, photos_of(small), config())]
    rows = [(step.ws - step.ws[:, :1]).abs().amax() for step in steps]
    assert max(rows[:4]) == 0
    assert min(rows[4:]) > 0


@pytest.mark.slow
def test_a_heavy_pull_keeps_the_codes_near_w(tiny):
    photos = photos_of(tiny)
    moved = []
    for pull in (0.0, 100.0):
        steps = [*project(tiny, photos, config(plus_iterations=20, pull=pull))]
        moved.append((steps[-1].ws - steps[3].ws).norm())
    assert moved[1] < 0.2 * moved[0]


def test_each_photo_is_projected_by_itself(tiny, clip):
    photos = photos_of(tiny, 3)
    together = last_of(project(tiny, photos, config(), clip)).ws
    alone = last_of(project(tiny, photos[:1], config(), clip)).ws
    assert torch.allclose(together[:1], alone, atol=2e-3)


@pytest.mark.parametrize("fit_noise", [pytest.param(False, marks=pytest.mark.slow), True])
def test_pieces_change_nothing(tiny, clip, fit_noise):
    photos = photos_of(tiny, 3)
    runs = [project(tiny, photos, config(fit_noise=fit_noise), clip) for _ in range(2)]
    assert [runs[1].spare_memory() for _ in range(3)] == [True, True, False]
    whole, pieces = (last_of(run).ws for run in runs)
    assert torch.allclose(whole, pieces, atol=2e-3)  # Adam amplifies tiny gradients
    assert runs[1].images_at_once == 1


def test_begins_with_an_encoders_codes(small):
    start = sample_latents(small, 2, 5, 1.0) + 0.05 * torch.randn(2, small.num_ws, 20)
    run = project(small, photos_of(small), config(learning_rate=1e-3), start=start)
    assert len(run) == 4
    assert (last_of(run).ws - start).abs().amax() < 0.02


STOPS = [(stop, fit_noise) for stop in (1, 3, 4, 5, 7) for fit_noise in (False, True)]
FEW = {(3, True), (4, True)}  # in W, and at its end


@pytest.mark.parametrize(
    ("stop", "fit_noise"), [pytest.param(*case, marks=[] if case in FEW else [pytest.mark.slow]) for case in STOPS]
)
def test_resumes_as_if_it_had_never_stopped(tiny, clip, tmp_path, stop, fit_noise):
    photos, settings = photos_of(tiny), config(fit_noise=fit_noise)
    whole = project(tiny, photos, settings, clip)
    expected = [*whole][-1]
    run = project(tiny, photos, settings, clip)
    [*islice(run, stop)]
    save_photo_state(run.state(), tmp_path / "state.safetensors")
    again = project(tiny, photos, settings, clip)
    again.restore(load_photo_state(tmp_path / "state.safetensors"))
    rest = [*again]
    assert [step.iteration for step in rest] == [*range(stop + 1, 9)]
    assert torch.equal(rest[-1].ws, expected.ws)
    assert all(torch.equal(maps, whole.fitted_noise()[name]) for name, maps in again.fitted_noise().items())


def test_refuses_the_state_of_another_run(small):
    run = project(small, photos_of(small), config())
    next(run)
    for other in (
        project(small, photos_of(small, seed=6), config()),
        project(small, photos_of(small), config(pull=1.0)),
    ):
        with pytest.raises(UsageError, match="another run"):
            other.restore(run.state())
    state = run.state()
    for name in ("pivot", "trained.codes"):
        state.tensors[name] = torch.zeros(7)
        with pytest.raises(NadaError, match="damaged"):
            project(small, photos_of(small), config()).restore(state)


def test_fits_noise_that_stays_noise(small):
    run = project(small, photos_of(small), config(fit_noise=True, w_iterations=10))
    for _ in run:
        for maps in run.fitted_noise().values():
            assert maps.mean((1, 2, 3)).abs().amax() < 1e-5
            assert (maps.square().mean((1, 2, 3)) - 1).abs().amax() < 1e-3
    assert set(run.fitted_noise()) == set(small.synthesis.noise_shapes)
    picture = torch.linspace(-1.7, 1.7, 256).expand(1, 1, 16, 16 * 16)[..., :16]
    assert noise_penalty({"a": picture}) > 10 * noise_penalty({"a": torch.randn(1, 1, 16, 16)})


def test_noise_of_families_without_noise_is_none(clip):
    toy = ToyGenerator()
    run = project(toy, photos_of(toy), config(fit_noise=True), clip)
    next(run)
    assert run.fitted_noise() == {}


def test_the_unit_of_the_step_size_is_the_deviation_of_w(small):
    z = torch.randn(4000, 16)
    w = small.mapping.w(z) - small.mapping.w_avg
    assert w_spread(small) == pytest.approx(float(w.square().mean().sqrt()), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"w_iterations": 0, "plus_iterations": 0}, "both 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"pyramid_weight": -1.0}, "pyramid_weight"),
    ],
)
def test_settings_that_find_nothing_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        config(**changes)


def test_photos_and_codes_that_do_not_fit_are_refused(small, clip):
    with pytest.raises(UsageError, match=r"\[N, 3, 32, 32\]"):
        project(small, torch.zeros(1, 3, 16, 16), config())
    with pytest.raises(UsageError, match="codes to start from"):
        project(small, torch.zeros(1, 3, 32, 32), config(), start=torch.zeros(1, 2, 20))
    with pytest.raises(UsageError, match="nothing compares"):
        project(small, torch.zeros(1, 3, 32, 32), config(pyramid_weight=0.0))
    with pytest.raises(UsageError, match="plus_iterations is 0"):
        project(small, torch.zeros(1, 3, 32, 32), config(plus_iterations=0), start=torch.zeros(1, small.num_ws, 20))
