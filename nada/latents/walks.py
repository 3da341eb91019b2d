"""Walks through latent space: interpolated frames between latent codes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import UsageError

EASINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),  # slows down to a short rest at each code
}


def _lerp(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    return a.lerp(b, t)


def _slerp(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    """Interpolate on an arc: the direction turns evenly (Shoemake 1985), the length changes evenly."""
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    u, v = a / lengths[0].clamp_min(1e-12), b / lengths[1].clamp_min(1e-12)
    angle = (u * v).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    sin = angle.sin()
    turned = ((1 - t) * angle).sin() / sin * u + (t * angle).sin() / sin * v
    # For equal directions the angle is 0, and for opposite ones no arc is shorter than another: use a straight line.
    direction = torch.where(sin > 1e-4, turned, u.lerp(v, t))
    return direction * lengths[0].lerp(lengths[1], t)


def _cubic(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: Tensor) -> Tensor:
    """Interpolate by a Catmull-Rom spline, which passes each code without a jump in speed or direction."""
    slope_a, slope_b = (b - before) / 2, (after - a) / 2
    bend = (2 * t**3 - 3 * t**2 + 1) * a + (3 * t**2 - 2 * t**3) * b
    return bend + (t**3 - 2 * t**2 + t) * slope_a + (t**3 - t**2) * slope_b


METHODS = {"lerp": _lerp, "slerp": _slerp, "cubic": _cubic}


def interpolate_latents(
    ws: Tensor, frames: int, loop: bool = False, method: str = "lerp", easing: str = "linear"
) -> Tensor:
    """Interpolate a walk from code to code.

    Args:
        ws: [K, num_ws, w_dim], the codes to pass.
        frames: number of frames of the whole walk, spread evenly in time; at least as many as codes.
        loop: return to the first code. The last frame is then the one before the first, so that the walk repeats
            without a stop; otherwise it is the last code.
        method: "lerp" (straight lines), "slerp" (arcs about the origin) or "cubic" (one smooth curve).
        easing: "linear" (even speed) or "smooth" (a short rest at each code).

    Returns:
        [frames, num_ws, w_dim].

    Raises:
        UsageError: there are fewer than two codes, too few frames, or the method or easing does not exist.
    """
    if len(ws) < 2:
        raise UsageError(f"a walk needs at least 2 latent codes, got {len(ws)}; sample more of them")
    if frames < len(ws):
        raise UsageError(f"frames is {frames}; it must be at least {len(ws)}, one for each latent code")
    for name, value, known in (("method", method, METHODS), ("easing", easing, EASINGS)):
        if value not in known:
            raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(known)}")
    count = len(ws) if loop else len(ws) - 1  # segments, each from one code to the next
    time = torch.arange(frames, dtype=torch.float64) * count / (frames if loop else frames - 1)
    segment = time.floor().clamp(max=count - 1).long()
    t = EASINGS[easing](time - segment).to(ws).view(-1, 1, 1)

    def code(offset: int) -> Tensor:
        number = (segment + offset) % len(ws) if loop else (segment + offset).clamp(0, len(ws) - 1)
        return ws[number.to(ws.device)]

    return METHODS[method](code(-1), code(0), code(1), code(2), t)
