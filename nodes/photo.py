"""Nodes that cut the square of a face out of a photo, and paste pictures back into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..nada import UsageError, download
from ..nada.generators import Generator
from ..nada.photo.align import EYES, FACE, MIDDLE, POINTS, SQUARE, Placed, Placing, parse_numbers
from ..nada.photo.crop import FEATHER, REGIONS
from ..nada.photo.detectors.yunet import yunet_faces
from ..nada.photo.faces import LARGEST, Face, mesh_faces
from ..nada.photo.fit_square import fit_square
from ..nada.pictures.convert import to_pil
from ..nada.pictures.outlines import outlined
from ..nada.published.catalog import YUNET
from . import host
from .sample import image_bytes
from .sockets import ADVANCED, PHOTOS, NADACrops, NADAGenerator, known_options

FIND = {
    f"face (downloads YuNet, {YUNET.size / 1e6:.1f} MB)": FACE,
    "both eyes by hand": EYES,
    "four points by hand": POINTS,
    "square by hand": SQUARE,
    "middle": MIDDLE,
}


class NADAAlignPhoto(io.ComfyNode):
    """Cut the square of a face out of a photo, aligned as in FFHQ."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAAlignPhoto",
            display_name="Align Photo (StyleGAN)",
            category=PHOTOS,
            description="Cuts the square of a face out of a photo, turned and scaled as in FFHQ, the pictures that "
            "StyleGAN2 learned faces from. Paste Back puts it into the photo again.",
            inputs=[
                io.Image.Input("photo", tooltip="One photo, or the frames of a video."),
                io.Combo.Input(
                    "find",
                    options=[*FIND],
                    default=next(iter(FIND)),
                    tooltip="Change this for pictures without a face. Place of the square: around a face that "
                    "face_landmarks or YuNet finds, at numbers that you write into place, or in the middle, for "
                    "pictures that are aligned already and for buildings, horses and cars.",
                ),
                io.Int.Input(
                    "size",
                    default=1024,
                    min=16,
                    max=4096,
                    step=8,
                    tooltip="Side of the aligned picture in pixels: the generator's resolution, such as 1024 for FFHQ.",
                ),
                io.String.Input(
                    "face",
                    default=LARGEST,
                    optional=True,
                    tooltip="Face to take if there are several: largest, all, or a number from 1, counted from the "
                    "left.",
                    extra_dict=ADVANCED,
                ),
                io.String.Input(
                    "place",
                    default="",
                    optional=True,
                    tooltip="Numbers in pixels, if find is by hand. Both eyes: x, y of the left one in the picture, "
                    "x, y of the right one. Four points: left eye, right eye, left and right corner of the mouth. "
                    "Square: x, y of its middle, its side, and its roll in degrees if it is turned.",
                    extra_dict=ADVANCED,
                ),
                io.Custom("FACE_LANDMARKS").Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="Landmarks of the same photo, from Detect Face Landmarks (MediaPipe) of ComfyUI 0.23 and "
                    "later. With them nothing is downloaded.",
                ),
                NADAGenerator.Input(
                    "fit_to",
                    optional=True,
                    tooltip="Generator to fit the squares to, for animals and things: each square is moved, scaled and "
                    "turned until this generator shows its content best. That takes some seconds.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The aligned pictures, one per face."),
                NADACrops.Output("crops", tooltip="The places of the squares, for Paste Back."),
            ],
            **known_options(search_aliases=["face crop", "ffhq", "align face", "crop face", "dlib", "landmarks"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        photo: Tensor,
        find: str,
        size: int,
        face: str = LARGEST,
        place: str = "",
        face_landmarks: Any = None,
        fit_to: Generator | None = None,
    ) -> io.NodeOutput:
        method = FIND[find]
        by_hand = method not in (FACE, MIDDLE)
        where = Placing(method, parse_numbers(place) if by_hand else (), face if method == FACE else LARGEST)
        progress = host.Progress(len(photo))
        images: list[Tensor] = []
        squares: list[Placed] = []
        for i in range(len(photo)):
            frame = host.from_image(photo[i : i + 1])
            found = _in_picture(len(photo), i, partial(where.place, frame, partial(_faces, face_landmarks, i), i))
            if fit_to is not None:
                found = [_fitted(fit_to, frame, square) for square in found]
            images += [square.crop.sample(frame, size) for square in found]
            squares += found
            if i == 0:
                picture = _marked(frame, found)
            progress.update(i + 1)
        host.say(_summary(squares))
        shown = ui.PreviewImage(host.picture_to_image(picture), cls=cls)
        return io.NodeOutput(host.to_image(torch.cat(images)), squares, ui=shown)


def _marked(photo: Tensor, squares: Sequence[Placed]) -> Image.Image:
    """Draw the squares and points on a photo."""
    points = [point for square in squares for point in square.points]
    return outlined(to_pil(photo)[0], [square.crop.corners for square in squares], points)


def _faces(landmarks: Any, index: int, photo: Tensor) -> list[Face]:
    """Find the faces in a photo: those of ComfyUI's landmarks if they are connected, else with YuNet."""
    if landmarks is not None:
        return mesh_faces(landmarks, index, (photo.shape[-2], photo.shape[-1]))
    if not (host.detector_folder() / YUNET.file).is_file():
        host.say(f"downloading {YUNET.name}, {YUNET.size / 1e6:.1f} MB; license: {YUNET.license}")
    model, _ = download(YUNET, host.detector_folder())
    return yunet_faces(photo, model)


def _fitted(generator: Generator, photo: Tensor, square: Placed) -> Placed:
    """Return the square near `square` that the generator can show best. Cancel works at every iteration."""
    with host.on_device(generator, needs=4 * image_bytes(generator)):
        crop = fit_square(generator, photo, square.crop, progress=lambda step: host.check_cancelled())
    return replace(square, crop=crop)


def _in_picture(count: int, index: int, find: Any) -> list[Placed]:
    """Return what `find` returns; its errors name the picture if there are several."""
    try:
        return find()
    except UsageError as error:
        if count == 1:
            raise
        raise UsageError(f"picture {index + 1} of {count}: {error}") from error


def _summary(squares: Sequence[Placed]) -> str:
    """Describe squares in a line: their number, and side and roll of the first."""
    first = squares[0].crop
    many = [f"{len(squares)} squares, the first of which has"] if len(squares) > 1 else []
    return " | ".join([*many, f"side {first.side:.0f} px", f"roll {first.roll:.1f} degrees"])


class NADAPasteBack(io.ComfyNode):
    """Paste pictures back into the squares of a photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAPasteBack",
            display_name="Paste Back (StyleGAN)",
            category=PHOTOS,
            description="Puts pictures back into the photo that Align Photo cut them out of, with a soft edge. Outside "
            "the mask the photo stays as it is.",
            inputs=[
                io.Image.Input("photo", tooltip="The photo, or the frames, that went into Align Photo."),
                io.Image.Input(
                    "image",
                    tooltip="The pictures to paste: one per aligned picture. Several pictures for a single square give "
                    "one photo each.",
                ),
                NADACrops.Input("crops", tooltip="The places of the squares, from Align Photo."),
                io.Combo.Input(
                    "region",
                    options=[*REGIONS],
                    default=REGIONS[0],
                    tooltip="Change this first. face: only an oval around the face. square: the whole picture.",
                ),
                io.Float.Input(
                    "feather",
                    default=FEATHER,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="Width of the soft edge, as a share of the square's side.",
                ),
                io.Boolean.Input(
                    "match_color",
                    default=False,
                    tooltip="Fit colors and contrast of the picture to those of the photo along the soft edge.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The photo with the pictures in it."),
                io.Mask.Output("mask", tooltip="The changed parts, 0 to 1, for inpainting or blending."),
            ],
            **known_options(search_aliases=["unalign", "uncrop", "face paste", "composite", "paste face"]),
        )

    @classmethod
    @host.explained
    def execute(
        cls,
        photo: Tensor,
        image: Tensor,
        crops: list[Placed],
        region: str,
        feather: float,
        match_color: bool,
    ) -> io.NodeOutput:
        # With one square, one photo serves all pictures, because all belong into the same square.
        if len(crops) == 1 < len(image) and len(photo) in (1, len(image)):
            photo = photo.expand(len(image), -1, -1, -1)
            crops = [Placed(crops[0].crop, photo=i) for i in range(len(image))]
        if len(image) != len(crops) or max(square.photo for square in crops) >= len(photo):
            raise UsageError(
                f"there are {len(image)} pictures and {len(photo)} photos for {len(crops)} squares; give the photos "
                "that went into Align Photo, and one picture for each square"
            )
        progress = host.Progress(len(photo))
        results, masks = [], []
        for i in range(len(photo)):
            result = host.from_image(photo[i : i + 1])
            covered = result.new_zeros(1, 1, *photo.shape[1:3])
            for square, picture in zip(crops, image.split(1), strict=True):
                if square.photo == i:
                    result, mask = square.crop.paste(
                        result, host.from_image(picture), region=region, feather=feather, match_color=match_color
                    )
                    covered = torch.maximum(covered, mask)
            results.append(host.to_image(result))
            masks.append(host.to_mask(covered))
            progress.update(i + 1)
        return io.NodeOutput(torch.cat(results), torch.cat(masks))
