"""Node that trains one generator towards many targets, one per line, with live previews."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..nada import (
    AdaptConfig,
    ClipEnsemble,
    KeptRun,
    NadaError,
    Style,
    UsageError,
    apply_style,
    generate_samples,
    load_style,
)
from ..nada.clip.alphabet import unreadable_remark
from ..nada.files import prune
from ..nada.generators import Generator
from ..nada.pictures.fonts import unwritable_remark
from ..nada.pictures.grids import filmstrip
from ..nada.runs.result_folder import RECORD
from ..nada.runs.store import MAX_BYTES
from ..nada.sweep.jobs import Job, LoadedModels, job_id
from ..nada.sweep.local import TOGETHER, groups
from ..nada.sweep.plan import target_lines
from ..nada.sweep.report import Report
from ..nada.sweep.state import DONE, Orders, failure, status, style_file
from ..nada.sweep.work import Watch, Worker
from ..nada.training.config import recommendation_remark
from . import host
from .adapt_inputs import given, model_inputs, training_inputs
from .sockets import TRAINING, NADAStyle, known_options

FOLDER = "adapt_many"  # below the folder of runs
NO_TARGETS = "there are no targets; write one per line"
NOT_KEPT = "snapshots"  # input that only single trainings have


class NADAAdaptMany(io.ComfyNode):
    """Train a generator towards several target texts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NADAAdaptMany",
            display_name="StyleGAN-NADA Adapt Many",
            category=TRAINING,
            description="Trains a generator towards several targets, one per line, and shows all of them side by side "
            "while it runs. Each target gives a style. Targets that are done are not trained again: add a line, and "
            "only that one trains.",
            inputs=[
                *model_inputs(),
                io.String.Input(
                    "targets",
                    default="sketch\nwatercolor painting\npixel art",
                    multiline=True,
                    tooltip="Change this first: one target per line, each a counterpart of the source. A line may "
                    "blend several: sketch:2 | watercolor:1.",
                ),
                io.String.Input(
                    "source",
                    default="photo",
                    tooltip="Source text: what the generator makes now, the same for all lines: photo, dog, human. "
                    "Empty: CLIP finds a word for the generator's pictures.",
                ),
                *(widget for widget in training_inputs() if widget.id != NOT_KEPT),
            ],
            outputs=[
                io.Image.Output(
                    "sheet", tooltip="One picture: a column for the original and each target, a row for each latent."
                ),
                io.Image.Output("images", tooltip="The pictures of all targets as one batch, target by target."),
                NADAStyle.Output(
                    "styles", is_output_list=True, tooltip="One style per target; Apply Style runs once for each."
                ),
            ],
            is_output_node=True,
            **known_options(search_aliases=["sweep", "batch training", "many styles", "xy plot", "queue training"]),
        )

    @classmethod
    def validate_inputs(cls, targets: str | None = None) -> bool | str:
        if targets is None or target_lines(targets):  # None: they come through a link
            return True
        return NO_TARGETS

    @classmethod
    @host.explained
    def execute(
        cls,
        generator: Generator,
        clip: ClipEnsemble,
        targets: str,
        options: dict[str, Any] | None = None,
        preview_every: int = 10,
        preview_images: int = 4,
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = given(**(options or {}) | widgets)
        lines = target_lines(targets)
        if not lines:
            raise UsageError(NO_TARGETS)
        configs = [AdaptConfig.for_generator(generator, **settings, target=line) for line in lines]
        remark = recommendation_remark(generator, settings)
        with host.on_device(generator, clip):
            many = ManyAdaptations(generator, clip, configs, preview_every, preview_images, remark)
            sheet, images, styles = many.train()
        picture = host.picture_to_image(sheet)
        return io.NodeOutput(picture, host.to_image(images), styles, ui=ui.PreviewImage(picture, cls=cls))


class ManyAdaptations:
    """Trainings of several targets, whose runs are kept below the folder of runs.

    Args:
        generator, clip: the models, on the device.
        configs: one configuration per target.
        preview_every: iterations of a target between two pictures of it; 0 shows only the last ones.
        preview_images: number of latents to show.
        remark: sentence for the user.
    """

    def __init__(
        self,
        generator: Generator,
        clip: ClipEnsemble,
        configs: Sequence[AdaptConfig],
        preview_every: int,
        preview_images: int,
        remark: str,
    ):
        self.generator, self.every, self.remark = generator, preview_every, remark
        models = ",".join(f"{model.name}:{model.weight}" for model in clip)
        base = generator.fingerprint()
        self.jobs = [Job(job_id(base, clip, config), "", models, config) for config in configs]
        self.orders = Orders(Path(host.runs_folder()) / FOLDER)
        watch = Watch(
            opened=self._open, stepped=self._step, settled=self._settle, stop=lambda: self.cancelled is not None
        )
        self.worker = Worker(LoadedModels(generator, clip), self.orders, watch)
        self.samples = partial(generate_samples, count=preview_images, seed=configs[0].seed)
        self.batch = configs[0].batch
        self.frames: dict[str, Tensor] = {"": self.samples(generator, batch=self.batch)}
        # The worker owns the runs: out of memory, it drops them all before it trains each target alone.
        self.runs: WeakValueDictionary[str, KeptRun] = WeakValueDictionary()
        self.done: dict[str, int] = {job.id: 0 for job in self.jobs}
        self.progress = host.Progress(sum(job.config.iterations for job in self.jobs))
        self.cancelled: BaseException | None = None

    def train(self) -> tuple[Any, Tensor, list[Style]]:
        """Train the targets that are not done; return the contact sheet, the pictures [N, C, H, W] and the styles.

        Raises:
            NadaError: a target failed; the others are trained.
        """
        self._prune()
        for group in groups(self.jobs, TOGETHER):
            if self.cancelled is None:
                self.worker.work(group)
        if self.cancelled is not None:
            host.say("cancelled; the next run continues from there")
            raise self.cancelled.with_traceback(None)  # its frames keep the tensors alive
        Report(self.orders.root, self.jobs, "NADA Adapt Many").save()
        self._refuse_gaps()
        styles = [load_style(style_file(self.orders.folder(job))) for job in self.jobs]
        for job, style in zip(self.jobs, styles, strict=True):
            host.check_cancelled()
            self.frames[job.id] = self.samples(apply_style(self.generator, style), batch=self.batch)
        sheet = self._sheet()
        self.progress.update(self.progress.total, sheet)
        texts = [text for job in self.jobs for text in (job.config.source, *job.config.targets())]
        unreadable = unreadable_remark(self.worker.models.clip(""), texts)
        remarks = filter(None, (self.remark, unreadable, unwritable_remark(job.config.target for job in self.jobs)))
        host.say(" | ".join([f"{len(styles)} styles in {FOLDER}, with a page: {FOLDER}/index.html", *remarks]))
        return sheet, self._images(), styles

    def _prune(self) -> None:
        """Delete the targets that were cancelled longest ago, where such targets take more than a store's limit."""
        ours = [self.orders.folder(job).path for job in self.jobs]
        for path in ours:
            with suppress(OSError):
                os.utime(path)
        with suppress(OSError):
            begun = [path for path in ours[0].parent.iterdir() if not (path / RECORD).exists()]
            prune([path for path in begun if path not in ours], MAX_BYTES, ours[0])

    def _refuse_gaps(self) -> None:
        """Raise an error if a target is not done.

        Raises:
            NadaError: a target failed, or another process trains it at the same time.
        """
        gaps = [job for job in self.jobs if not self._is_done(job)]
        reasons = [failure(self.orders.folder(job)) or "another process trains it" for job in gaps]
        if gaps:
            told = "; ".join(f"{job.config.target}: {reason}" for job, reason in zip(gaps, reasons, strict=True))
            raise NadaError(f"some targets failed, and the others are trained: {told}. Change or remove these lines")

    def _is_done(self, job: Job) -> bool:
        return status(self.orders.folder(job), job.config.iterations) == DONE

    def _open(self, job: Job, kept: KeptRun) -> None:
        self.runs[job.id], self.done[job.id] = kept, kept.begin
        if kept.begin:
            host.say(f"{job.config.target}: continues after iteration {kept.begin}")

    def _step(self, job: Job, iteration: int, loss: float) -> None:
        """Show the progress of a target. Cancel is only noted here, so that the worker saves the run first."""
        self.done[job.id] = iteration
        shown = bool(self.every) and iteration % self.every == 0
        try:
            if shown:
                run = self.runs[job.id].run
                self.frames[job.id] = self.samples(run.trained, batch=run.images_at_once)
            self.progress.update(sum(self.done.values()), self._sheet() if shown else None)
            if self.progress.text_is_due():
                host.say(f"{job.config.target}: iteration {iteration}/{job.config.iterations} | loss {loss:.3f}")
        except host.Cancelled as cancelled:
            self.cancelled = cancelled

    def _settle(self, job: Job) -> None:
        if self._is_done(job):
            self.done[job.id] = job.config.iterations

    def _sheet(self) -> Any:
        """Draw a column for the original and one for each target, as trained so far."""
        shown = [(job.config.target, self.frames[job.id]) for job in self.jobs if job.id in self.frames]
        return filmstrip([("original", self.frames[""]), *shown])

    def _images(self) -> Tensor:
        return torch.cat([self.frames[job.id] for job in self.jobs])
