"""Smooth the latent codes of a video's frames over time."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UsageError

MAX_FRAMES = 100.0


def smooth_latents(ws: Tensor, frames: float) -> Tensor:
    """Average the codes of each frame with those of its neighbours, by a Gaussian in time, to remove jitter.

    At both ends the Gaussian is cut off and normalized, so that the first and the last frame are not padded.

    Args:
        ws: [N, num_ws, w_dim], in the order of time.
        frames: standard deviation of the Gaussian in frames; 0 returns the codes as they are.

    Returns:
        [N, num_ws, w_dim].

    Raises:
        UsageError: `frames` is out of range.
    """
    check_smoothing(frames)
    if not frames:
        return ws
    time = torch.arange(len(ws), dtype=torch.float64)
    weights = torch.exp(-0.5 * ((time[:, None] - time) / frames).square())
    weights /= weights.sum(1, keepdim=True)
    return torch.einsum("nm,mkd->nkd", weights.to(ws), ws)


def check_smoothing(frames: float) -> None:
    """Check the argument of `smooth_latents` early, before all frames are fitted.

    Raises:
        UsageError: `frames` is out of range.
    """
    if not 0 <= frames <= MAX_FRAMES:
        raise UsageError(f"smooth is {frames}; it must be in 0..{MAX_FRAMES:g} frames")
