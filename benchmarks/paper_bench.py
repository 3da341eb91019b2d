"""Trainings on the demo world, and measures of their results by the judge and by CLIP."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import kept
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
from nada.clip.embedding import embed_images
from nada.demo.drawing.parameters import GLASSES_FROM, HAT_FROM, SECOND_EARS_FROM
from nada.files import atomic_path
from nada.losses import unit
from nada.measure.demo_judge import load_judge
from nada.measure.evaluate import Samples, embedding_measures
from nada.measure.judging import VERSION, Goal, goal_measures, kind_of, true_drawings
from nada.photo.distance import pyramid_distance
from nada.pictures.convert import from_uint8, to_pil, to_uint8
from nada.seeding import sample_z, seeded
from nada.training.cuda_graphs import Tensors
from nada.training.lock_step import FrozenSide

FIRST_SEED = 9_000_000  # seed of the measured images, which no choice of settings was made on
PICTURES = 8  # number of images shown of each result
SIDE = 96  # side of each shown image in pixels
ALIKE = 1e-4  # largest difference between images of the authors' network and of ours before training
# Settings besides those of AdaptConfig:
MAPPER = "mapper"  # number of iterations of training a mapper on the adapted generator; 0 for none
THEIRS = "theirs"  # train with the authors' code; the value is a dict of changes, see `Setup`
TRUTH = "truth"  # train on true drawings of the target instead of with CLIP: what the generator could reach
SHOWN = "shown"  # measure, without a training, the true drawings (DRAWN) or the unadapted generator's images (BASE)
DRAWN, BASE = "true drawings", "base"
UNDRAWN = {"learning_rate", "iterations"}  # settings that do not change what the frozen generator shows
# Goals of texts that are not among the judge's words: composed ones, attributes, and paraphrases.
GOALS: dict[str, dict[str, Any]] = {
    "drawn with a pencil": {"style": "sketch"},
    "painted with watercolours": {"style": "watercolor"},
    "glowing tubes": {"style": "neon"},
    "head of a red fox": {"species": "fox"},
    "dog with glasses": {"ranges": {"glasses": (GLASSES_FROM, 1.0)}},
    "dog with pointed ears": {"ranges": {"ear_kind": (SECOND_EARS_FROM, 1.0)}},
    "white dog": {"ranges": {"coat": (0.8, 1.0)}},
    "neon sign of a cat": {"style": "neon", "species": "cat"},
    "watercolor painting of a fox": {"style": "watercolor", "species": "fox"},
    "sketch of a dog with a hat": {"style": "sketch", "ranges": {"hat": (HAT_FROM, 1.0)}},
}


@dataclass(frozen=True)
class Run:
    """One training, with the settings of its measurement."""

    source: str
    target: str
    settings: tuple[tuple[str, Any], ...]
    moments: tuple[int, ...]

    def name(self, models: str) -> str:
        """Name of the result, which differs for other settings or models."""
        digest = hashlib.sha256(json.dumps([self.source, self.target, self.settings, self.moments, models]).encode())
        return digest.hexdigest()[:16]


class RecordedSide(FrozenSide):
    """Cache of the frozen generator's images and embeddings in all iterations, for runs one after another."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[bytes, int], tuple[Tensor, dict[int, Tensors]]] = {}

    def of(self, draws: Tensor, pieces: int, render: Callable[[], Tensor]) -> tuple[Tensor, dict[int, Tensors]]:
        """Return the images of an iteration, cached, and their embeddings; see `FrozenSide.of`."""
        key = draws.numpy().tobytes(), pieces
        if key not in self._known:
            self._known[key] = render(), {}
        return self._known[key]


def weight_bytes(module: torch.nn.Module) -> Iterator[bytes]:
    """Yield the content of each tensor, as float32: text towers in half precision give the same results."""
    for tensor in module.state_dict().values():
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        yield tensor.contiguous().numpy().tobytes()


class Bench:
    """The models, and the source images with which all results are compared."""

    def __init__(self, generator: str, count: int):
        self.base, self.clip, self.judge = load_generator(generator), load_clip("demo"), load_judge()
        self.z = torch.cat([sample_z(FIRST_SEED + i, self.base.config.z_dim) for i in range(count)])
        self.ws = sample_latents(self.base, count, FIRST_SEED, 1.0)
        self.before = generate(self.base, self.ws)
        self.kind = kind_of(self.judge, self.before)
        weights = hashlib.sha256(self.base.fingerprint().encode())
        for content in weight_bytes(self.clip):
            weights.update(content)
        self.makers = f"{weights.hexdigest()[:16]} {count}"  # key of what makes images
        for content in weight_bytes(self.judge):
            weights.update(content)
        weights.update(json.dumps([VERSION, self.judge.readable, self.judge.spreads, self.judge.ranges]).encode())
        self.models = f"{weights.hexdigest()[:16]} {count}"  # key of what makes and measures them
        self._side: tuple[dict[str, Any], RecordedSide] = {}, RecordedSide()

    def side(self, settings: dict[str, Any]) -> RecordedSide:
        """Return the cached frozen side of the latest run, if this run draws the same; else an empty one."""
        drawn = {name: value for name, value in settings.items() if name not in UNDRAWN}
        if drawn != self._side[0]:
            self._side = drawn, RecordedSide()
        return self._side[1]

    def measure(
        self, run: Run, picture: Path | None, reference: Path | None, folder: Path | None = None
    ) -> dict[str, Any]:
        """Train and measure.

        Args:
            run: the training to do.
            picture: JPEG file to write, with the first images before and after; None for no picture.
            reference: checkout of the authors' code, for a run with it.
            folder: cache folder of the images, so that other measures of them need no other training; None for none.
        """
        moments, (pixels, costs) = {}, self.images(run, reference, folder)
        for iteration, made in pixels.items():
            images = from_uint8(made)
            moments[iteration] = self.judge_images(run.target, images)
        if picture:
            with atomic_path(picture) as temporary:
                strip(torch.cat([self.before[:PICTURES], images[:PICTURES]])).save(temporary, "JPEG", quality=90)
        return {"run": [run.source, run.target, dict(run.settings)], "moments": moments, **costs}

    def images(
        self, run: Run, reference: Path | None, folder: Path | None
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return {iteration: images [N, R, R, 3], uint8} of a run, cached in a folder, and its seconds."""
        trained = SHOWN not in dict(run.settings)  # others are made as fast as they are read
        file = folder / f"{run.name(self.makers)}.safetensors" if folder and trained else None

        def make() -> tuple[dict[str, Tensor], dict[str, float]]:
            began = time.perf_counter()
            made = {str(iteration): to_uint8(images) for iteration, images in self.results(run, reference)}
            return made, {"seconds": time.perf_counter() - began}

        pixels, costs = kept.cached(file, make)
        return dict(sorted(pixels.items(), key=lambda item: int(item[0]))), costs

    def results(self, run: Run, reference: Path | None) -> Iterator[tuple[int, Tensor]]:
        """Yield the images after each iteration at which the run is measured."""
        settings = dict(run.settings)
        if shown := settings.get(SHOWN):
            yield 0, self.before if shown == BASE else self.truth(run.target) * 2 - 1
            return
        mapper_steps = settings.pop(MAPPER, 0)
        if settings.pop(TRUTH, False):
            yield from self.on_truth(run, settings)
            return
        if (changes := settings.pop(THEIRS, None)) is not None:
            assert reference, "the authors' code is part of this table: give --reference"
            yield from self.theirs(Setup(run.source, run.target, changes=tuple(changes), **settings), run, reference)
            return
        config = AdaptConfig(source=run.source, target=run.target, **settings)
        adaptation = adapt(self.base, self.clip, config)
        adaptation.frozen_side = self.side(settings)
        for step in adaptation:
            if step.iteration in run.moments:
                ws = self.ws
                if mapper_steps and step.iteration == config.iterations:
                    ws = self.mapped(step.generator, MapperConfig(run.target, mapper_steps, psi=1.0, seed=config.seed))
                yield step.iteration, generate(step.generator, ws)

    def on_truth(self, run: Run, settings: dict[str, Any]) -> Iterator[tuple[int, Tensor]]:
        """Yield the same images from a copy of the generator whose convolutions are trained on true drawings."""
        twin, random = copy.deepcopy(self.base).requires_grad_(False), seeded(settings["seed"])
        convs = [p.requires_grad_(True) for name, p in twin.synthesis.named_parameters() if ".conv" in name]
        optimizer = torch.optim.Adam(convs, lr=settings["learning_rate"], betas=(0.0, 0.99))
        for iteration in range(1, settings["iterations"] + 1):
            z = torch.randn(settings["batch"], twin.config.z_dim, generator=random)
            images = twin.synthesis(twin.mapping(z), "random", random)
            true = true_drawings(Samples(images, images, z), self.goal(run.target)) * 2 - 1
            optimizer.zero_grad()
            pyramid_distance(images, true).mean().backward()
            optimizer.step()
            if iteration in run.moments:
                yield iteration, generate(twin.requires_grad_(False), self.ws)
                for parameter in convs:
                    parameter.requires_grad_(True)

    def goal(self, target: str) -> Goal:
        """The goal of a target text, from the judge's words or from `GOALS`."""
        if (meaning := self.judge.meaning(target)) is not None:
            return Goal.named(self.kind, meaning)
        return Goal(self.kind, **GOALS[target])

    def theirs(self, setup: Setup, run: Run, reference: Path) -> Iterator[tuple[int, Tensor]]:
        """Yield the same images from the authors' code.

        Raises:
            ValueError: its network makes other images than ours before training.
        """
        for iteration, render in train(reference, self.base, self.clip, setup):
            if iteration == 0 and (error := float((render(self.ws) - self.before).abs().max())) > ALIKE:
                raise ValueError(f"before training, the images of both networks differ by {error:.1e}")
            if iteration in run.moments:
                yield iteration, render(self.ws)

    @cached_property
    def embedded(self) -> list[Tensor]:
        """Embeddings of the source images by each CLIP model."""
        return [embed_images(model, self.before) for model in self.clip]

    @cache  # noqa: B019 - there are as few benches as generators
    def truth(self, target: str) -> Tensor:
        """True drawings of the measured individuals as a target text asks for, [N, 3, R, R] in 0..1."""
        return true_drawings(Samples(self.before, self.before, self.z), self.goal(target))

    def mapped(self, adapted: Generator, config: MapperConfig) -> Tensor:
        """Codes of the source images, changed by a mapper that is trained on the adapted generator."""
        *_, last = train_mapper(adapted, self.clip, config)
        with torch.no_grad():
            return last.mapper(self.ws)

    def judge_images(self, target: str, images: Tensor) -> dict[str, float]:
        found = [
            embedding_measures(unit(model.encode_text([target])).mean(0), before, embed_images(model, images))
            for model, before in zip(self.clip, self.embedded, strict=True)
        ]
        measures = {name: mean(row[name] for row in found) for name in found[0]}
        samples = Samples(self.before, images, self.z)
        return measures | goal_measures(self.judge, self.goal(target), samples, {}, self.truth(target))


@cache
def make_bench(generator: str, count: int) -> Bench:
    """Cached bench for a generator and a number of measured images."""
    return Bench(generator, count)


def strip(images: Tensor) -> Image.Image:
    """Make two rows of tiles, before and after, of `SIDE` pixels."""
    tiles = [tile.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for tile in to_pil(images)]
    columns = len(tiles) // 2
    picture = Image.new("RGB", (SIDE * columns, 2 * SIDE))
    for i, tile in enumerate(tiles):
        picture.paste(tile, (i % columns * SIDE, i // columns * SIDE))
    return picture
