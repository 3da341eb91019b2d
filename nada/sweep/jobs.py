"""The jobs of a sweep: resolved configurations with an id, and the models that they train."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..clip import ClipEnsemble
from ..clip.loading import load_clip, usual_clip
from ..errors import UsageError
from ..generators import Generator
from ..measure.demo_judge import Judge, judge_for
from ..pictures.reading import load_pictures
from ..runs.names import result_name
from ..runs.results import command
from ..training.config import OF_PICTURES, AdaptConfig
from .plan import PICTURES, Combination

JOBS = "jobs"  # subfolder of a sweep, with a folder for each job
LOADED = 4  # number of generators, of sets of CLIP models, and of sets of style images, that stay loaded
ID_LENGTH, SLUG_LENGTH = 12, 40  # number of characters of the id and of the texts in a folder's name
LoadGenerator = Callable[[str], Generator]
Size = tuple[int, int]  # height and width of style images


class StyleImages(NamedTuple):
    """Style images of a target; None and "" for a target text alone."""

    images: Tensor | None
    """[N, 3, H, W] in [-1, 1], of the size of the generator's images."""
    digest: str
    """SHA-256 of the images."""


class Models:
    """Generators, CLIP models and style images by name, loaded once and kept on the device.

    Args:
        load: loads a generator by file or name; a module-level function, so that it can be sent to other processes.
        device: device of all models.
    """

    def __init__(self, load: LoadGenerator, device: torch.device):
        self.load, self.device = load, device
        self.generator = lru_cache(LOADED)(self._generator)
        self.clip = lru_cache(LOADED)(self._clip)
        self.judge = lru_cache(LOADED)(self._judge)
        self.style_images = lru_cache(LOADED)(self._style_images)
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

    def _style_images(self, paths: tuple[str, ...], size: Size) -> StyleImages:
        if not paths:
            return StyleImages(None, "")
        images = load_pictures([Path(path) for path in paths], size)
        return StyleImages(images.to(self.device), hashlib.sha256(images.numpy().tobytes()).hexdigest())


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
    style_images: tuple[str, ...] = ()
    """Pictures, and folders of pictures, in the style to adapt to."""

    @property
    def folder_name(self) -> str:
        """Name of the job's folder: the first digits of the id, and the texts."""
        return f"{self.id[:ID_LENGTH]}-{result_name(self.config)[:SLUG_LENGTH]}"

    @cached_property
    def kind(self) -> str:
        """Key that is equal for jobs that differ only in their texts and images, which can train in lock-step."""
        settings = asdict(self.config) | {"source": "", "target": ""}
        return json.dumps([self.generator, self.clip, settings], sort_keys=True)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name; the paths of the style images as one text."""
        return self._trained | {PICTURES: ", ".join(self.style_images)}

    @property
    def command(self) -> str:
        """The command line that trains this job alone."""
        return command(self._trained, self.style_images)

    @property
    def _trained(self) -> dict[str, Any]:
        return {"generator": self.generator, "clip": self.clip, **asdict(self.config)}

    def folder(self, root: Path) -> Path:
        """Folder of the job in the sweep's folder `root`."""
        return root / JOBS / self.folder_name


def resolve(combinations: Sequence[Combination], models: Models) -> list[Job]:
    """Resolve combinations of settings to jobs, in order; equivalent combinations become one job.

    Raises:
        UsageError: the settings of a combination do not fit its generator, or its style images cannot be read; the
            message names the combination.
        NadaError: a model cannot be loaded.
    """
    without = not any(settings.get(PICTURES) for settings in combinations)
    if without and (lost := next((name for one in combinations for name in OF_PICTURES if one.get(name)), None)):
        raise UsageError(f"{lost} needs style images; add them, or leave {lost} out")
    jobs: dict[str, Job] = {}
    digest = lru_cache(None)(lambda paths, size: models.style_images(paths, size).digest)  # for all seeds
    for settings in combinations:
        try:
            job = _resolved(settings, models, digest)
        except UsageError as error:
            told = ", ".join(f"{name} {value!r}" for name, value in settings.items())
            idle = [name for name in OF_PICTURES if settings.get(name) and not settings.get(PICTURES)]
            remark = f" (this job has no style images, so these do not count: {', '.join(idle)})" if idle else ""
            raise UsageError(f"the job with {told}: {error}{remark}") from error
        jobs.setdefault(job.id, job)
    return list(jobs.values())


def _resolved(combination: Combination, models: Models, digest: Callable[[tuple[str, ...], Size], str]) -> Job:
    """Turn a combination of settings into a job, and check that it fits its generator.

    Args:
        combination: the settings.
        models: the models.
        digest: returns the digest of style images of a size, by their paths.
    """
    settings = dict(combination)
    name = settings.pop("generator", None)
    if not name:
        raise UsageError("generator is missing; give a StyleGAN2 file, or 'demo'")
    clip = settings.pop("clip", None) or usual_clip(name)
    pictures = settings.pop(PICTURES, ())
    if not pictures:
        settings = {key: value for key, value in settings.items() if key not in OF_PICTURES}
    generator = models.generator(name)
    texts = {"source": "", "target": ""}
    config = AdaptConfig.for_generator(generator, **{**texts, **settings}, style_images=bool(pictures))
    config.layer_count(generator), config.trained_layers(generator)  # refuse settings that do not fit, before training
    if not (config.target.strip() or pictures):
        raise UsageError("the target text is empty; write a word or a phrase, or give style images")
    key = job_id(models.fingerprint(name), models.clip(clip), config, digest(pictures, generator.config.image_size))
    return Job(key, name, clip, config, pictures)


def job_id(fingerprint: str, clip: ClipEnsemble, config: AdaptConfig, digest: str = "") -> str:
    """Hash of a resolved configuration: base generator, CLIP models, settings, length, and `StyleImages.digest`."""
    description = [config.identity, config.iterations, fingerprint, clip.describe(), *([digest] if digest else [])]
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
