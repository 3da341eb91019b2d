"""Styles: adaptations as differences, which have a strength and add up.

A style is what an adaptation added to the weights of its base. Added in part it gives a part of the change; added to
the weights of another generator of the same shape it often gives the same change there; several add up. Interpolating
and extrapolating weights is section F of StyleGAN-NADA's appendix (arXiv 2108.00946).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NadaError, UsageError
from ..generators import Generator
from .low_rank import LowRank, compressed, truncated

log = logging.getLogger(__name__)
STRENGTHS = (-1.0, 2.0)
MIDDLE, FINE = 16, 64  # px from which a band begins (StyleGAN section 3.1: coarse 4-8, middle 16-32, fine 64 and up)
HALF_RANGE = (1e-4, 6e4)  # largest magnitudes of a tensor that half precision keeps to a few parts in 10000
SMALL = 4096  # tensors with fewer numbers are never factored
ROUNDING = 2.0**-23  # of float32, relative
MAX_NAME = 200  # characters
W_AVG = "mapping.w_avg"


@dataclass(frozen=True)
class Style:
    """A difference of two generators. Made by `Style.between` and `load_style`.

    Raises:
        UsageError: it changes nothing.
    """

    name: str
    """For people."""
    deltas: dict[str, Tensor | LowRank]
    """What is added, by the names of `Generator.state_dict()`; on the CPU, float16 or float32."""
    base: dict[str, Any]
    """The generator that it was made for: "fingerprint", "family", "config" and "source", all JSON-able."""
    recipe: dict[str, Any] | None = None
    """How it was trained (see `Adaptation.recipe`); None if the generators do not tell."""
    error: float = 0.0
    """What rounding and truncation lost, relative to the whole difference (Frobenius norms)."""
    preview: bytes = b""
    """A JPEG picture, before above and after below; empty for none."""
    notes: list[str] = field(default_factory=list)
    """What a user should know."""

    def __post_init__(self) -> None:
        if not self.deltas:
            raise UsageError("the two generators have the same weights; a style is the difference that training makes")

    @classmethod
    @torch.inference_mode(False)
    @torch.no_grad()
    def between(
        cls,
        base: Generator,
        adapted: Generator,
        rank: int | None = None,
        dtype: torch.dtype = torch.float16,
        preview: bytes = b"",
        name: str = "",
    ) -> Style:
        """What turns one generator into the other.

        Only learned tensors that differ are kept. The maps of constant noise are not learned, and those of the base
        stay; the average w is kept only if the mapping network has changed, since some formats lack it and it is then
        estimated anew.

        Args:
            base: the generator that training started from.
            adapted: what became of it.
            rank: keep each large matrix as its best approximation of this rank; None keeps everything, as a product of
                two narrow matrices where that loses nothing (adaptations trained at low rank).
            dtype: float16 halves the file; what it loses is far below one of 255 grey levels. With float32, the base
                and a style of strength 1 give back every weight that training has not moved below half or beyond twice
                its value bit by bit, and the others to within rounding of the difference.
            preview: see `style_preview.encode`.
            name: for people; by default the target text.

        Raises:
            UsageError: the generators have different shapes or the same weights, or an argument is out of range.
            NadaError: weights are not finite.
        """
        if rank is not None and rank < 1:
            raise UsageError(f"rank is {rank}; it must be at least 1, or left out to lose nothing")
        if dtype not in (torch.float16, torch.float32):
            raise UsageError(f"dtype is {dtype}; it must be torch.float16 or torch.float32")
        deltas, lost, whole = {}, 0.0, 0.0
        for tensor_name, before, after in _changes(base, adapted):
            delta = after - before
            if not torch.isfinite(delta).all():
                raise NadaError(f"{tensor_name} has weights that are not finite; the training has diverged")
            kept = _compact(delta, after, rank, dtype)
            deltas[tensor_name] = kept
            lost += float((_dense(kept, delta.shape).double() - delta).square().sum())
            whole += float(delta.square().sum())
        recipes = _entries(adapted, "adaptations")
        recipe = recipes[-1] if recipes else None
        origin: dict[str, Any] = {"fingerprint": base.fingerprint(), "config": asdict(base.config)}
        origin |= {"source": base.metadata.get("source"), "family": base.family}
        notes = []
        if recipe and recipe.get("base") != origin["fingerprint"]:
            notes.append("The adapted generator was trained from another base than this style is the difference to.")
        name = _one_line(name or str((recipe or {}).get("target", "style")))
        return cls(name, deltas, origin, recipe, (lost / whole) ** 0.5 if whole else 0.0, preview, notes)

    def with_preview(self, preview: bytes) -> Style:
        """The same with a picture; see `style_preview.encode`."""
        return replace(self, preview=preview)

    @property
    def kind(self) -> str:
        """What it changes: "stylespace" (an offset per style channel), "affine", "low rank" or "weights"."""
        if all(name.endswith(".affine.bias") for name in self.deltas):
            return "stylespace"
        if all(".affine." in name for name in self.deltas):
            return "affine"
        return "low rank" if any(isinstance(delta, LowRank) for delta in self.deltas.values()) else "weights"

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        parts = (part for delta in self.deltas.values() for part in (delta if isinstance(delta, LowRank) else (delta,)))
        return sum(part.numel() * part.element_size() for part in parts)


def apply_style(
    generator: Generator,
    style: Style,
    strength: float = 1.0,
    coarse: float = 1.0,
    middle: float = 1.0,
    fine: float = 1.0,
) -> Generator:
    """A generator with a style. Several add up: apply one to the result of another.

    Args:
        generator: the style's base, or another of the same shape; it is not changed.
        style: what to add.
        strength: 0 is the generator itself, 1 the adaptation, between and beyond them less and more of it; below 0 its
            opposite. In -1..2.
        coarse, middle, fine: factors of the strength in the blocks of 4-8 px (pose, shape), 16-32 px (features) and
            64 px and up (color, texture), in -1..2. The mapping network, which drives all of them, takes their mean.

    Returns:
        A new generator on the same device. Tensors that are not changed share their memory with the given one.
        `metadata["styles"]` says what was applied; a style of another base also leaves a note in `metadata["notes"]`.

    Raises:
        UsageError: a factor is out of range, or the style does not fit the generator.
    """
    factors = {"strength": strength, "coarse": coarse, "middle": middle, "fine": fine}
    low, high = STRENGTHS
    for name, value in factors.items():
        if not (isfinite(value) and low <= value <= high):
            raise UsageError(f"{name} is {value}; it must be in {low:g}..{high:g}")
    tensors = generator.state_dict(keep_vars=True)
    _check_fit(generator, style)
    # ComfyUI runs nodes in inference mode, whose tensors could never be trained.
    with torch.inference_mode(False), torch.no_grad():
        memo = {}
        for name, tensor in tensors.items():
            data, scale = tensor.detach(), strength * _band(generator.resolution_of(name), coarse, middle, fine)
            if scale and name in style.deltas:
                data = torch.add(data, _dense(style.deltas[name], data.shape).to(data), alpha=scale)
            memo[id(tensor)] = nn.Parameter(data, requires_grad=False) if isinstance(tensor, nn.Parameter) else data
        styled = copy.deepcopy(generator, memo)
    _record(styled, generator, style, factors)
    return styled


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_NAME] or "style"


def _changes(base: Generator, adapted: Generator) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Learned tensors that differ: name, before and after, float64 on the CPU.

    Raises:
        UsageError: the generators have different shapes.
    """
    before, after = base.state_dict(), adapted.state_dict()
    shapes, others = ({name: list(t.shape) for name, t in tensors.items()} for tensors in (before, after))
    if odd := [name for name in {**shapes, **others} if shapes.get(name) != others.get(name)]:
        raise UsageError(
            f"the generators have different shapes ({base.config.resolution} and {adapted.config.resolution} px): "
            f"{odd[0]} is {shapes.get(odd[0], 'missing')} and {others.get(odd[0], 'missing')}; "
            "give a generator and what was trained from it"
        )
    learned = {*dict(base.named_parameters()), W_AVG}
    changed = [name for name in before if name in learned and not torch.equal(before[name].cpu(), after[name].cpu())]
    if not any(name.startswith("mapping.") and name != W_AVG for name in changed):
        changed = [name for name in changed if name != W_AVG]
    for name in changed:
        yield name, before[name].detach().cpu().double(), after[name].detach().cpu().double()


def _compact(delta: Tensor, weights: Tensor, rank: int | None, dtype: torch.dtype) -> Tensor | LowRank:
    """A difference as it is stored: whole, or as a product of narrow matrices where that is asked for or exact."""
    if delta.ndim >= 2 and delta.numel() >= SMALL:
        matrix = delta.flatten(1)
        noise = ROUNDING * float(weights.square().mean().sqrt())
        largest = min(matrix.shape) // 2  # beyond it, hardly anything would be saved
        factors = compressed(matrix, noise) if rank is None else truncated(matrix, min(rank, largest + 1))
        if factors and len(factors.down) <= largest:
            return LowRank(*(_rounded(factor, dtype) for factor in factors))
    return _rounded(delta, dtype)


def _rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In half precision only what fits into its range."""
    low, high = HALF_RANGE
    return tensor.to(dtype if low <= float(tensor.abs().max()) <= high else torch.float32).contiguous()


def _dense(delta: Tensor | LowRank, shape: torch.Size) -> Tensor:
    return delta.dense().reshape(shape) if isinstance(delta, LowRank) else delta.float()


def _band(resolution: int, coarse: float, middle: float, fine: float) -> float:
    """The factor of a band; of the mapping network (0 px), the mean of all."""
    if not resolution:
        return (coarse + middle + fine) / 3
    return coarse if resolution < MIDDLE else middle if resolution < FINE else fine


def _check_fit(generator: Generator, style: Style) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    for name, delta in style.deltas.items():
        shape = shapes.get(name, ())
        found = (len(delta.up), delta.down.shape[1]) if isinstance(delta, LowRank) else tuple(delta.shape)
        expected = (shape[0], prod(shape[1:])) if isinstance(delta, LowRank) and shape else shape
        if name not in shapes or found != expected:
            sizes = f"{style.base['config']['resolution']} px, and this one is of {generator.config.resolution} px"
            raise UsageError(
                f"the style {style.name!r} is for a generator of {sizes} or of another width: {name} is "
                f"{list(found)} there and {list(expected) if name in shapes else 'missing'} here; "
                "apply it to its base, or to a generator of the same shape"
            )


def _record(styled: Generator, generator: Generator, style: Style, factors: dict[str, float]) -> None:
    """Note in the metadata what was applied to what."""
    onto, fingerprint = _origin(generator), style.base["fingerprint"]
    entry = {"name": style.name, "onto": onto, "base": fingerprint, "recipe": style.recipe, **factors}
    styled.metadata["styles"] = [*_entries(generator, "styles"), entry]
    if fingerprint in (onto, *(recipe.get("base") for recipe in _entries(generator, "adaptations"))):
        return
    note = f"The style {style.name!r} was made for another generator of the same shape; look whether it does the same."
    log.warning("%s", note)
    styled.metadata["notes"] = [*generator.metadata.get("notes", []), note]


def _origin(generator: Generator) -> str:
    """Fingerprint of the generator before any style was applied to it."""
    applied = _entries(generator, "styles")
    return str(applied[0]["onto"]) if applied and "onto" in applied[0] else generator.fingerprint()


def _entries(generator: Generator, key: str) -> list[dict[str, Any]]:
    """A list in the metadata, which may have come from a stranger's file."""
    value = generator.metadata.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
