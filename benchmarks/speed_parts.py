"""Measure the time of each part of an iteration."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch

from nada import Adaptation, generate, sample_latents

PREVIEW = 4  # number of images in a preview


class Stopwatch:
    """Split the iterations of a run into parts, by timing its methods."""

    def __init__(self, run: Adaptation, device: torch.device):
        self.run, self.device = run, device
        self.seconds: Counter[str] = Counter()
        self.busy = False
        self.began = self.now()
        self.watch(run, "select_layers", "selection")
        self.watch(run.frozen.mapping, "forward", "mapping")
        self.watch(run.frozen.synthesis, "forward", "frozen forward")
        self.watch(run.trained.synthesis, "forward", "trained forward")
        self.watch(run.objective, "losses", "CLIP, both ways")
        self.watch(torch.Tensor, "backward", "generator backward")
        self.watch(run.trainer.trainable, "step", "optimizer")

    def now(self) -> float:
        """Current time in seconds: processor time on a CPU, else wall time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def lap(self, part: str) -> None:
        """Assign the time since the last call to a part."""
        now = self.now()
        self.seconds[part] += now - self.began
        self.began = now

    def watch(self, owner: Any, method: str, part: str) -> None:
        """Assign the time of a method to a part, unless another watched method called it."""
        plain = getattr(owner, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.busy:
                return plain(*args, **kwargs)
            self.lap("rest")
            self.busy = True
            try:
                return plain(*args, **kwargs)
            finally:
                self.busy = False
                self.lap(part)

        setattr(owner, method, watched)

    def iteration(self) -> dict[str, float]:
        """Time one iteration and a preview: {part: seconds}."""
        self.seconds.clear()
        self.began = self.now()
        next(self.run)
        self.lap("rest")
        codes = sample_latents(self.run.frozen, PREVIEW)
        self.busy, self.began = True, self.now()
        generate(self.run.trained, codes, batch=self.run.config.batch)
        self.lap(f"preview of {PREVIEW} images")
        self.busy = False
        return dict(self.seconds)
