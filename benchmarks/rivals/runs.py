"""The runs of the table: plan them, estimate their cost, make their images, and measure these."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nada import ClipEnsemble, Generator, generate, load_clip, load_generator
from nada.checkpoint.discriminators import load_discriminator, save_discriminator
from nada.checkpoint.saving import tensor_hash
from nada.demo import ENCODERS, JUDGE
from nada.errors import NadaError
from nada.files import atomic_path
from nada.measure import judging
from nada.measure.demo_judge import Judge, load_judge
from nada.measure.evaluate import Samples, peak_memory
from nada.photo.encoders.small import SmallEncoder, load_small_encoder
from nada.photo.project import ProjectConfig, project
from nada.pictures.convert import from_uint8, to_uint8
from nada.pictures.grids import make_grid
from nada.seeding import seeded
from nada.stylegan2.discriminator import Discriminator, DiscriminatorConfig

from .. import kept
from . import measures, methods, one_image, own, truth
from .trainer import Config, FewShot, train_discriminator

STEPS, OWN_STEPS, BATCH, SEEDS = 300, 100, 4, 3  # steps with images, steps without, batch, repetitions of each row
IMAGES, CURVE, CURVE_TARGETS, CURVE_METHODS = 10, (1, 100), ("sketch", "pig"), ("NADA images", "TGAN+ADA")
# Runs of LONGER * STEPS, which the time for the whole table does not allow for all: another species takes these methods
# longer, and overfitting and collapse need time to appear.
LONGER = 4
LONGER_RUNS = (("TGAN+ADA", "pig"), ("TGAN", "sketch"), ("MineGAN", "sketch"))
PROJECTION = ProjectConfig(w_iterations=60, plus_iterations=60)  # sufficient for pictures of the demo world
MEASURED = 200  # number of images of each result, and of true pictures to compare with
OF_SAMPLES = ("Frechet distance", "recall")  # measures that depend on the number of images
FIRST_SEED = 9_000_000  # seed of their latents
TASKS = {**own.METHODS, **one_image.METHODS}
PICTURES = 8  # number of images shown of each result
TENSOR = "tensor"  # name of the only tensor in each file of codes or images
TIMED = 4  # number of steps for an estimate, which is compared with twice as many


@dataclass(frozen=True)
class Run:
    """One training with one method."""

    method: str
    target: str
    images: int
    """Number of true pictures that the method sees; 0 for methods that see none."""
    seed: int
    steps: int
    batch: int = BATCH
    """Number of images per step, for methods in `methods.METHODS`."""
    times: int = 1
    """Factor by which the training is longer than those of the rows of the tables."""

    @property
    def name(self) -> str:
        """Name of the record, without ending. Only runs of the tables have names without steps and batch."""
        method = self.method.lower().replace(" ", "_").replace("+", "_")
        steps = f"-{self.steps}" if self.times > 1 or self.steps != usual_steps(self.method) else ""
        batch = f"-batch_{self.batch}" if self.batch != BATCH else ""
        return f"{method}-{self.target}-{self.images}-{self.seed}{steps}{batch}"


def usual_steps(method: str, steps: int = STEPS, own_steps: int = OWN_STEPS) -> int:
    """Number of steps of a method in the rows of the tables; the other arguments are as for `planned`."""
    return round(TASKS[method].share * own_steps) if method in TASKS else steps


def planned(steps: int, own_steps: int, seeds: int, targets: list[str], batch: int = BATCH) -> list[Run]:
    """All runs, seed by seed, so that an early stop leaves fewer repetitions of all.

    Then come the curve over numbers of images, and a few longer runs, once each.

    Args:
        steps: steps of each method in `methods.METHODS`.
        own_steps: steps of NADA, to which those of the other methods in `TASKS` are proportional.
        seeds: repetitions of every row.
        targets: names in `truth.TARGETS`.
        batch: images per step of each method in `methods.METHODS`.
    """
    runs = []
    for seed in range(seeds):
        for target in targets:
            for method in TASKS.values():
                work = usual_steps(method.name, steps, own_steps)
                if work or seed == 0:  # without steps, nothing is random
                    runs.append(Run(method.name, target, method.sees, seed, work, batch))
            runs += [Run(name, target, IMAGES, seed, steps, batch) for name in methods.METHODS]
    for target in targets:
        if target in CURVE_TARGETS:
            work = {name: usual_steps(name, steps, own_steps) for name in CURVE_METHODS}
            runs += [Run(name, target, count, 0, work[name], batch) for name in CURVE_METHODS for count in CURVE]
        longer = [name for name, of in LONGER_RUNS if of == target]
        runs += [Run(name, target, IMAGES, 0, LONGER * steps, batch, LONGER) for name in longer]
    return runs


class Bench:
    """The models, and the pictures with which all results are compared; each is loaded when it is first needed.

    Args:
        folder: cache folder: images of all runs, codes, timings, and a discriminator that has to be trained first.
        generator: as for `nada adapt`.
        clip: as for `nada adapt`.
        encoder: small encoder of the generator's domain: a file, or the name of an included one.
        discriminator: file with a discriminator of the generator's domain; None trains one.
        count: number of images to measure.
        records: folder of results; None for `folder`.
    """

    def __init__(
        self,
        folder: Path,
        generator: str,
        clip: str,
        encoder: str,
        discriminator: Path | None = None,
        count: int = MEASURED,
        records: Path | None = None,
    ):
        self.folder, self.file, self.count = folder, discriminator, count
        self.records = records or folder
        self.names = (generator, clip, encoder)
        for path in (self.folder, self.records):
            path.mkdir(parents=True, exist_ok=True)

    @cached_property
    def base(self) -> Generator:
        """Generator from which every method starts."""
        return load_generator(self.names[0])

    @cached_property
    def clip(self) -> ClipEnsemble:
        """CLIP models of the methods without images."""
        return load_clip(self.names[1])

    @cached_property
    def judge(self) -> Judge:
        """Classifier of the demo world, with which no method trains."""
        return load_judge(JUDGE)

    @cached_property
    def encoder(self) -> SmallEncoder:
        """Encoder that estimates codes of images, with gradients."""
        return load_small_encoder(ENCODERS.get(self.names[2], self.names[2]))

    @cached_property
    def discriminator(self) -> Discriminator:
        """Discriminator of the generator's own domain."""
        return load_discriminator(self.file or self.folder / "discriminator.safetensors")

    def prepare(self, steps: int, say: Callable[[str], None]) -> None:
        """Train a discriminator against the unadapted generator, if no file has one."""
        path = self.folder / "discriminator.safetensors"
        if self.file or path.is_file():
            return
        size = self.base.config.resolution
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            discriminator = Discriminator(DiscriminatorConfig(size, self.base.config.channels))
        true = truth.pictures(*truth.SOURCE, count=max(32, steps), seed=0, size=size)
        for i, loss in enumerate(train_discriminator(self.base, discriminator, true, steps, Config())):
            if i % 100 == 0:
                say(f"discriminator: step {i}/{steps}, loss {loss:.3f}")
        save_discriminator(discriminator.eval(), path)

    def z(self, count: int) -> Tensor:
        """Latents with which all results are shown and measured."""
        return torch.randn(count, self.base.config.z_dim, generator=seeded(FIRST_SEED))

    def seen(self, run: Run) -> Tensor:
        """Training pictures of a run; for a method that sees none, those of the rows of the table."""
        return truth.seen(truth.TARGETS[run.target], run.images or IMAGES, run.seed, self.base.config.resolution)

    def task(self, run: Run) -> own.Task:
        """Load the models and draw the pictures that the methods get."""
        target, seen = truth.TARGETS[run.target], self.seen(run)
        return own.Task(self.base, self.clip, target, seen, run.seed, run.steps, self.discriminator, self.encoder)

    def codes(self, run: Run) -> tuple[Tensor, float]:
        """Codes of the first training pictures, found by optimization once and cached, and its processor seconds."""
        count, key = min(run.images, IMAGES), _key(self.base.fingerprint(), truth.VERSION, PROJECTION)
        path = self.folder / f"codes-{run.target}-{count}-{run.seed}-{key}.safetensors"

        def make() -> tuple[dict[str, Tensor], dict[str, float]]:
            seen, began = self.seen(run)[:IMAGES], time.process_time()
            with torch.enable_grad():
                *_, last = project(self.base, seen, PROJECTION)
            return {TENSOR: last.ws}, {"seconds": time.process_time() - began}

        tensors, costs = kept.cached(path, make)
        return tensors[TENSOR], costs["seconds"]

    def result(self, run: Run, task: own.Task, say: Callable[[str], None]) -> Callable[[Tensor], Tensor]:
        """Train, and return a function from z to images."""
        if run.method in TASKS:
            return TASKS[run.method].images(task)
        config, method = Config(iterations=run.steps, batch=run.batch, seed=run.seed), methods.METHODS[run.method]
        codes = self.codes(run)[0] if method.subspace else None
        training = FewShot(task.base, task.discriminator, task.seen, method, config, codes)
        for i, found in enumerate(training):
            if i % 50 == 0:
                say(f"{run.name}: step {i}/{run.steps}, " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()))
        return _in_parts(training.average)

    def make(self, run: Run, say: Callable[[str], None]) -> tuple[Tensor, dict[str, Any]]:
        """Train, and return the images of the measured latents as [N, R, R, 3] uint8, and the training's costs.

        Raises:
            NadaError: the images are not finite numbers.
        """
        task = self.task(run)  # loads all that a training needs, before the clock starts
        projected = self.codes(run)[1] if has_subspace(run) else 0.0  # counts also where the codes were cached
        began = time.process_time() - projected
        images_of = self.result(run, task, say)
        costs = _costs_since(began)
        images = images_of(self.z(self.made(run)))
        if limit(run):  # an optimization is part of making an image
            costs = _costs_since(began)
        if not images.isfinite().all():
            raise NadaError(f"the images of {run.name} are not finite numbers; give its method a smaller step size")
        return to_uint8(images), costs

    def images(self, run: Run, say: Callable[[str], None]) -> tuple[Tensor, dict[str, Any]]:
        """Return what `make` makes; the images are kept, so that other measures of them need no other training."""

        def make() -> tuple[dict[str, Tensor], dict[str, Any]]:
            pixels, costs = self.make(run, say)
            return {TENSOR: pixels}, costs

        tensors, costs = kept.cached(self.images_file(run), make)
        return tensors[TENSOR], costs

    def measure(self, run: Run, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
        """Measure the images of a run, which are made unless they are kept; write its record and its picture."""
        pixels, costs = self.images(run, say)
        z, target, after = self.z(len(pixels)), truth.TARGETS[run.target], from_uint8(pixels)
        before = kept.rounded(generate(self.base, self.base.mapping(z)))
        true = kept.rounded(truth.held_out(target, self.count, self.base.config.resolution))
        drawn = kept.rounded(self.seen(replace(run, images=max(run.images, IMAGES))))
        seen, centers = drawn[: run.images or IMAGES], drawn[:IMAGES]
        if run.method in methods.METHODS:  # they train on mirrored pictures too
            seen = torch.cat([seen, seen.flip(3)])
        found = measures.by_judge(self.judge, target, Samples(before, after, z))
        found |= measures.distances_to(*(measures.features(self.judge, x) for x in (true, after, seen, centers)))
        if len(pixels) < self.count:  # these depend on the number of images
            found = {name: value for name, value in found.items() if name not in OF_SAMPLES}
        record = {"run": asdict(run), "key": self.key(run), "measures": found, "count": len(pixels), **costs}
        if run.seed == 0:  # the page shows no others
            with atomic_path(self.picture(run)) as temporary:
                make_grid(after[:PICTURES], columns=PICTURES).save(temporary, "JPEG", quality=90)
        with atomic_path(self.records / f"{run.name}.json") as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")
        return record

    def made(self, run: Run) -> int:
        """Number of images that are made and measured of a run."""
        return min(self.count, limit(run) or self.count)

    @cached_property
    def models(self) -> str:
        """Key of the models that take part in making images."""
        networks = [
            [*map(tensor_hash, network.state_dict().values())] for network in (self.discriminator, self.encoder)
        ]
        return _key(self.base.fingerprint(), self.clip.describe(), networks)

    def images_file(self, run: Run) -> Path:
        """Path of the images of a run, whose name depends on all that takes part in making them."""
        settings: tuple[object, ...]
        if run.method in TASKS:
            settings = TASKS[run.method], self.base.metadata.get("recommended")
        else:
            settings = methods.METHODS[run.method], Config(), PROJECTION
        shown = FIRST_SEED, self.made(run), truth.TARGETS[run.target], truth.VERSION
        key = _key(run, *shown, *settings, self.models)
        return self.folder / f"{run.name}-{key}.safetensors"

    def key(self, run: Run) -> str:
        """Key of all that decides about the measures of a run, since others must not be compared with them."""
        judge = hashlib.sha256(JUDGE.read_bytes()).hexdigest()  # the file also has words, ranges and what is readable
        return _key(self.images_file(run).name, self.count, judge, judging.VERSION, measures.VERSION)

    def picture(self, run: Run) -> Path:
        """Path of the picture of a run's results."""
        return self.records / f"{run.name}.jpg"

    def record(self, run: Run) -> dict[str, Any] | None:
        """Load the record of a run with these models, measures and settings; None if there is none."""
        path = self.records / f"{run.name}.json"
        if not path.is_file():
            return None
        record = json.loads(path.read_text())
        return record if record.get("key") == self.key(run) else None

    def seconds(self, run: Run) -> float:
        """Estimate the processor seconds of a run from a few timed steps of its method, cached in steps.json."""
        if self.images_file(run).is_file():
            return 0.0
        path = self.folder / "steps.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        key = f"{run.method} {run.batch} {self.models}"
        if key not in known:
            known[key] = self._time(run)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(known, indent=1))
        fixed, step = known[key]
        most = limit(run)
        chunks = min(self.count, most) / own.AT_ONCE if most else 1
        return fixed + run.steps * step * chunks

    def _time(self, run: Run) -> tuple[float, float]:
        """Processor seconds before the first step, and per step."""
        few = [replace(run, steps=count, images=min(run.images, 2)) for count in (TIMED, 2 * TIMED)]
        codes = self.codes(few[0])[1] / few[0].images * min(run.images, IMAGES) if has_subspace(run) else 0.0
        taken = [self._time_of(one) for one in few]
        step = max(0.0, taken[1] - taken[0]) / TIMED
        return codes + max(0.0, taken[0] - TIMED * step), step

    def _time_of(self, run: Run) -> float:
        task, began = self.task(run), time.process_time()
        images_of = self.result(run, task, lambda text: None)
        if limit(run):
            images_of(self.z(own.AT_ONCE))
        return time.process_time() - began


def limit(run: Run) -> int | None:
    """Largest number of images to measure of a run; None for no limit."""
    return TASKS[run.method].at_most if run.method in TASKS else None


def has_subspace(run: Run) -> bool:
    """Whether a run needs the codes of its training pictures."""
    return run.method in methods.METHODS and methods.METHODS[run.method].subspace


def _costs_since(began: float) -> dict[str, Any]:
    """Return what this process has used, as a part of a record: processor seconds since `began`, and peak memory."""
    seconds, memory = time.process_time() - began, peak_memory(torch.device("cpu"))
    return {"processor seconds": seconds, "memory MB": memory, "threads": torch.get_num_threads()}


def _key(*parts: object) -> str:
    """Key of values whose representations tell all of them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _in_parts(images_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a function compute 16 images at a time, without gradients."""

    @torch.no_grad()
    def parts(z: Tensor) -> Tensor:
        return torch.cat([images_of(part) for part in z.split(16)])

    return parts


def left_to_do(bench: Bench, runs: list[Run]) -> Iterator[Run]:
    """Yield the runs without a record."""
    return (run for run in runs if bench.record(run) is None)
