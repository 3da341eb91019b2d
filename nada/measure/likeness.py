"""Identity kept: whether pictures still show the same one, by the judge of the demo world or by a CLIP."""

from __future__ import annotations

from torch import Tensor

from .demo_judge import Judge
from .metrics import correlations, correspondence, found_again

Kind = tuple[str, str]  # a style and a species, by the judge's names


def judged_likeness(
    judge: Judge, before: Tensor, after: Tensor, kinds: tuple[Kind, Kind] | None = None
) -> dict[str, float]:
    """Identity kept in pictures of the demo world, by what the judge reads in them.

    Args:
        judge: which took no part in making the pictures.
        before, after: [N, 3, R, R] in [-1, 1], N >= 2: pictures, and changed versions of the same.
        kinds: style and species that are meant before and after; None for those that the judge reads in most pictures.
            Likeness by different kinds is not comparable, since other parameters can be read.

    Returns:
        "identity kept": mean correlation of the parameters that can be read in pictures of both kinds; "weakest
        parameter": the lowest of them; "kind kept": share of pictures whose species is read as before, and whose style
        is that of most; "found again": share of pictures that are nearest, in these parameters, to their own before.
    """
    was, now = judge.read(before), judge.read(after)
    first, second = kinds or (judge.kind(was), judge.kind(now))
    shared = sorted(set(judge.readable_parameters(*first)) & set(judge.readable_parameters(*second)))
    species = was.species.argmax(1) == now.species.argmax(1)
    style = now.styles.argmax(1) == now.styles.mean(0).argmax()
    found = {"kind kept": (species & style).float().mean().item()}
    if not shared:
        return found
    a, b = was.parameters[:, shared], now.parameters[:, shared]
    r = correlations(a, b)
    return found | {
        "identity kept": r.mean().item(),
        "weakest parameter": r.min().item(),
        "found again": found_again(a, b),
    }


def embedding_likeness(before: Tensor, after: Tensor) -> dict[str, float]:
    """Identity kept by a CLIP model that took no part in making the pictures; see `correspondence`.

    Args:
        before, after: its embeddings [N, D] of the pictures, N >= 2.

    Returns:
        "identity kept": mean cosine with the picture before; "found again": share of pictures that are nearest to their
        own before, of all N.
    """
    back, near = correspondence(before, after)
    return {"identity kept": near, "found again": back}
