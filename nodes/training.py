"""Run an adaptation on a node: resume it, retry iterations in smaller chunks, and save its best snapshot on Cancel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from ..nada import (
    AdaptConfig,
    AdaptStep,
    ClipEnsemble,
    KeptRun,
    Snapshots,
    generate_samples,
    result_name,
    save_style,
    sparing,
)
from ..nada.clip.alphabet import unreadable_remark
from ..nada.generators import Generator
from ..nada.pictures.fonts import unwritable_remark
from ..nada.pictures.grids import before_after
from . import host
from .live import Live

FADED = 0.1  # share of the contrast before the training, below which nothing is left to see


class Result(NamedTuple):
    """Result of a training, on the CPU."""

    generator: Generator
    comparison: Image.Image
    """Images before and after, as one picture."""
    snapshots: Snapshots
    charts: Image.Image
    """The losses above, the layers that trained below."""


class LiveAdaptation(Live[Result]):
    """An adaptation on the device where the models are.

    A cancelled run resumes where it stopped, and one that is done is not repeated.
    """

    out_of_memory = "out of memory, even one image at a time: close other programs, or take a smaller generator or CLIP"

    def __init__(
        self,
        generator: Generator,
        clip: ClipEnsemble,
        config: AdaptConfig,
        preview_images: int,
        snapshots: int,
        style_images: Tensor | None = None,
        remark: str = "",
    ):
        self.total = config.iterations
        self.preview_images = preview_images
        self.before = generate_samples(generator, preview_images, config.seed, batch=config.batch)
        host.say("reading the texts")
        self.kept = KeptRun(host.runs_folder(), generator, clip, config, style_images, snapshots)
        self.begin = self.kept.begin
        if self.begin:
            host.say(f"continues after iteration {self.begin}")
        texts = [config.source, *config.targets()] if config.target.strip() else []
        remarks = [remark, unreadable_remark(clip, texts), unwritable_remark(self.kept.run.labels)]
        if self.begin == self.total and (count := len(self.kept.snapshots.all)) < min(snapshots, self.total):
            remarks.append(f"it was trained before with {count} snapshots; no more can be taken")
        self.remarks = [*filter(None, remarks)]
        self.after = self.before

    def steps(self) -> Iterator[AdaptStep]:
        return sparing(self.kept, self.kept.run, spared, host.is_out_of_memory)

    def picture(self) -> Image.Image:
        """Return a picture of before and after, labelled with the texts.

        If training fit in memory with this batch size, inference does too.
        """
        run = self.kept.run
        self.after = generate_samples(run.trained, self.preview_images, run.config.seed, batch=run.images_at_once)
        return before_after(self.before, self.after, run.labels)

    def result(self, picture: Image.Image) -> Result:
        self.kept.keep()
        if remark := faded_remark(self.before, self.after):
            self.remarks = [*self.remarks, remark]
        with host.normal_tensors():
            return Result(self.kept.run.trained.cpu(), picture, self.kept.snapshots, self.kept.history.charts())

    def keep(self) -> str:
        if self.kept.run.iteration == self.begin:
            return ""
        self.kept.keep()
        words = f"stopped after iteration {self.kept.run.iteration}; the next run continues from there"
        return words + save_best(self.kept.snapshots)

    def close(self) -> None:
        del self.kept


def faded_remark(before: Tensor, after: Tensor) -> str:
    """Return a sentence if a training has taken the contrast from pictures, as a too large step size does, else "".

    Args:
        before, after: images [N, C, H, W] of the same latents.
    """
    contrasts = [images.clamp(-1, 1).flatten(1).std(dim=1).mean() for images in (before, after)]
    if contrasts[1] >= FADED * contrasts[0]:  # not so for NaN
        return ""
    return "the pictures have lost nearly all contrast: lower learning_rate, or pick an earlier snapshot"


def spared(sentence: str) -> None:
    """Give unused memory back to the device after an iteration that ran out of it, and say so on the node."""
    host.soft_empty_cache()
    host.say(sentence)


def save_best(snapshots: Snapshots) -> str:
    """Save the suggested snapshot of a run that stopped early as a style; return a text for the node."""
    if not snapshots.all:
        return ""
    best = snapshots.best
    words = f"the best so far, iteration {best.iteration}, is saved as the style"
    return host.save_cancelled(save_style, best.style, result_name(best.style.recipe or {}), host.STYLES, words)
