"""Matrices as products of two narrow ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_EXACT_RANK = 64  # looked for without being asked; low-rank adaptations train with 4 to 64
TINY = 1e-30


class LowRank(NamedTuple):
    """A matrix [m, n] as `up` [m, r] times `down` [r, n]; convolution weights count as [C_out, C_in * 9]."""

    up: Tensor
    down: Tensor

    def dense(self) -> Tensor:
        """The product, float32 [m, n]."""
        return self.up.float() @ self.down.float()


def truncated(matrix: Tensor, rank: int) -> LowRank:
    """The nearest matrix of that rank (Eckart and Young): the singular value decomposition, cut off.

    Args:
        matrix: [m, n] float64.
        rank: 1..min(m, n).

    Returns:
        float64 factors, both as large, so that either fits into half precision.
    """
    _, vectors = _eigen(matrix)
    basis = vectors[:, -rank:]
    wide = matrix.shape[0] <= matrix.shape[1]
    up, down = (basis, basis.T @ matrix) if wide else (matrix @ basis, basis.T)
    ups, downs = up.norm(dim=0).clamp_min(TINY), down.norm(dim=1).clamp_min(TINY)
    ratio = (downs / ups).sqrt()
    return LowRank(up * ratio, down / ratio[:, None])


def exact_rank(matrix: Tensor, noise: float) -> int | None:
    """The smallest rank that leaves nothing of a matrix but noise.

    Args:
        matrix: [m, n] float64.
        noise: root mean square of what may be left of an element.

    Returns:
        1..`MAX_EXACT_RANK`, or None if there is no such rank.
    """
    columns = min(MAX_EXACT_RANK, *matrix.shape)
    probe = torch.randn(matrix.shape[1], columns, generator=torch.Generator().manual_seed(0), dtype=matrix.dtype)
    basis = torch.linalg.qr(matrix @ probe).Q  # spans the matrix's columns if its rank is that small, and is cheap
    if (matrix - basis @ (basis.T @ matrix)).square().mean().sqrt() > 2 * noise:
        return None
    squares = _eigen(matrix)[0].clamp_min(0).flip(0)  # of the singular values, the largest first
    left = squares.sum() - squares.cumsum(0)
    enough = (left <= noise**2 * matrix.numel()).nonzero()
    rank = int(enough[0]) + 1 if len(enough) else columns
    return rank if rank <= columns else None


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and vectors of the smaller of M M^T and M^T M: squared singular values, and one side."""
    wide = matrix.shape[0] <= matrix.shape[1]
    return torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
