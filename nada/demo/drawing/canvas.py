"""The contents of a scene at each pixel, and the brush that paints the parts of a figure over one another.

A scene is not yet a picture: it holds colors without light, normals, lines and textures. The styles turn it into
pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .parameters import Parameters
from .pens import fill, over
from .solids import mapped

FAR = 9.0  # a distance outside of every shape


@dataclass(frozen=True)
class Manner:
    """A style's settings for drawing figures."""

    eye_scale: float = 1.0
    fuzz: float = 1.0  # amount by which fur blurs outlines
    tremble: float = 0.0  # amount by which a hand strays from the outline


@dataclass
class Canvas:
    """The figure as painted so far; all fields are [N, H, W] except colors, [N, 3, H, W].

    Attributes:
        color: color without light. normal: direction of the surface, as (x, y, z).
        figure: coverage of the figure. outline: distance to the figure's outline, negative inside.
        contour: distance to the nearest visible edge of a large part. detail: the same for eyes, nose and mouth.
        gloss: how much the surface shines. furry: how much fur it shows.
        eyes, spark: coverage of eyeballs, and of the lights mirrored in them.
        shadow: how much light other parts take away. worn: coverage of clothes and other things that are worn.
    """

    color: Tensor
    normal: tuple[Tensor, Tensor, Tensor]
    figure: Tensor
    outline: Tensor
    contour: Tensor
    detail: Tensor
    gloss: Tensor
    furry: Tensor
    eyes: Tensor
    spark: Tensor
    shadow: Tensor
    worn: Tensor
    softness: float

    @classmethod
    def blank(cls, count: int, size: int) -> Canvas:
        """Create an empty canvas."""
        field = torch.zeros(count, size, size)
        far = torch.full_like(field, FAR)
        normal = (field, field, field + 1)
        return cls(torch.zeros(count, 3, size, size), normal, field, far, far, far, *(field,) * 6, softness=2.4 / size)

    def paint(
        self,
        distance: Tensor,
        color: Tensor,
        normal: Sequence[Tensor] | None = None,
        *,
        gloss: Tensor | float | None = None,
        furry: Tensor | float | None = None,
        lines: str = "contour",
        worn: bool = False,
        soft: float = 1.0,
    ) -> Tensor:
        """Paint a part over everything else.

        Args:
            distance: [N, H, W] distance to the part's outline, negative inside.
            color: color without light, [N, 3, H, W] or broadcastable to that.
            normal: direction of the surface, three [N, H, W]; None leaves it as it is.
            gloss, furry: see the attributes; None leaves them as they are.
            lines: the lines that its outline belongs to, "contour" or "detail"; anything else for none.
            worn: whether the part is worn, such as clothes.
            soft: width of the soft edge, as a multiple of the canvas's.

        Returns:
            The coverage of the part, [N, H, W] in 0..1.
        """
        cover = fill(distance, self.softness * soft)
        self.color = over(self.color, color, cover)
        if normal is not None:
            self.normal = mapped(lambda old, new: torch.lerp(old, new, cover), self.normal, normal)
        if gloss is not None:
            self.gloss = self.gloss + (gloss - self.gloss) * cover
        if furry is not None:
            self.furry = self.furry + (furry - self.furry) * cover
        self.figure = torch.maximum(self.figure, cover)
        self.outline = torch.minimum(self.outline, distance)
        if lines == "contour":
            self.shadow = self.shadow * (1 - cover)
        if worn or lines == "contour":
            self.worn = torch.maximum(self.worn, cover) if worn else self.worn * (1 - cover)
        if lines == "contour":
            self.edge(distance)
        elif lines == "detail":
            self.line(distance.abs())
            self.contour = torch.where(distance < 0, FAR, self.contour)
        return cover

    def edge(self, distance: Tensor) -> None:
        """Draw the outline of a large part, which hides the lines behind it."""
        inside = distance < 0
        self.contour = torch.where(inside, -distance, torch.minimum(self.contour, distance))
        self.detail = torch.where(inside, FAR, self.detail)

    def line(self, distance: Tensor) -> None:
        """Draw a line of the face; `distance` is at least 0."""
        self.detail = torch.minimum(self.detail, distance)

    def shade(self, amount: Tensor) -> None:
        """Remove `amount` (0..1) of the light from everything painted so far."""
        self.shadow = 1 - (1 - self.shadow) * (1 - amount.clamp(0, 1))


@dataclass
class Scene:
    """A finished scene: the figure and the place behind it.

    Attributes:
        canvas: the figure. place: color of the backdrop with its own light, [N, 3, H, W].
        place_lines: distance to the nearest line of the backdrop, [N, H, W].
        px, py: picture coordinates [1, H, W]; x, y: coordinates in the head's frame [N, H, W].
        surface: coordinates on the head that turn with it, three [N, H, W].
        center: where the head is in the picture, two [N, 1, 1].
    """

    p: Parameters
    canvas: Canvas
    place: Tensor
    place_lines: Tensor
    px: Tensor
    py: Tensor
    x: Tensor
    y: Tensor
    surface: tuple[Tensor, Tensor, Tensor]
    center: tuple[Tensor, Tensor]
    coat: Tensor


def by_kind(kind: Tensor, makers: Sequence[Callable[..., Tensor]], p: Parameters, *fields: Tensor) -> Tensor:
    """Compute the fields [N, ...] of each drawing by the function for its kind [N], from parameters and fields."""
    result: Tensor | None = None
    for number, make in enumerate(makers):
        chosen = (kind == number).nonzero().flatten()
        if len(chosen):
            part = make(p[chosen], *(f[chosen] for f in fields))
            if result is None:
                result = part.new_zeros(len(kind), *part.shape[1:])
            result[chosen] = part
    if result is None:
        raise ValueError(f"kinds must be 0..{len(makers) - 1}; got {kind.unique().tolist()}")
    return result
