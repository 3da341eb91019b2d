"""The jobs of a sweep: resolved configurations with an id, and the models that they train."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..clip import ClipEnsemble
from ..clip.loading import load_clip, usual_clip
from ..errors import UsageError
from ..generators import Generator
from ..measure.demo_judge import Judge, judge_for
from ..runs.names import result_name
from ..training.config import AdaptConfig
from ..training.state import FREE
from .plan import Combination

JOBS = "jobs"  # subfolder of a sweep, with a folder for each job
LOADED = 4  # number of generators, and of sets of CLIP models, that stay loaded
SHORT, SLUG = 12, 40  # number of characters of the id and of the texts in a folder's name
LoadGenerator = Callable[[str], Generator]


class Models:
    """Generators and CLIP models by name, loaded once and kept on the device.

    Args:
        load: loads a generator by file or name; a module-level function, so that it can be sent to other processes.
        device: device of all models.
    """

    def __init__(self, load: LoadGenerator, device: torch.device):
        self.load, self.device = load, device
        self.generator = lru_cache(LOADED)(self._generator)
        self.clip = lru_cache(LOADED)(self._clip)
        self.judge = lru_cache(LOADED)(self._judge)
        self.fingerprint = lru_cache(None)(self._fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return Models, (self.load, self.device)  # a process that receives this loads its own models

    def _generator(self, name: str) -> Generator:
        return self.load(name).to(self.device)

    def _clip(self, spec: str) -> ClipEnsemble:
        return load_clip(spec, self.device)

    def _judge(self, name: str) -> Judge | None:
        return judge_for(self.generator(name), self.device)

    def _fingerprint(self, name: str) -> str:
        return self.generator(name).fingerprint()


class LoadedModels(Models):
    """`Models` that returns the same loaded models for every name.

    Args:
        generator, clip: loaded models on the same device.
    """

    def __init__(self, generator: Generator, clip: ClipEnsemble):
        super().__init__(lambda name: generator, generator.device)
        self.clip = lambda spec: clip  # type: ignore[assignment]


@dataclass(frozen=True)
class Job:
    """One adaptation of a sweep."""

    id: str
    """Hash of everything that determines the result, as 64 hexadecimal digits."""
    generator: str
    """File or name, as the user gave it."""
    clip: str
    """Specification of the CLIP models, as the user gave it."""
    config: AdaptConfig

    @property
    def folder_name(self) -> str:
        """Name of the job's folder: the first digits of the id, and the texts."""
        return f"{self.id[:SHORT]}-{result_name(self.config)[:SLUG]}"

    @property
    def kind(self) -> str:
        """Key that is equal for jobs that differ only in their texts, which can train in lock-step."""
        settings = asdict(self.config) | {"source": "", "target": ""}
        return json.dumps([self.generator, self.clip, settings], sort_keys=True)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return {"generator": self.generator, "clip": self.clip, **asdict(self.config)}

    def folder(self, root: Path) -> Path:
        """Folder of the job in the sweep's folder `root`."""
        return root / JOBS / self.folder_name


def resolve(combinations: Sequence[Combination], models: Models) -> list[Job]:
    """Resolve combinations of settings to jobs, in order; equivalent combinations become one job.

    Raises:
        UsageError: the settings of a combination do not fit its generator; the message names the combination.
        NadaError: a model cannot be loaded.
    """
    jobs: dict[str, Job] = {}
    for settings in combinations:
        try:
            job = _resolved(settings, models)
        except UsageError as error:
            told = ", ".join(f"{name} {value!r}" for name, value in settings.items())
            raise UsageError(f"the job with {told}: {error}") from error
        jobs.setdefault(job.id, job)
    return list(jobs.values())


def _resolved(combination: Combination, models: Models) -> Job:
    """Turn a combination of settings into a job, and check that it fits its generator."""
    settings = dict(combination)
    name = settings.pop("generator", None)
    if not name:
        raise UsageError("generator is missing; give a StyleGAN2 file, or 'demo'")
    clip = settings.pop("clip", None) or usual_clip(name)
    generator = models.generator(name)
    config = AdaptConfig.for_generator(generator, **{"source": "", **settings})
    config.layer_count(generator), config.trained_layers(generator)  # refuse settings that do not fit, before training
    if not config.target.strip():
        raise UsageError("the target text is empty; write a word or a phrase")
    return Job(job_id(models.fingerprint(name), models.clip(clip), config), name, clip, config)


def job_id(fingerprint: str, clip: ClipEnsemble, config: AdaptConfig) -> str:
    """Hash of a resolved configuration: base generator, CLIP models, settings and length."""
    settings = {name: value for name, value in asdict(config).items() if name not in FREE}
    description = [settings, config.iterations, fingerprint, clip.describe()]
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
