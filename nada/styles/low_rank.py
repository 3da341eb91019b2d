"""Low-rank approximation: a matrix as the product of two narrow ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_EXACT_RANK = 64  # largest rank that is detected automatically; low-rank adaptations train with 4 to 64
TINY = 1e-30  # avoids division by zero


class LowRank(NamedTuple):
    """A matrix [m, n] as `up` [m, r] @ `down` [r, n]; a convolution weight is flattened to [C_out, C_in * 9]."""

    up: Tensor
    down: Tensor

    def dense(self) -> Tensor:
        """Multiply the factors: float32 [m, n]."""
        return self.up.float() @ self.down.float()


def truncated(matrix: Tensor, rank: int) -> LowRank:
    """Best approximation of a matrix by one of a given rank: its truncated SVD (Eckart and Young).

    Args:
        matrix: [m, n] float64.
        rank: 1..min(m, n).

    Returns:
        float64 factors. Each component has the same norm in both, so that both fit into half precision.
    """
    _, vectors = _eigen(matrix)
    basis = vectors[:, -rank:]
    wide = matrix.shape[0] <= matrix.shape[1]
    up, down = (basis, basis.T @ matrix) if wide else (matrix @ basis, basis.T)
    ups, downs = up.norm(dim=0).clamp_min(TINY), down.norm(dim=1).clamp_min(TINY)
    ratio = (downs / ups).sqrt()
    return LowRank(up * ratio, down / ratio[:, None])


def compressed(matrix: Tensor, noise: float) -> LowRank | None:
    """Factor a matrix whose rank is low, apart from noise.

    Args:
        matrix: [m, n] float64.
        noise: root mean square error allowed per element.

    Returns:
        float64 factors of the smallest rank up to `MAX_EXACT_RANK` within that error; None if there is none.
    """
    columns = min(MAX_EXACT_RANK, *matrix.shape)
    probe = torch.randn(matrix.shape[1], columns, generator=torch.Generator().manual_seed(0), dtype=matrix.dtype)
    basis = torch.linalg.qr(matrix @ probe).Q  # spans the matrix's columns if its rank is at most `columns`
    inside = basis.T @ matrix
    budget = noise**2 * matrix.numel() - float((matrix - basis @ inside).square().sum())
    if budget < 0:
        return None
    squares = _eigen(inside)[0].clamp_min(0)  # squared singular values, ascending
    rank = max(1, columns - int((squares.cumsum(0) <= budget).sum()))
    up, down = truncated(inside, rank)
    return LowRank(basis @ up, down)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Squared singular values (ascending) and the singular vectors of the shorter side, from M M^T or M^T M."""
    wide = matrix.shape[0] <= matrix.shape[1]
    return torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
