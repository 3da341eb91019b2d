"""Where the time of an iteration goes."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch

from nada import Adaptation, generate, sample_latents

PREVIEW = 4  # images


class Stopwatch:
    """Splits the iterations of a run into parts, by watching when its methods begin and end."""

    def __init__(self, run: Adaptation, device: torch.device):
        self.run, self.device = run, device
        self.seconds: Counter[str] = Counter()
        self.busy = False
        self.began = self.now()
        self.watch(run, "select_layers", "selection")
        self.watch(run.frozen.mapping, "forward", "mapping")
        self.watch(run.frozen.synthesis, "forward", "frozen forward")
        self.watch(run.trained.synthesis, "forward", "trained forward")
        self.watch(run, "losses", "CLIP, both ways")
        self.watch(torch.Tensor, "backward", "generator backward")
        self.watch(run.trainer.trainable, "step", "optimizer")

    def now(self) -> float:
        """Seconds: of the processor on a CPU, else of the wall."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def lap(self, part: str) -> None:
        """What passed since the last call belongs to a part."""
        now = self.now()
        self.seconds[part] += now - self.began
        self.began = now

    def watch(self, owner: Any, method: str, part: str) -> None:
        """Count a method's time for a part, unless one that is watched called it."""
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
        """{part: seconds} of one iteration, and of a preview."""
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
