"""What happens on a node while it trains: bar, pictures and words; Cancel, and what is kept then."""

from __future__ import annotations

import time
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from ..nada import (
    Adaptation,
    AdaptConfig,
    ClipEnsemble,
    Generator,
    KeptRun,
    Snapshots,
    generate,
    result_name,
    sample_latents,
    save_style,
    sparing,
)
from ..nada.pictures.grids import before_after
from . import host


class Result(NamedTuple):
    """What a training leaves, all of it on the CPU."""

    generator: Generator
    comparison: Image.Image
    """Before and after."""
    snapshots: Snapshots
    charts: Image.Image
    """The losses above, the layers that trained below."""


def train(
    generator: Generator,
    clip: ClipEnsemble,
    config: AdaptConfig,
    preview_every: int,
    preview_images: int,
    snapshots: int,
    style_images: Tensor | None = None,
) -> Result:
    """Adapt on the device where the models are, live on the node.

    A run that was cancelled goes on where it stopped, and one that is done is not repeated.
    """
    codes = sample_latents(generator, preview_images, config.seed)
    before = generate(generator, codes, batch=config.batch)
    progress = host.Progress(config.iterations)
    host.say("reading the texts")
    kept = step = None
    try:
        kept = KeptRun(host.runs_folder(), generator, clip, config, style_images, snapshots)
        clock = Clock(config.iterations, kept.begin)
        if kept.begin:
            host.say(f"goes on after step {kept.begin}")
        for step in sparing(kept, kept.run, spared, host.is_out_of_memory):
            done = step.iteration
            shown = preview_every and done % preview_every == 0 and done < config.iterations
            progress.update(done, comparison(kept.run, before, codes) if shown else None)
            if progress.text_is_due():
                host.say(f"step {done}/{config.iterations} | loss {float(step.loss):.3f} | {clock.text(done)}")
        kept.keep()
        picture = comparison(kept.run, before, codes)
        progress.update(config.iterations, picture)
        loss = f"loss {float(step.loss):.3f} | {clock.text(config.iterations)}" if step else "was trained before"
        host.say(f"step {config.iterations}/{config.iterations} | {loss}")
        with host.normal_tensors():
            return Result(kept.run.trained.cpu(), picture, kept.snapshots, kept.history.charts())
    except host.Cancelled:
        if kept and kept.run.iteration > kept.begin:
            kept.keep()
            words = f"cancelled after step {kept.run.iteration}; the next run goes on from there"
            host.say(words + save_best(kept.snapshots))
        raise
    except Exception as error:
        if not host.is_out_of_memory(error):
            raise
        host.say("out of memory, even one image at a time: close other programs, or take a smaller generator or CLIP")
        raise error.with_traceback(None) from None  # the frames below hold what there is no memory for
    finally:
        kept = step = None  # a cancellation still holds this frame; it must not hold the device's memory too


def spared(sentence: str) -> None:
    """Out of memory, and with smaller pieces on again."""
    host.soft_empty_cache()
    host.say(sentence)


def save_best(snapshots: Snapshots) -> str:
    """Save the suggestion of a cancelled run as a style; what to say of it."""
    if not snapshots.moments:
        return ""
    best = snapshots.best
    words = f"the best so far, step {best.iteration}, is saved as the style"
    return host.save_cancelled(save_style, best.style, result_name(best.style.recipe), host.STYLES, words)


def comparison(run: Adaptation, before: Tensor, codes: Tensor) -> Image.Image:
    """Before and after, labelled with the texts. A batch for which training has the memory fits without it too."""
    return before_after(before, generate(run.trained, codes, batch=run.images_at_once), run.labels)


class Clock:
    """Speed and remaining time of steps."""

    def __init__(self, total: int, begin: int = 0):
        self.total, self.begin, self.start = total, begin, time.monotonic()

    def text(self, done: int) -> str:
        """For a node: "1.9 it/s | 1 min 35 s left"."""
        seconds = max(time.monotonic() - self.start, 1e-6)
        steps = done - self.begin
        rate = f"{steps / seconds:.1f} it/s" if steps > seconds else f"{seconds / steps:.1f} s/it"
        left = f"{duration(seconds / steps * (self.total - done))} left" if done < self.total else duration(seconds)
        return f"{rate} | {left}"


def duration(seconds: float) -> str:
    """In words: "8 s", "1 min 35 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
