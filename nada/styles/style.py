"""Styles: adaptations as weight differences, which can be scaled and summed, like a LoRA.

A style is the change that an adaptation made to the weights of its base. Scaled down it gives a part of the change;
added to another generator of the same shape it often gives the same change there; several can be summed. Interpolating
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
STRENGTHS = (-1.0, 2.0)  # allowed range
FACTORS = ("strength", "coarse", "middle", "fine")  # keys that the metadata have for each applied style
MIDDLE, FINE = 16, 64  # first resolution of a band, px (StyleGAN section 3.1: coarse 4-8, middle 16-32, fine from 64)
HALF_RANGE = (1e-4, 6e4)  # largest magnitudes of a tensor that half precision keeps to a few parts in 10000
MIN_FACTORED_SIZE = 4096  # tensors with fewer elements are stored as they are, never as low-rank factors
ROUNDING = 2.0**-23  # relative rounding error of float32
MAX_NAME = 200  # characters
W_AVG = "mapping.w_avg"


@dataclass(frozen=True)
class Style:
    """The weight difference of two generators. Made by `Style.between` and `load_style`.

    Raises:
        UsageError: there is no difference.
    """

    name: str
    """Display name."""
    deltas: dict[str, Tensor | LowRank]
    """Differences by the names of `Generator.state_dict()`, on the CPU, float16 or float32."""
    base: dict[str, Any]
    """The base generator: "fingerprint", "family", "config" and "source", all JSON-serializable."""
    recipe: dict[str, Any] | None = None
    """Recipe of the training (see `Adaptation.recipe`); None if the generators do not record it."""
    error: float = 0.0
    """Loss from rounding and truncation, relative to the whole difference (Frobenius norms)."""
    preview: bytes = b""
    """JPEG picture, images before above images after; empty for none."""
    notes: list[str] = field(default_factory=list)
    """Remarks for the user."""

    def __post_init__(self) -> None:
        if not self.deltas:
            raise UsageError(
                "the two generators have the same weights, so there is no difference to save; give a generator and one "
                "that was trained from it"
            )

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
        fallback: str = "style",
    ) -> Style:
        """Compute the style that turns one generator into another.

        Only learned tensors that differ are kept. Constant noise maps are not learned, so the base's are used. The
        average w is kept only if the mapping network has changed, since some formats lack it and it is then estimated.

        Args:
            base: the generator that training started from.
            adapted: the trained generator.
            rank: rank at which each large matrix is approximated; None keeps every matrix, as low-rank factors where
                these are exact (adaptations trained at low rank).
            dtype: float16 halves the file, with a loss far below one of 255 gray levels. With float32, base plus style
                at strength 1 restores bit by bit every weight that training kept between half and twice its value, and
                the others up to rounding of the difference.
            preview: see `preview.encode`.
            name: display name; by default the target text of the training, or the name of the applied style.
            fallback: display name if neither `name` nor the adapted generator tells one.

        Raises:
            UsageError: the generators have different shapes or the same weights, or an argument is out of range.
            NadaError: weights are not finite.
        """
        if rank is not None and rank < 1:
            raise UsageError(f"rank is {rank}; it must be at least 1, or left out for an exact style")
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
        recorded, recipe, trained = _recorded_change(base, adapted)
        origin: dict[str, Any] = {"fingerprint": base.fingerprint(), "config": asdict(base.config)}
        origin |= {"source": base.metadata.get("source"), "family": base.family}
        notes = []
        if trained and recipe and recipe.get("base") != origin["fingerprint"]:
            notes.append("The adapted generator was trained from another base than the one that it is compared with.")
        name = _one_line(name or recorded or fallback)
        return cls(name, deltas, origin, recipe, (lost / whole) ** 0.5 if whole else 0.0, preview, notes)

    def with_preview(self, preview: bytes) -> Style:
        """Return the style with a preview picture.

        Args:
            preview: the bytes of a JPEG file, as from `preview.encode`.
        """
        return replace(self, preview=preview)

    @property
    def kind(self) -> str:
        """Kind of change: "stylespace" (an offset per style channel), "affine", "low rank" or "weights"."""
        if all(name.endswith(".affine.bias") for name in self.deltas):
            return "stylespace"
        if all(".affine." in name for name in self.deltas):
            return "affine"
        return "low rank" if any(isinstance(delta, LowRank) for delta in self.deltas.values()) else "weights"

    @property
    def size(self) -> int:
        """Size of the stored differences in bytes."""
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
    """Add a style to a generator's weights. To combine styles, apply one to the result of another.

    Args:
        generator: the style's base, or another generator of the same shape; it is not changed.
        style: style to add.
        strength: factor in -1..2: 0 is the generator itself, 1 the adaptation, 0.5 half of it; above 1 exaggerates, and
            below 0 gives the opposite.
        coarse, middle, fine: additional factors in -1..2 for the blocks of 4-8 px (pose, shape), 16-32 px (features)
            and from 64 px (color, texture). The mapping network, which drives all blocks, uses their mean.

    Returns:
        A new generator on the same device, which shares the memory of unchanged tensors with the given one.
        `metadata["styles"]` records the style; a style of another base also adds a note to `metadata["notes"]`.

    Raises:
        UsageError: a factor is out of range, or the style does not fit the generator.
    """
    factors = dict(zip(FACTORS, (strength, coarse, middle, fine), strict=True))
    low, high = STRENGTHS
    for name, value in factors.items():
        if not (isfinite(value) and low <= value <= high):
            raise UsageError(f"{name} is {value}; it must be in {low:g}..{high:g}")
    tensors = generator.state_dict(keep_vars=True)
    _check_fit(generator, style)
    # ComfyUI runs nodes in inference mode, and tensors made in it could never be trained.
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
    """Yield the learned tensors that differ: name, before and after, float64 on the CPU.

    Raises:
        UsageError: the generators have different shapes.
    """
    before, after = base.state_dict(), adapted.state_dict()
    shapes, others = ({name: list(t.shape) for name, t in tensors.items()} for tensors in (before, after))
    if odd := [name for name in {**shapes, **others} if shapes.get(name) != others.get(name)]:
        raise UsageError(
            f"the generators have different shapes ({base.config.resolution} and {adapted.config.resolution} px): "
            f"{odd[0]} is {shapes.get(odd[0], 'missing')} and {others.get(odd[0], 'missing')}; "
            "give a generator and one that was trained from it"
        )
    learned = {*dict(base.named_parameters()), W_AVG}
    changed = [name for name in before if name in learned and not torch.equal(before[name].cpu(), after[name].cpu())]
    if not any(name.startswith("mapping.") and name != W_AVG for name in changed):
        changed = [name for name in changed if name != W_AVG]
    for name in changed:
        yield name, before[name].detach().cpu().double(), after[name].detach().cpu().double()


def _recorded_change(base: Generator, adapted: Generator) -> tuple[str, dict[str, Any] | None, bool]:
    """Return the name and the recipe of a change, as far as they are recorded ("" and None if not), and if it trained.

    The change is the last training of the adapted generator, or a single applied style; a part of a style has no recipe
    of its own. What the base records too is no part of the change.
    """
    recipes = _entries(adapted, "adaptations")
    if recipes and recipes != _entries(base, "adaptations"):
        return str(recipes[-1].get("target", "")), recipes[-1], True
    *earlier, last = _entries(adapted, "styles") or [{}]
    if last and earlier == _entries(base, "styles"):
        whole = all(last.get(factor) == 1 for factor in FACTORS)
        recipe = last.get("recipe") if whole else None
        return str(last.get("name", "")), recipe if isinstance(recipe, dict) else None, False
    return "", None, False


def _compact(delta: Tensor, weights: Tensor, rank: int | None, dtype: torch.dtype) -> Tensor | LowRank:
    """Convert a difference to its stored form: as it is, or as low-rank factors if requested or exact."""
    if delta.ndim >= 2 and delta.numel() >= MIN_FACTORED_SIZE:
        matrix = delta.flatten(1)
        noise = ROUNDING * float(weights.square().mean().sqrt())
        largest = min(matrix.shape) // 2  # factors of a higher rank would save hardly any space
        factors = compressed(matrix, noise) if rank is None else truncated(matrix, min(rank, largest + 1))
        if factors and len(factors.down) <= largest:
            return LowRank(*(_rounded(factor, dtype) for factor in factors))
    return _rounded(delta, dtype)


def _rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert to `dtype`, but to float32 if the values do not fit into the range of half precision."""
    low, high = HALF_RANGE
    return tensor.to(dtype if low <= float(tensor.abs().max()) <= high else torch.float32).contiguous()


def _dense(delta: Tensor | LowRank, shape: torch.Size) -> Tensor:
    return delta.dense().reshape(shape) if isinstance(delta, LowRank) else delta.float()


def _band(resolution: int, coarse: float, middle: float, fine: float) -> float:
    """Factor for a layer by its resolution in px; 0 px is the mapping network, which gets the mean."""
    if not resolution:
        return (coarse + middle + fine) / 3
    return coarse if resolution < MIDDLE else middle if resolution < FINE else fine


def _check_fit(generator: Generator, style: Style) -> None:
    """Refuse a style whose differences do not have the shapes of the generator."""
    shapes = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    for name, delta in style.deltas.items():
        shape = shapes.get(name, ())
        found = (len(delta.up), delta.down.shape[1]) if isinstance(delta, LowRank) else tuple(delta.shape)
        expected = (shape[0], prod(shape[1:])) if isinstance(delta, LowRank) and shape else shape
        if name not in shapes or found != expected:
            sizes = f"{style.base['config']['resolution']} px, and this generator has {generator.config.resolution} px"
            raise UsageError(
                f"the style {style.name!r} is for a generator of {sizes} or of another width: {name} is "
                f"{list(found)} there and {list(expected) if name in shapes else 'missing'} here; "
                "apply it to its base, or to a generator of the same shape"
            )


def _record(styled: Generator, generator: Generator, style: Style, factors: dict[str, float]) -> None:
    """Record the applied style in the metadata, with a note if it was made for another base."""
    onto, fingerprint = _origin(generator), style.base["fingerprint"]
    entry = {"name": style.name, "onto": onto, "base": fingerprint, "recipe": style.recipe, **factors}
    styled.metadata["styles"] = [*_entries(generator, "styles"), entry]
    if fingerprint in (onto, *(recipe.get("base") for recipe in _entries(generator, "adaptations"))):
        return
    note = f"The style {style.name!r} was made for another generator of the same shape; its effect may differ."
    log.warning("%s", note)
    styled.metadata["notes"] = [*generator.metadata.get("notes", []), note]


def _origin(generator: Generator) -> str:
    """Fingerprint that the generator had before any style was applied."""
    applied = _entries(generator, "styles")
    return str(applied[0]["onto"]) if applied and "onto" in applied[0] else generator.fingerprint()


def _entries(generator: Generator, key: str) -> list[dict[str, Any]]:
    """Read a list of dicts from the metadata, which may come from a stranger's file and hold anything."""
    value = generator.metadata.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
