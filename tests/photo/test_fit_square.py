"""Fitting a square so that a generator can reproduce its content."""

from __future__ import annotations

from math import dist, log

import pytest
import torch
import torch.nn.functional as F

from nada.checkpoint import load_generator
from nada.errors import UsageError
from nada.latents.rendering import generate
from nada.latents.sampling import sample_latents
from nada.photo.crop import Crop, square_crop
from nada.photo.fit_square import fit_square
from nada.stylegan2 import Generator, GeneratorConfig

SIZE = (300, 300)


@pytest.fixture(scope="module")
def demo() -> Generator:
    return load_generator("demo")


def photo_with(generator: Generator, square: Crop, seed: int, psi: float = 0.8) -> torch.Tensor:
    """An image of the generator, placed somewhere in a photo of blurred colors."""
    image = generate(generator, sample_latents(generator, 1, seed, truncation_psi=psi))
    random = torch.Generator().manual_seed(seed)
    colors = F.interpolate(torch.rand(1, 3, 6, 6, generator=random) - 0.5, SIZE, mode="bicubic")
    return square.paste(colors, image, region="square", feather=0.03)[0]


def errors(found: Crop, true: Crop) -> tuple[float, float, float]:
    """Shift in sides, logarithm of the scale, and degrees."""
    shift = dist(found.centre, true.centre) / true.side
    return shift, abs(log(found.side / true.side)), abs(found.roll - true.roll)


@pytest.mark.parametrize("steps", [16, pytest.param(40, marks=pytest.mark.slow)])
def test_a_square_is_found_without_landmarks(demo, steps):
    """The picture is the mean one: heads of this generator move and tilt, which a moved square explains as well."""
    true, start = square_crop((165, 130), 165, SIZE, -11), square_crop((150, 150), 150, SIZE)
    shift, factor, roll = errors(fit_square(demo, photo_with(demo, true, 100, psi=0.0), start, steps), true)
    assert errors(start, true)[0] > 0.15
    assert shift < 0.05
    assert factor < 0.08
    assert roll < 4


@pytest.mark.slow
def test_less_memory_finds_the_same_square(demo, monkeypatch):
    start, photo = square_crop((150, 150), 150, SIZE), torch.rand(1, 3, *SIZE)
    expected = fit_square(demo, photo, start, steps=2)
    tried, forward = [], type(demo.synthesis).forward

    def short_of_memory(synthesis, *inputs, **options):
        tried.append(synthesis.recompute)
        if not synthesis.recompute:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(synthesis, *inputs, **options)

    monkeypatch.setattr(type(demo.synthesis), "forward", short_of_memory)
    found = fit_square(demo, photo, start, steps=2)
    assert tried == [False, True, True]
    assert found.centre == pytest.approx(expected.centre, abs=0.01)
    assert found.right == pytest.approx(expected.right, abs=0.01)
    with pytest.raises(ValueError, match="broken"):
        fit_square(demo, photo, start, steps=1, progress=lambda done: broken())


def broken() -> None:
    raise ValueError("broken")


@pytest.mark.slow
def test_the_start_may_be_turned_and_any_size(demo):
    """The result depends on the square's start relative to the photo, not on the photo's orientation."""
    true = square_crop((165, 130), 150, SIZE, -11)
    photo = photo_with(demo, true, 100)
    found = fit_square(demo, photo, square_crop((150, 150), 150, SIZE), steps=2)
    turned = fit_square(demo, photo.rot90(-1, (2, 3)), square_crop((150, 150), 150, SIZE, 90), steps=2)
    x, y = found.centre
    assert turned.centre == pytest.approx((300 - y, x), abs=0.5)
    assert turned.side == pytest.approx(found.side, rel=1e-2)


def test_progress_and_wrong_steps(small):
    reported = []
    photo = torch.rand(1, 3, 50, 60) * 2 - 1
    fit_square(small, photo, square_crop((30, 25), 40, (50, 60)), steps=2, progress=reported.append)
    assert reported == [1, 2]
    for steps in (0, 10**9):
        with pytest.raises(UsageError, match=r"must be in 1\.\.10000"):
            fit_square(small, photo, square_crop((30, 25), 40, (50, 60)), steps=steps)


@torch.inference_mode()
def test_generators_of_any_shape_and_photos_of_any_kind():
    torch.manual_seed(0)
    tall = Generator(GeneratorConfig(16, (8, 8, 8), z_dim=8, w_dim=8, start=(4, 2), img_channels=1)).eval()
    found = fit_square(tall, torch.rand(1, 2, 40, 40), square_crop((20, 20), 30, (40, 40)), steps=2)
    assert isinstance(found, Crop)
