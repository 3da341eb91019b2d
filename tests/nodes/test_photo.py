"""Align Photo and Paste Back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nada import NadaError, UsageError
from nada.photo.crop import square_crop
from nada.photo.faces import LEFT_EYE, RIGHT_EYE
from nada.pictures.convert import from_pil
from nada.pictures.reading import read_picture

PHOTO = Path(__file__).parents[1] / "photo" / "pictures" / "astronaut.jpg"
EYES = "202.4, 101, 245.6, 103.3"


@pytest.fixture
def photo() -> torch.Tensor:
    """A picture in Load Image's layout: [1, H, W, 3] in [0, 1]."""
    return (from_pil(read_picture(PHOTO)).movedim(1, -1) + 1) / 2


def choice(host, method: str) -> str:
    return next(name for name, found in host.nodes.photo.FIND.items() if found == method)


def landmarks(*faces: list[tuple[float, float]], frames: int = 1) -> dict:
    """The output of ComfyUI's detector node, with these four points for each face of each frame."""
    found = []
    for left, right, *mouth in faces:
        places = np.zeros((478, 2), dtype=np.float32)
        places[list(LEFT_EYE)], places[list(RIGHT_EYE)] = left, right
        places[61], places[291] = mouth
        found.append({"landmarks_xy": places})
    return {"frames": [found] * frames, "image_size": (512, 512), "connection_sets": {}}


ASTRONAUT = [(202.4, 101.0), (245.6, 103.3), (203.5, 140.0), (246.0, 141.0)]
OTHER = [(x + 150, y + 60) for x, y in ASTRONAUT]


def test_a_face_goes_out_and_back(host, photo):
    with torch.inference_mode():  # as ComfyUI runs every node
        out = host.nodes.NADAAlignPhoto.execute(photo, choice(host, "face"), 256, face_landmarks=landmarks(ASTRONAUT))
        image, crops = out.args
        assert image.shape == (1, 256, 256, 3)
        assert out.ui.as_dict()["images"]
        assert "side 17" in host.texts[-1]
        back, mask = host.nodes.NADAPasteBack.execute(photo, image, crops, "square", 0.1, False).args
    assert back.shape == photo.shape
    assert mask.shape == (1, 512, 512)
    assert (back - photo).abs()[mask == 0].max() < 1e-6
    assert (back - photo).abs().mean() < 1 / 255


def test_landmarks_and_hand_agree(host, photo):
    def sampled(method, **options):
        return host.nodes.NADAAlignPhoto.execute(photo, choice(host, method), 64, **options).args[0]

    by_hand = sampled("points", place=" ".join(str(n) for point in ASTRONAUT for n in point))
    assert torch.allclose(sampled("face", face_landmarks=landmarks(ASTRONAUT)), by_hand, atol=1e-3)
    assert (sampled("eyes", place=EYES) - by_hand).abs().mean() < 0.05
    assert sampled("square", place="224;106;174;3").shape == by_hand.shape
    assert (sampled("middle", place="ignored") - by_hand).abs().mean() > 0.05


def test_every_face_of_every_frame_goes_back_to_its_place(host, photo):
    frames = photo.repeat(2, 1, 1, 1)
    image, crops = host.nodes.NADAAlignPhoto.execute(
        frames, choice(host, "face"), 64, "all", face_landmarks=landmarks(ASTRONAUT, OTHER, frames=2)
    ).args
    assert [square.photo for square in crops] == [0, 0, 1, 1]
    black = torch.zeros_like(image)
    black[2:] = 1
    back, mask = host.nodes.NADAPasteBack.execute(frames, black, crops, "square", 0.0, False).args
    assert back.shape == frames.shape
    for i, value in enumerate((0, 1)):
        for x, y in ((224, 106), (374, 166)):
            assert (back[i, y, x] - value).abs().max() < 1e-5
    assert mask[0].mean() < 0.35
    assert host.progress[-1][0] == 2


def test_several_pictures_for_one_square_give_a_photo_each(host, photo):
    _, crops = host.nodes.NADAAlignPhoto.execute(photo, choice(host, "eyes"), 64, place=EYES).args
    back, mask = host.nodes.NADAPasteBack.execute(
        photo, torch.stack([torch.full((32, 32, 3), value) for value in (0.0, 0.5, 1.0)]), crops, "face", 0.1, False
    ).args
    assert len(back) == len(mask) == 3
    assert back[:, 106, 224, 0].tolist() == pytest.approx([0, 0.5, 1], abs=1e-3)
    with pytest.raises(UsageError, match="2 pictures and 1 photos for 3 squares"):
        host.nodes.NADAPasteBack.execute(photo, back[:2], crops * 3, "face", 0.1, False)
    with pytest.raises(UsageError, match="3 pictures and 2 photos for 1 squares"):
        host.nodes.NADAPasteBack.execute(photo.repeat(2, 1, 1, 1), back, crops, "face", 0.1, False)


def test_yunet_is_downloaded_when_it_is_picked_and_no_landmarks_are_connected(host, photo, monkeypatch):
    fetched = []

    def download(model, folder):
        fetched.append((model.name, folder))
        return folder / model.file, []

    monkeypatch.setattr(host.nodes.photo, "download", download)
    seen = host.nodes.photo.Face(tuple(ASTRONAUT))
    monkeypatch.setattr(host.nodes.photo, "yunet_faces", lambda photo, model: [seen])
    host.nodes.NADAAlignPhoto.execute(photo, choice(host, "face"), 64, face_landmarks=landmarks(ASTRONAUT))
    assert not fetched
    host.nodes.NADAAlignPhoto.execute(photo, choice(host, "face"), 64)
    assert fetched == [("yunet", host.folder / "models" / "detection")]
    assert any("MIT" in text for text in host.texts)


def test_the_square_is_fitted_to_a_generator(host, small, photo, monkeypatch):
    def fit(generator, frame, start, progress):
        assert generator is small
        assert not frame.is_inference()
        progress(1)
        return square_crop(start.centre, 0.5 * start.side, start.size)

    monkeypatch.setattr(host.nodes.photo, "fit_square", fit)
    with torch.inference_mode():
        _, crops = host.nodes.NADAAlignPhoto.execute(photo, choice(host, "middle"), 64, fit_to=small).args
    assert crops[0].crop.side == 256


def test_cancel_stops_between_frames(host, photo):
    host.cancel_after = 2
    with pytest.raises(host.cancelled):
        host.nodes.NADAAlignPhoto.execute(photo.repeat(5, 1, 1, 1), choice(host, "middle"), 32)
    assert len(host.progress) == 2


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 2, 40, 3), "40 x 2 pixels"), ((3, 2, 40, 3), "picture 1 of 3: the photo has 40 x 2 pixels")],
)
def test_photos_without_pixels_to_cut_are_refused(host, shape, message):
    with pytest.raises(UsageError, match=message):
        host.nodes.NADAAlignPhoto.execute(torch.zeros(shape), choice(host, "middle"), 32)
    assert message in host.texts[-1]


@pytest.mark.parametrize("shape", [(1, 10, 10, 3), (1, 60, 50, 4), (1, 64, 64, 1)])
def test_photos_of_any_kind(host, shape):
    image, crops = host.nodes.NADAAlignPhoto.execute(torch.rand(shape), choice(host, "middle"), 32).args
    assert image.shape == (1, 32, 32, 3)
    back, _ = host.nodes.NADAPasteBack.execute(torch.rand(shape), image, crops, "square", 0.1, True).args
    assert back.shape == (*shape[:3], 3)


def test_no_face_and_wrong_numbers_get_a_sentence(host, photo):
    align = host.nodes.NADAAlignPhoto.execute
    with pytest.raises(NadaError, match="no face was found"):
        align(photo, choice(host, "face"), 32, face_landmarks=landmarks())
    with pytest.raises(NadaError, match="takes 4 numbers"):
        align(photo, choice(host, "eyes"), 32, place="1, 2")
    with pytest.raises(NadaError, match="same pictures"):
        align(photo[:, :300], choice(host, "face"), 32, face_landmarks=landmarks(ASTRONAUT))


def test_pictures_that_are_not_square_keep_their_shape(host, photo):
    """They are pasted into the middle of the square that they were cut out of."""
    _, crops = host.nodes.NADAAlignPhoto.execute(photo, choice(host, "eyes"), 64, place=EYES).args
    tall = torch.rand(1, 64, 32, 3)
    wide = torch.cat([torch.zeros(1, 64, 16, 3), tall, torch.ones(1, 64, 16, 3)], 2)
    paste = lambda image: host.nodes.NADAPasteBack.execute(photo, image, crops, "square", 0.1, False).args
    (narrow, mask), (whole, _) = paste(tall), paste(wide)
    assert torch.allclose(narrow[mask == 1], whole[mask == 1], atol=1e-3)
    assert torch.equal(narrow[mask == 0], photo[mask == 0])
    assert (mask > 0).sum() == pytest.approx(crops[0].crop.side ** 2 / 2, rel=0.05)
