"""Many photos at once, of which the device has memory for a few: nothing takes all of them in one pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.models import alive

from nada.clip.models import ClipModel
from nada.latents.sampling import sample_latents
from nada.photo import loop
from nada.photo.distance import BATCH
from nada.photo.encoders.small import SmallEncoder, SmallEncoderConfig
from nada.photo.invert import fitting_squares
from nada.photo.project import ProjectConfig, project
from nada.photo.tune import TuneConfig, tune
from nada.runs.out_of_memory import sparing
from nada.stylegan2 import GeneratorConfig

PHOTOS = 2 * BATCH + 3


class Pixels(torch.nn.Module):
    """Stands in for LPIPS."""

    name = "vgg"

    def layers(self, images):
        return [images, images[..., ::2, ::2]]

    def distance(self, first, second):
        return sum((a - b).square().mean((1, 2, 3)) for a, b in zip(first, second, strict=True))


@pytest.fixture
def photos() -> torch.Tensor:
    return torch.rand(PHOTOS, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def encoder_for(generator) -> SmallEncoder:
    sizes = SmallEncoderConfig(8, (8,), 8, generator.num_ws, generator.config.w_dim)
    torch.manual_seed(0)
    return SmallEncoder(sizes, generator.fingerprint()).eval().requires_grad_(False)


def projected(base, photos, clip):
    start = encoder_for(base).encode(photos, base)
    return project(base, photos, ProjectConfig(plus_iterations=2), clip, start)


def tuned(base, photos, clip):
    ws = sample_latents(base, 1).expand(len(photos), -1, -1)
    return tune(base, ws, photos, TuneConfig(iterations=2), clip)


def limit(patch, owner: type, name: str, taken: list[int]) -> None:
    """Let a method run out of memory for more than `BATCH` images; list the numbers that it got."""
    method = getattr(owner, name)

    def limited(self, images, *rest, **options):
        taken.append(len(images))
        if len(images) > BATCH:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return method(self, images, *rest, **options)

    patch.setattr(owner, name, limited)


@pytest.mark.parametrize("make", [projected, tuned])
def test_memory_for_a_few_photos_is_enough_for_many(tiny, clip, photos, monkeypatch, make):
    monkeypatch.setattr(loop, "find_lpips", Pixels)
    whole = make(tiny, photos, clip)
    *_, expected = whole
    taken: list[int] = []
    for owner, name in (
        (type(tiny.synthesis), "forward"),
        (ClipModel, "encode_image"),
        (Pixels, "layers"),
        (SmallEncoder, "forward"),
    ):
        limit(monkeypatch, owner, name, taken)
    run = make(tiny, photos, clip)
    assert max(taken) == BATCH, "the start cannot be repeated in smaller chunks"
    *_, last = sparing(run, run)
    assert run.key == whole.key
    assert last.iteration == 2
    assert torch.allclose(last.loss, expected.loss, atol=1e-4)


def test_features_in_chunks_are_those_of_all(tiny, clip, photos, monkeypatch):
    monkeypatch.setattr(loop, "find_lpips", Pixels)
    distance = tuned(tiny, photos, clip).distance
    assert max(distance(photos)["clip"]) < 1e-6
    assert max(distance(photos)["lpips"]) == 0
    assert min(distance(photos.roll(1, 0))["clip"]) > 1e-4


def test_photos_are_not_copied(tiny, photos):
    run = project(tiny, photos, ProjectConfig(w_iterations=1, plus_iterations=1))
    before = photos.clone()
    *_, _ = run
    assert run.photos.data_ptr() == run.distance.photos.data_ptr() == photos.data_ptr()
    assert torch.equal(photos, before)


def test_photos_made_in_inference_mode(tiny, clip, photos, monkeypatch):
    monkeypatch.setattr(loop, "find_lpips", Pixels)
    with torch.inference_mode():
        made = photos.clone()
        losses = [float(step.loss) for step in tuned(tiny, made, clip)]
    assert losses == [float(step.loss) for step in tuned(tiny, photos, clip)]


@pytest.mark.parametrize("start", [(4, 4), (4, 2), (2, 4)])
@pytest.mark.parametrize("factor", [1, 3])
def test_pictures_of_a_generators_shape_go_in_as_they_are(start, factor):
    """Also those that are not square, and of any size."""
    generator = alive(GeneratorConfig(32, (16, 16, 12, 8), z_dim=16, w_dim=20, mapping_layers=2, start=start))
    height, width = generator.config.image_size
    fine = F.interpolate(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1,
                         scale_factor=float(factor), mode="nearest")  # fmt: skip
    fitted = fitting_squares(fine, generator)
    expected = F.interpolate(fine, (height, width), mode="area")
    assert fitted.shape == expected.shape
    error = (fitted - expected).abs().mean(1)
    middle = error[:, 6:-6, 6:-6].mean()
    assert error[:, [0, -1]].mean() < 1.5 * middle + 1e-3, "nothing is blurred at the rim"
    assert error[:, :, [0, -1]].mean() < 1.5 * middle + 1e-3
