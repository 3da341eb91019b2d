"""Crop a square out of a photo, and paste an image back into its place.

Points are in pixels of the photo: (0, 0) is the top left corner, and the centre of the first pixel is (0.5, 0.5).
"Left" means left in the picture. The formula for faces is that of the FFHQ data set (Karras et al. 2019, appendix A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, degrees, hypot, isfinite, radians, sin
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoint.metadata import NUMBER, damaged, fits
from ..errors import UsageError
from ..pictures.convert import to_rgb
from .resampling import blurred, places_of, resample, scaling, shift

Point = tuple[float, float]

# FFHQ: half a side is 2 times the distance of the eyes, or 1.8 times that from eyes to mouth if this is more; the
# middle is 0.1 times the latter below the eyes.
EYES, EYES_TO_MOUTH, DOWN = 2.0, 1.8, 0.1
MOUTH = 1.04  # distance from eyes to mouth where the mouth is unknown, in distances between the eyes
MIN_SIDE, MAX_SIDE = 4, 1 << 16  # limits of a square's side, in pixels of the photo
MIN_PHOTO, MAX_PHOTO = 4, 1 << 16  # limits of a photo's sides, in pixels
BORDER, PADDING = 0.1, 0.3  # FFHQ: margins around a square that leaves the photo, in sides of the square
BLUR = 0.02  # FFHQ: sigma of the blur beyond the photo's edge, in sides of the square
FACE = (0.5, 0.54, 0.35, 0.43)  # ellipse of a face in its square: centre x and y, radii x and y
FEATHER = 0.1  # width of a mask's soft edge, in sides of the square
GAINS = 0.5, 2.0  # limits of the factor by which a color match changes contrast
MAX_COORDINATE = 1e7
REGIONS = ("face", "square")
_SHAPE = {"square": [NUMBER], "photo": [int]}


@dataclass(frozen=True)
class Crop:
    """A square in a photo, possibly turned, that may reach beyond the photo's edges.

    Raises:
        UsageError: the square is too small or too large, or does not overlap the photo.
    """

    centre: Point
    """Middle of the square, in pixels of the photo."""
    right: Point
    """Vector from the middle of the square to the middle of its right edge, in pixels; gives side and roll."""
    size: tuple[int, int]
    """Height and width of the photo."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre", tuple(map(float, self.centre)))
        object.__setattr__(self, "right", tuple(map(float, self.right)))
        object.__setattr__(self, "size", tuple(self.size))
        if not all(MIN_PHOTO <= side <= MAX_PHOTO for side in self.size):
            height, width = self.size
            raise UsageError(f"the photo has {width} x {height} pixels; its sides must be in {MIN_PHOTO}..{MAX_PHOTO}")
        if not all(isfinite(number) and abs(number) <= MAX_COORDINATE for number in (*self.centre, *self.right)):
            raise UsageError(f"the square's middle is {self.centre}; points must be in pixels of the photo")
        if not MIN_SIDE <= self.side <= MAX_SIDE:
            raise UsageError(
                f"the square has a side of {self.side:.1f} pixels; it must be in {MIN_SIDE}..{MAX_SIDE}. Are the "
                "points in pixels of this photo?"
            )
        left, top, right, bottom = self.box
        if right <= 0 or bottom <= 0 or left >= self.size[1] or top >= self.size[0]:
            raise UsageError(
                f"the square around {self.centre[0]:.0f},{self.centre[1]:.0f} lies outside the photo of "
                f"{self.size[1]} x {self.size[0]} pixels; give points in pixels from its top left corner"
            )

    @property
    def side(self) -> float:
        """Length of an edge, in pixels of the photo."""
        return 2 * hypot(*self.right)

    @property
    def roll(self) -> float:
        """Clockwise turn of the square, in degrees."""
        return degrees(atan2(self.right[1], self.right[0]))

    @property
    def matrix(self) -> tuple[tuple[float, float, float], ...]:
        """3x3 matrix that maps places in the square, (0, 0) top left to (1, 1) bottom right, to pixels of the photo."""
        (cx, cy), (x, y) = self.centre, self.right
        return (2 * x, -2 * y, cx - x + y), (2 * y, 2 * x, cy - y - x), (0.0, 0.0, 1.0)

    @property
    def corners(self) -> tuple[Point, ...]:
        """Top left, bottom left, bottom right and top right corner of the square, in pixels of the photo."""
        (cx, cy), (x, y) = self.centre, self.right
        return (cx - x + y, cy - y - x), (cx - x - y, cy - y + x), (cx + x - y, cy + y + x), (cx + x + y, cy + y - x)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the upright box around the square."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def to_json(self) -> dict[str, Any]:
        """Return the crop as JSON-able data, for the metadata of files."""
        return {"square": [*self.centre, *self.right], "photo": [*self.size]}

    @classmethod
    def from_json(cls, value: Any) -> Crop:
        """Restore a crop from the data of `to_json`, which come from an untrusted file.

        Raises:
            CheckpointError: the data describe no crop.
        """
        if fits(value, _SHAPE) and len(value["square"]) == 4 and len(value["photo"]) == 2:
            x, y, *right = value["square"]
            try:
                return cls((x, y), (right[0], right[1]), tuple(value["photo"]))
            except (UsageError, OverflowError):  # OverflowError: a whole number too large for a float
                pass
        raise damaged("crop")

    def sample(self, photo: Tensor, size: int, shown: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Sample the square as an image, once, with an antialiasing filter.

        If the square reaches beyond the photo, the photo is reflected there, blurred, and faded to the median color, as
        in FFHQ.

        Args:
            photo: [1, C, H, W] in [-1, 1]: grey, grey with alpha, RGB or RGBA.
            size: side of the image in pixels.
            shown: shares of the square's height and width that are used, around the middle; nothing is blurred if the
                rest alone is beyond the photo.

        Returns:
            [1, 3, size, size] in [-1, 1].

        Raises:
            UsageError: the crop was made for a photo of another size.
        """
        self._check(photo)
        image = resample(to_rgb(photo.float()), self._forward() @ scaling(1 / size, 1 / size), (size, size))
        if self._leaves_photo(shown):
            image = self._softened(image)
        return image.clamp(-1, 1)

    def paste(
        self,
        photo: Tensor,
        image: Tensor,
        *,
        region: str = "face",
        feather: float = FEATHER,
        match_color: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Paste an image into the photo in place of the square.

        Args:
            photo: [1, C, H, W] in [-1, 1]; alpha is dropped.
            image: [1, C, h, w] in about [-1, 1], from `sample`, unchanged or edited. An image that is not square, as of
                a generator of such images, replaces the middle of the square only.
            region: part of the square to replace, one of `REGIONS`: "face" (an ellipse) or "square" (all of it).
            feather: width of the mask's soft edge in sides of the square, 0..0.5.
            match_color: give the image the mean and contrast of the photo's colors in the soft edge.

        Returns:
            The photo [1, 3, H, W] in [-1, 1], unchanged bit for bit outside the mask; and the mask [1, 1, H, W] in
            [0, 1].

        Raises:
            UsageError: the crop was made for a photo of another size, or a choice is unknown.
        """
        self._check(photo)
        height, width = image.shape[-2:]
        covered = height / max(height, width), width / max(height, width)
        mask = self.mask(region, feather, covered).to(photo.device)
        photo, image = to_rgb(photo.float()), _padded(to_rgb(image.float()).to(photo.device))
        left, top, right, bottom = self._inside()
        rows, columns = slice(top, bottom), slice(left, right)
        part, weight = photo[..., rows, columns], mask[..., rows, columns]
        to_image = scaling(image.shape[-1], image.shape[-2]) @ self._inverse() @ shift(left, top)
        pasted = resample(image, to_image, (bottom - top, right - left)).clamp(-1, 1)
        edge = (weight * (1 - weight)).sqrt()
        if match_color and edge.any():  # the soft edge may lie outside a small photo
            pasted = _matched(pasted, part, edge)
        result = photo.clone()
        result[..., rows, columns] = torch.where(weight > 0, part + weight * (pasted - part), part)
        return result, mask

    def mask(self, region: str = "face", feather: float = FEATHER, covered: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Return the mask of the pasted image, [1, 1, H, W] in [0, 1]; see `paste`.

        Args:
            region, feather: as for `paste`.
            covered: shares of the square's height and width that the image covers, around the middle.
        """
        check_pasting(region, feather)
        mask = torch.zeros(1, 1, *self.size)
        left, top, right, bottom = self._inside()
        u, v = places_of(self._inverse() @ shift(left, top), (bottom - top, right - left)).unbind(-1)
        feather = min(feather, *(share / 2 for share in covered))  # a wider edge would make the middle transparent
        inside = torch.minimum(covered[1] / 2 - (u - 0.5).abs(), covered[0] / 2 - (v - 0.5).abs())
        if region == "face":
            x, y, rx, ry = FACE
            oval = (1 - (((u - x) / rx) ** 2 + ((v - y) / ry) ** 2).sqrt()) * min(rx, ry)
            feather = min(feather, rx, ry)
            inside = torch.minimum(oval, inside)  # the whole square has room for the whole oval
        soft = (inside / max(feather, 1 / self.side)).clamp(0, 1)  # never sharper than a pixel
        mask[0, 0, top:bottom, left:right] = soft * soft * (3 - 2 * soft)
        return mask

    def _leaves_photo(self, shown: tuple[float, float]) -> bool:
        """Whether the shown part of the square reaches beyond the photo, by more than a rounding error."""
        down, across = (share / 2 for share in shown)
        places = torch.tensor([[0.5 + x, 0.5 + y, 1.0] for x in (-across, across) for y in (-down, down)])
        x, y, _ = (places.double() @ self._forward().T).unbind(1)
        beyond = max(-x.min(), -y.min(), x.max() - self.size[1], y.max() - self.size[0])
        return float(beyond) > 1e-6 * self.side

    def _check(self, photo: Tensor) -> None:
        if tuple(photo.shape[-2:]) != self.size or photo.ndim != 4 or len(photo) != 1:
            height, width = self.size
            raise UsageError(
                f"the photo is {list(photo.shape)}; the square was found in one of {width} x {height} pixels. Give "
                "the same photo to both steps"
            )

    def _inside(self) -> tuple[int, int, int, int]:
        """Return the box of the square inside the photo: left, top, right, bottom in whole pixels."""
        left, top, right, bottom = self.box
        return (
            max(int(left), 0),
            max(int(top), 0),
            min(int(right) + 1, self.size[1]),
            min(int(bottom) + 1, self.size[0]),
        )

    def _forward(self) -> Tensor:
        """Return `matrix` as a tensor, float64."""
        return torch.tensor(self.matrix, dtype=torch.float64)

    def _inverse(self) -> Tensor:
        """Return the 3x3 matrix that maps pixels of the photo to places in the square."""
        return torch.linalg.inv(self._forward())

    def _softened(self, image: Tensor) -> Tensor:
        """Blur the parts of a sampled square beyond the photo's edges, and fade them to the median color."""
        size = image.shape[-1]
        left, top, right, bottom = self.box
        (height, width), side = self.size, self.side
        x, y = places_of(self._forward() @ scaling(1 / size, 1 / size), (size, size)).unbind(-1)
        beyond = [(-x, -left), (x - width, right - width), (-y, -top), (y - height, bottom - height)]
        shares = [distance / max(furthest + BORDER * side, PADDING * side) for distance, furthest in beyond]
        share = torch.stack(shares).amax(dim=0).to(image)  # 0 at the edge, up to 1 outside
        image = image + (blurred(image, BLUR * size) - image) * (3 * share + 1).clamp(0, 1)
        median = image.flatten(2).median(dim=2).values[..., None, None]
        return image + (median - image) * share.clamp(0, 1)


def _padded(image: Tensor) -> Tensor:
    """Pad an image [1, C, h, w] to a square by its edges, which its mask leaves out."""
    height, width = image.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    around = (left, side - width - left, top, side - height - top)
    return F.pad(image, around, mode="replicate") if any(around) else image


def check_pasting(region: str, feather: float) -> None:
    """Check the arguments of `Crop.paste` early, before a photo is fitted for minutes.

    Raises:
        UsageError: an argument is out of range.
    """
    if region not in REGIONS:
        raise UsageError(f"the region is {region!r}; it must be one of {', '.join(REGIONS)}")
    if not 0 <= feather <= 0.5:
        raise UsageError(f"the feather is {feather}; it must be in 0..0.5 sides of the square")


def face_crop(points: Sequence[Point], size: tuple[int, int]) -> Crop:
    """Return the square of a face as in FFHQ.

    Args:
        points: middle of the left and the right eye, left and right corner of the mouth, left and right as seen in the
            picture; or all four with the person's left and right.
        size: height and width of the photo.

    Raises:
        UsageError: the points are not four in different places, or the square lies outside the photo.
    """
    if len(points) != 4:
        raise UsageError(f"there are {len(points)} points; give both eyes and both corners of the mouth: four points")
    left, right, *mouth = points
    eyes = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    across = (right[0] - left[0], right[1] - left[1])
    down = ((mouth[0][0] + mouth[1][0]) / 2 - eyes[0], (mouth[0][1] + mouth[1][1]) / 2 - eyes[1])
    if across[0] * down[1] < across[1] * down[0]:  # left and right are the person's
        across = (-across[0], -across[1])
    direction = (across[0] + down[1], across[1] - down[0])
    half_side = max(EYES * hypot(*across), EYES_TO_MOUTH * hypot(*down))
    if not hypot(*direction):
        raise UsageError(f"the points {list(points)} are no face: they must lie in different places")
    return Crop(
        (eyes[0] + DOWN * down[0], eyes[1] + DOWN * down[1]),
        (direction[0] / hypot(*direction) * half_side, direction[1] / hypot(*direction) * half_side),
        size,
    )


def eyes_crop(left: Point, right: Point, size: tuple[int, int]) -> Crop:
    """Return the square of an upright face from the middles of its eyes alone; see `face_crop`."""
    left, right = sorted((left, right))
    x, y = right[0] - left[0], right[1] - left[1]
    below = [(point[0] - MOUTH * y, point[1] + MOUTH * x) for point in (left, right)]
    return face_crop([left, right, *below], size)


def square_crop(centre: Point, side: float, size: tuple[int, int], roll: float = 0.0) -> Crop:
    """Return a square that is given by its middle and side.

    Args:
        centre: middle of the square, in pixels of the photo.
        side: length of an edge, in pixels.
        size: height and width of the photo.
        roll: clockwise turn, in degrees.
    """
    angle = radians(roll)
    return Crop(centre, (side / 2 * cos(angle), side / 2 * sin(angle)), size)


def middle_crop(size: tuple[int, int]) -> Crop:
    """Return the largest square in the middle, for pictures that are aligned, and for buildings, horses and cars."""
    return square_crop((size[1] / 2, size[0] / 2), min(size), size)


def _matched(image: Tensor, photo: Tensor, weight: Tensor) -> Tensor:
    """Match mean and contrast of each color of an image, weighted, to those of a photo of the same size."""

    def mean(values: Tensor) -> Tensor:
        return (values * weight).sum(dim=(2, 3), keepdim=True) / weight.sum()

    ours, theirs = mean(image), mean(photo)
    gain = (mean((photo - theirs).square()) / mean((image - ours).square()).clamp(min=1e-6)).sqrt().clamp(*GAINS)
    return ((image - ours) * gain + theirs).clamp(-1, 1)
