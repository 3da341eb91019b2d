"""Trainings on the demo world, and what the judge and CLIP see in their results."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image
from reference import Setup, train
from torch import Tensor

from nada import (
    AdaptConfig,
    Generator,
    MapperConfig,
    adapt,
    generate,
    load_clip,
    load_generator,
    sample_latents,
    train_mapper,
)
from nada.files import atomic_path
from nada.losses import unit
from nada.measure.demo_judge import judge_measures, load_judge
from nada.measure.evaluate import clip_measures
from nada.pictures.convert import to_pil

FIRST_SEED = 9_000_000  # of the images that are judged, which no choice was made on
PICTURES = 8  # shown of each result
SIDE = 96  # of each, in pixels
ALIKE = 1e-4  # by which images of the authors' network may differ from ours before training
# Settings beside those of AdaptConfig:
MAPPER = "mapper"  # steps of a mapper's training after that of the generator; 0 for none
THEIRS = "theirs"  # train with the authors' code; value: the changes to it, see `Setup`
# Phrases that the judge does not know, and what it is asked instead.
MEANING = {"statue of marble": "marble statue", "hog": "pig"}


@dataclass(frozen=True)
class Run:
    """One training and what is measured of it."""

    source: str
    target: str
    settings: tuple[tuple[str, Any], ...]
    moments: tuple[int, ...]

    def name(self, models: str) -> str:
        """Name of its result; another configuration or other models have another one."""
        digest = hashlib.sha256(json.dumps([self.source, self.target, self.settings, self.moments, models]).encode())
        return digest.hexdigest()[:16]


class Bench:
    """The models, and the source images that all results are compared with."""

    def __init__(self, generator: str, count: int):
        self.base, self.clip, self.judge = load_generator(generator), load_clip("demo"), load_judge()
        self.ws = sample_latents(self.base, count, FIRST_SEED, 1.0)
        self.before = generate(self.base, self.ws)
        weights = hashlib.sha256(self.base.fingerprint().encode())
        for tensor in (*self.clip.state_dict().values(), *self.judge.state_dict().values()):
            # The text towers may wait in half precision: the same numbers.
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            weights.update(tensor.contiguous().numpy().tobytes())
        self.models = f"{weights.hexdigest()[:16]} {count}"

    def measure(self, run: Run, picture: Path, reference: Path | None) -> dict[str, Any]:
        """Train and measure.

        Args:
            run: the training.
            picture: PNG file to write, of the first images before and after.
            reference: a checkout of the authors' code, where the run is theirs.
        """
        began, moments = time.perf_counter(), {}
        for iteration, images in self.results(run, reference):
            moments[str(iteration)] = self.judge_images(run.target, images)
        with atomic_path(picture) as temporary:
            strip(torch.cat([self.before[:PICTURES], images[:PICTURES]])).save(temporary, "PNG")
        seconds = time.perf_counter() - began
        return {"run": [run.source, run.target, dict(run.settings)], "moments": moments, "seconds": seconds}

    def results(self, run: Run, reference: Path | None) -> Iterator[tuple[int, Tensor]]:
        """The images after each of the iterations that count."""
        settings = dict(run.settings)
        mapper_steps = settings.pop(MAPPER, 0)
        if (changes := settings.pop(THEIRS, None)) is not None:
            assert reference, "the authors' code is part of this table: give --reference"
            yield from self.theirs(Setup(run.source, run.target, changes=tuple(changes), **settings), run, reference)
            return
        config = AdaptConfig(source=run.source, target=run.target, **settings)
        for step in adapt(self.base, self.clip, config):
            if step.iteration in run.moments:
                ws = self.ws
                if mapper_steps and step.iteration == config.iterations:
                    ws = self.mapped(step.generator, MapperConfig(run.target, mapper_steps, psi=1.0, seed=config.seed))
                yield step.iteration, generate(step.generator, ws)

    def theirs(self, setup: Setup, run: Run, reference: Path) -> Iterator[tuple[int, Tensor]]:
        """The same by the authors' code.

        Raises:
            ValueError: before training, its network makes other images than ours.
        """
        for iteration, render in train(reference, self.base, self.clip, setup):
            if iteration == 0 and (error := float((render(self.ws) - self.before).abs().max())) > ALIKE:
                raise ValueError(f"before training, the images of both networks differ by {error:.1e}")
            if iteration in run.moments:
                yield iteration, render(self.ws)

    def mapped(self, adapted: Generator, config: MapperConfig) -> Tensor:
        """The codes of the source images, moved by a mapper that is trained on the adapted generator."""
        *_, last = train_mapper(adapted, self.clip, config)
        with torch.no_grad():
            return last.mapper(self.ws)

    def judge_images(self, target: str, images: Tensor) -> dict[str, float]:
        left_out: dict[str, str] = {}
        found = [
            clip_measures(model, unit(model.encode_text([target])).mean(0), self.before, images) for model in self.clip
        ]
        measures = {name: mean(row[name] for row in found) for name in found[0]}
        return measures | judge_measures(self.judge, MEANING.get(target, target), self.before, images, left_out)


@cache
def make_bench(generator: str, count: int) -> Bench:
    """The models with a number of images to judge, made when they are first asked for."""
    return Bench(generator, count)


def strip(images: Tensor) -> Image.Image:
    """Two rows of tiles: before, after; at `SIDE` pixels."""
    tiles = [tile.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for tile in to_pil(images)]
    columns = len(tiles) // 2
    picture = Image.new("RGB", (SIDE * columns, 2 * SIDE))
    for i, tile in enumerate(tiles):
        picture.paste(tile, (i % columns * SIDE, i // columns * SIDE))
    return picture
