"""Measure what an adaptation is worth: does it look like the target, does it vary, is it still the same picture?

Quality and Diversity are those of HyperDomainNet (arXiv 2210.08884) and StyleDomain (arXiv 2212.10229), so that figures
can be compared: with the encoder, the prompts, the number of images and the truncation in the result, because all of
them count. A caller may add measures of its own, as the demo world does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor

from ..checkpoint.saving import tensor_hash
from ..clip.directions import text_embedding
from ..clip.embedding import embed_images
from ..clip.models import ClipEnsemble, ClipModel
from ..clip.prompts import PHRASE_ALONE, Templates, check_templates, prompt_templates, text_shares
from ..errors import NadaError, UsageError
from ..generators import Generator
from ..latents.rendering import generate
from ..latents.sampling import MAX_COUNT, mix_latents, sample_latents
from ..losses import unit
from ..seeding import SEEDS, sample_z, seeded
from ..settings import MAX_BATCH, Setting, check_settings
from .likeness import embedding_likeness
from .lpips_distance import lpips_distances
from .metrics import correspondence, diversity, interval, intra_cluster, quality

LPIPS_IMAGES = 100  # images of the first seed: the pairs grow with the square
SETTING = ("target", "count", "seeds", "psi", "mixing", "templates")  # named above the table
RANDOM = ("seeds", "first_seed", "psi", "mixing")  # settings of random codes
MIXERS = 1 << 31  # added to a seed for the second latents of style mixing


@dataclass(frozen=True)
class Samples:
    """Images of both generators from the same N codes."""

    before: Tensor
    """[N, 3, R, R] in about [-1, 1], of the base."""
    after: Tensor
    """The same of the adapted generator."""
    latents: Tensor | None = None
    """z [N, z_dim]; None where the codes are truncated or mixed."""


Extra = Callable[[Samples, dict[str, str]], dict[str, float]]


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of a measurement. All of them are part of the result: only figures with equal settings compare.

    Raises:
        UsageError: a value is out of range.
    """

    target: Annotated[str, Setting("Phrase for what the images should show.")]
    source: Annotated[str, Setting("Phrase for what the base makes; it is only recorded.")] = ""
    count: Annotated[int, Setting("Number of images per seed.", low=2, high=MAX_COUNT)] = 200
    seeds: Annotated[
        int, Setting("Number of repetitions with other latents, for confidence intervals.", low=1, high=1000)
    ] = 5
    first_seed: Annotated[
        int, Setting("Seed of the first image; image i uses this seed + i.", low=1 - SEEDS, high=SEEDS - 1)
    ] = 1_000_000
    psi: Annotated[
        float, Setting("Truncation psi of the latents: 1 is the full variety, 0 the average image.", low=0, high=2)
    ] = 1.0
    mixing: Annotated[
        float, Setting("Share of the latents that are a style mixture of two latents.", low=0, high=1)
    ] = 0.0
    templates: Templates = PHRASE_ALONE
    batch: Annotated[int, Setting("Number of images computed at a time.", low=1, high=MAX_BATCH)] = 16

    def __post_init__(self) -> None:
        check_settings(self)
        check_templates(self.templates)
        if not self.target.strip():
            raise UsageError("the target text is empty; write what the images should look like")
        text_shares(self.target)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt templates one by one."""
        return prompt_templates(self.templates)


def evaluate(
    generator: Generator,
    clip: ClipEnsemble,
    config: EvaluateConfig,
    base: Generator | None = None,
    extra: Extra | None = None,
    progress: Callable[[int], None] = lambda made: None,
    identity: ClipEnsemble | None = None,
    latents: Tensor | None = None,
) -> dict[str, Any]:
    """Measure an adapted generator, or any other.

    Args:
        generator: the one to measure.
        clip: the encoders; each is reported by itself. The ones that it was trained with flatter it.
        config: see `EvaluateConfig`.
        base: what it was adapted from, on the same device; without it, nothing is compared with the source.
        extra: further measures of images before and after, such as `measures_for` a judge of the demo world. It writes
            the reason for a measure that it leaves out into the dict it is given.
        progress: called with the number of images just made, of `image_count` in all; what it raises ends this.
        identity: CLIP models that took no part in the adaptation: they say whether the images show the same ones.
        latents: codes [N, num_ws, w_dim] to measure on, such as those of photos, instead of random ones: once, and
            settings of random codes then have no effect, and are None in the result.

    Returns:
        JSON-able. `setting`; `measures`, {name: {"mean", "low", "high"}}, 95 % intervals over the seeds; `left_out`,
        {name: reason}; `seconds`, `images_per_second`, `peak_memory_mb` (of the device; of the process on a CPU).

    Raises:
        UsageError: base and generator have latents of different lengths.
    """
    if base is not None and base.config.z_dim != generator.config.z_dim:
        raise UsageError("base and generator have latents of different lengths; give the base it was adapted from")
    began, device = time.perf_counter(), generator.device
    texts = [_embed_text(model, config) for model in clip]
    encoders = [*clip, *(identity or ())]
    left_out = {} if base is not None else {"comparison with the source": "no base generator was given"}
    rows: list[dict[str, float]] = []
    for repetition in range(config.seeds if latents is None else 1):
        first_seed = config.first_seed + repetition * config.count
        compared = extra is not None and base is not None
        kept = MAX_COUNT if compared else LPIPS_IMAGES if repetition == 0 else 0
        look = partial(_look, encoders, config=config, seed=first_seed, latents=latents, kept=kept, progress=progress)
        after = look(generator)
        before = None if base is None else look(base)
        if repetition == 0:
            first = after.images[:LPIPS_IMAGES].clone()
        row: dict[str, float] = {}
        for i, (model, text) in enumerate(zip(clip, texts, strict=True)):
            prefix = f"{model.name} " if len(clip) > 1 else ""
            was = None if before is None else before.embeddings[i]
            found = embedding_measures(text, was, after.embeddings[i])
            row |= {prefix + name: value for name, value in found.items()}
        if before is not None:
            for i, model in enumerate(identity or (), len(clip)):
                found = embedding_likeness(before.embeddings[i], after.embeddings[i])
                row |= {f"{name}, by {model.name}": value for name, value in found.items()}
        if extra is not None and before is not None:
            z = plain_latents(generator, config, first_seed) if latents is None else None
            row |= extra(Samples(before.images, after.images, z), left_out)
        rows.append(row)
    measures = _intervals(rows, left_out)
    try:
        measures["intra-cluster LPIPS"] = {"mean": intra_cluster(lpips_distances(first, device))}
    except NadaError as error:
        left_out["intra-cluster LPIPS"] = str(error)
    seconds = time.perf_counter() - began
    made = image_count(config, base) if latents is None else len(latents) * (1 if base is None else 2)
    setting = {**asdict(config), "encoders": clip.describe(), "generator": generator.fingerprint()}
    if latents is not None:
        setting |= dict.fromkeys(RANDOM) | {"latents": tensor_hash(latents), "count": len(latents)}
    return {
        "setting": setting,
        "identity": identity.describe() if identity else [],
        "measures": measures,
        "left_out": left_out,
        "seconds": round(seconds, 2),
        "images_per_second": round(made / seconds, 2),
        "peak_memory_mb": peak_memory(device),
    }


@dataclass(frozen=True)
class _Seen:
    """Embeddings, and a few images, of the N images of one generator in one repetition."""

    embeddings: list[Tensor]
    """[N, D] of each encoder."""
    images: Tensor
    """The first images, as many as were asked for."""


def _look(
    encoders: list[ClipModel],
    generator: Generator,
    config: EvaluateConfig,
    seed: int,
    latents: Tensor | None,
    kept: int,
    progress: Callable[[int], None],
) -> _Seen:
    """Generate and embed the images of one repetition batch by batch, since a thousand of 1024 px take 13 GB.

    The images are of random latents, or of given codes. Each generator maps the latents itself, because an adaptation
    may have trained its mapping network. Only the first `kept` images are kept.
    """
    ws = sample_codes(generator, config, seed) if latents is None else latents
    embeddings: list[list[Tensor]] = [[] for _ in encoders]
    images = []
    for first, codes in zip(range(0, len(ws), config.batch), ws.split(config.batch), strict=True):
        made = generate(generator, codes, batch=config.batch, progress=progress)
        for parts, model in zip(embeddings, encoders, strict=True):
            parts.append(embed_images(model, made, config.batch))
        if first < kept:
            images.append(made[: kept - first].clone())  # a view would keep all of them
    return _Seen([torch.cat(parts) for parts in embeddings], torch.cat(images) if images else torch.empty(0))


def _intervals(rows: list[dict[str, float]], left_out: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return the interval of each measure over the repetitions; measures that some repetitions lack are left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row[name] for row in rows if name in row] for name in names}
    for name, found in values.items():
        if len(found) < len(rows):
            left_out.setdefault(name, f"only {len(found)} of {len(rows)} repetitions could be measured")
    return {name: interval(found) for name, found in values.items() if len(found) == len(rows)}


def report(result: dict[str, Any]) -> str:
    """Return a result of `evaluate` as a table.

    Args:
        result: what `evaluate` returned, or the same read from a JSON file.
    """
    setting = result["setting"]
    encoders = ", ".join(entry["name"] for entry in setting["encoders"])
    used = [name for name in SETTING if setting[name] is not None]
    lines = [", ".join(f"{name} {setting[name]!r}" for name in used), f"encoders {encoders}", ""]
    width = max(map(len, result["measures"]))
    for name, found in result["measures"].items():
        spread = f"  {found['low']:.4f} .. {found['high']:.4f}" if "low" in found else ""
        lines.append(f"  {name:{width}}  {found['mean']:.4f}{spread}")
    lines += ["", *(f"left out: {name}: {reason}" for name, reason in result["left_out"].items())]
    memory = f", at most {result['peak_memory_mb']} MB in use" if result["peak_memory_mb"] else ""
    lines.append(f"{result['seconds']:.1f} s, {result['images_per_second']:.1f} images/s{memory}")
    return "\n".join(lines)


def image_count(config: EvaluateConfig, base: Generator | None) -> int:
    """Return the number of images that `evaluate` generates.

    Args:
        config: settings of the measurement.
        base: generator to compare with, whose images count too; None for none.
    """
    return config.count * config.seeds * (1 if base is None else 2)


def clip_measures(
    model: ClipModel, text: Tensor, before: Tensor | None, after: Tensor, batch: int = 16
) -> dict[str, float]:
    """Measure images [N, 3, R, R] in [-1, 1] by one encoder; see `embedding_measures`."""
    source = None if before is None else embed_images(model, before, batch)
    return embedding_measures(text, source, embed_images(model, after, batch))


def embedding_measures(text: Tensor, before: Tensor | None, after: Tensor) -> dict[str, float]:
    """Compute Quality, Diversity and correspondence from embeddings of images [N, D] and of the target text [D]."""
    found = {"quality": quality(after, text), "diversity": diversity(after)}
    if before is None:
        return found
    back, near = correspondence(before, after)
    return found | {
        "quality of the base": quality(before, text),
        "diversity of the base": diversity(before),
        "source found again": back,
        "cosine with source": near,
    }


def sample_codes(generator: Generator, config: EvaluateConfig, seed: int) -> Tensor:
    """Codes [count, num_ws, w_dim] of one repetition; the share `mixing` of them crosses over to other codes."""
    ws = sample_latents(generator, config.count, seed, config.psi)
    if not config.mixing:
        return ws
    others = sample_latents(generator, config.count, seed + MIXERS, config.psi)
    random = seeded(seed)
    mixed = torch.rand(config.count, generator=random) < config.mixing
    crossovers = torch.randint(1, generator.num_ws, (config.count,), generator=random)
    return mix_latents(ws, others, torch.where(mixed, crossovers, generator.num_ws))


def plain_latents(generator: Generator, config: EvaluateConfig, seed: int) -> Tensor | None:
    """Latents z [count, z_dim] behind the codes of one repetition; None where these are truncated or mixed."""
    if config.psi != 1 or config.mixing:
        return None
    return torch.cat([sample_z(seed + i, generator.config.z_dim) for i in range(config.count)])


def _embed_text(model: ClipModel, config: EvaluateConfig) -> Tensor:
    """The target's unit embedding [D]."""
    return unit(text_embedding(model, config.target, config.prompts)).cpu()


def peak_memory(device: torch.device) -> int | None:
    """Megabytes in use at most so far, of the GPU or of this process; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 1_000_000
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes // 1_000_000
