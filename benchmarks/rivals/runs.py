"""The runs of the table: plan them, estimate their cost, and do them."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from nada import ClipEnsemble, Generator, load_clip, load_generator
from nada.checkpoint.discriminators import load_discriminator, save_discriminator
from nada.checkpoint.saving import write_safetensors
from nada.demo import ENCODERS
from nada.files import atomic_path
from nada.measure.demo_judge import Judge, load_judge
from nada.measure.evaluate import Samples
from nada.photo.encoders.small import load_small_encoder
from nada.photo.project import ProjectConfig, project
from nada.pictures.grids import make_grid
from nada.seeding import seeded
from nada.stylegan2.discriminator import Discriminator, DiscriminatorConfig

from . import measures, methods, one_image, own, truth
from .trainer import Config, FewShot, train_discriminator

STEPS, OWN_STEPS, SEEDS = 300, 100, 3  # steps with images, steps without, repetitions of each row
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
    batch: int = 4
    """Number of images per step, for methods in `methods.METHODS`."""

    @property
    def is_longer(self) -> bool:
        """Whether this is a training of more steps than the rows of the tables have."""
        return self.steps > usual_steps(self.method)

    @property
    def name(self) -> str:
        """Name of the record, without ending."""
        method = self.method.lower().replace(" ", "_").replace("+", "_")
        longer = f"-{self.steps}" if self.is_longer else ""
        return f"{method}-{self.target}-{self.images}-{self.seed}{longer}"


def usual_steps(method: str, steps: int = STEPS, own_steps: int = OWN_STEPS) -> int:
    """Number of steps of a method in the rows of the tables; the other arguments are as for `planned`."""
    return round(TASKS[method].share * own_steps) if method in TASKS else steps


def planned(steps: int, own_steps: int, seeds: int, targets: list[str], batch: int = 4) -> list[Run]:
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
                if work or seed == 0:  # the frozen generator has no random part
                    runs.append(Run(method.name, target, method.sees, seed, work, batch))
            runs += [Run(name, target, IMAGES, seed, steps, batch) for name in methods.METHODS]
    for target in targets:
        if target in CURVE_TARGETS:
            work = {name: usual_steps(name, steps, own_steps) for name in CURVE_METHODS}
            runs += [Run(name, target, count, 0, work[name], batch) for name in CURVE_METHODS for count in CURVE]
        runs += [Run(name, target, IMAGES, 0, LONGER * steps, batch) for name, of in LONGER_RUNS if of == target]
    return runs


class Bench:
    """The models, and the pictures with which all results are compared; each is loaded when it is first needed.

    Args:
        folder: cache folder: for codes, timings, and for a discriminator that has to be trained first.
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
        return load_judge()

    @cached_property
    def encoder(self) -> Callable[[Tensor], Tensor]:
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

    def training(self, run: Run) -> FewShot:
        """Create the training of a method that sees images."""
        config, method = Config(iterations=run.steps, batch=run.batch, seed=run.seed), methods.METHODS[run.method]
        codes = self.codes(run) if method.subspace else None
        return FewShot(self.base, self.discriminator, self.seen(run), method, config, codes)

    def codes(self, run: Run) -> Tensor:
        """Codes of the first training pictures, found by optimization once and cached."""
        count, base = min(run.images, IMAGES), self.base.fingerprint()[:8]
        path = self.folder / f"codes-{run.target}-{count}-{run.seed}-{base}.safetensors"
        if not path.is_file():
            with torch.enable_grad():
                *_, last = project(self.base, self.seen(run)[:IMAGES], PROJECTION)
            write_safetensors({"ws": last.ws.contiguous()}, {}, path)
        return load_file(path)["ws"]

    def result(self, run: Run, say: Callable[[str], None]) -> Callable[[Tensor], Tensor]:
        """Train, and return a function from z to images."""
        if run.method in TASKS:
            target, seen = truth.TARGETS[run.target], self.seen(run)
            task = own.Task(self.base, self.clip, target, seen, run.seed, run.steps, self.discriminator, self.encoder)
            return TASKS[run.method].images(task)
        training = self.training(run)
        for i, found in enumerate(training):
            if i % 50 == 0:
                say(f"{run.name}: step {i}/{run.steps}, " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()))
        return _in_parts(training.average)

    def measure(self, run: Run, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
        """Do a run, and write its record and its picture."""
        began = time.process_time()
        images_of = self.result(run, say)
        count, trained = min(self.count, limit(run) or self.count), time.process_time()
        z = self.z(count)
        after = images_of(z).detach()
        trained = time.process_time() if limit(run) else trained  # an optimization is part of making an image
        before = _in_parts(self.base)(z).detach()
        target = truth.TARGETS[run.target]
        true = truth.held_out(target, self.count, self.base.config.resolution)
        found = measures.by_judge(self.judge, target, Samples(before, after, z))
        drawn = self.seen(replace(run, images=max(run.images, IMAGES)))
        seen, centers = drawn[: run.images or IMAGES], drawn[:IMAGES]
        if run.method in methods.METHODS:  # they train on mirrored pictures too
            seen = torch.cat([seen, seen.flip(3)])
        found |= measures.distances_to(*(measures.features(self.judge, x) for x in (true, after, seen, centers)))
        if count < self.count:  # these depend on the number of images
            found = {name: value for name, value in found.items() if name not in OF_SAMPLES}
        record = {
            "run": asdict(run),
            "models": self.models,
            "measures": found,
            "count": count,
            "processor seconds": {"training": trained - began, "all": time.process_time() - began},
            "memory MB": peak_memory(),
            "threads": torch.get_num_threads(),
        }
        if run.seed == 0:  # the page shows no others
            with atomic_path(self.picture(run)) as temporary:
                make_grid(after[:PICTURES], columns=PICTURES).save(temporary, "JPEG", quality=90)
        with atomic_path(self.records / f"{run.name}.json") as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")
        return record

    @cached_property
    def models(self) -> str:
        """Key of models and true pictures, since records with others must not be mixed."""
        digest = hashlib.sha256(f"{self.base.fingerprint()} {truth.VERSION}".encode())
        for tensor in [*self.discriminator.state_dict().values(), *self.judge.state_dict().values()]:
            digest.update(tensor.contiguous().numpy().tobytes())
        for model in self.clip.describe():
            digest.update(model["fingerprint"].encode())
        return digest.hexdigest()[:16]

    def picture(self, run: Run) -> Path:
        """Path of the picture of a run's results."""
        return self.records / f"{run.name}.jpg"

    def record(self, run: Run) -> dict[str, Any] | None:
        """Load the record of a run with these models and settings; None if there is none."""
        path = self.records / f"{run.name}.json"
        if not path.is_file():
            return None
        record = json.loads(path.read_text())
        return record if (record["run"], record["models"]) == (asdict(run), self.models) else None

    def seconds(self, run: Run) -> float:
        """Estimate the processor seconds of a run from a few timed steps of its method, cached in steps.json."""
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
        codes = 0.0
        if run.method in methods.METHODS and methods.METHODS[run.method].subspace:  # found once, and cached
            began = time.process_time()
            self.codes(few[0])
            codes = (time.process_time() - began) / few[0].images * min(run.images, IMAGES)
        taken = [self._time_of(one) for one in few]
        step = max(0.0, taken[1] - taken[0]) / TIMED
        return codes + max(0.0, taken[0] - TIMED * step), step

    def _time_of(self, run: Run) -> float:
        began = time.process_time()
        images_of = self.result(run, lambda text: None)
        if limit(run):
            images_of(self.z(own.AT_ONCE))
        return time.process_time() - began


def limit(run: Run) -> int | None:
    """Largest number of images to measure of a run; None for no limit."""
    return TASKS[run.method].at_most if run.method in TASKS else None


def _in_parts(images_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a function compute 16 images at a time, without gradients."""

    @torch.no_grad()
    def parts(z: Tensor) -> Tensor:
        return torch.cat([images_of(part) for part in z.split(16)])

    return parts


def peak_memory() -> float | None:
    """Peak memory of this process so far in MB; None on Windows, where Python cannot measure it."""
    if sys.platform == "win32":
        return None
    resource = importlib.import_module("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def left_to_do(bench: Bench, runs: list[Run]) -> Iterator[Run]:
    """Yield the runs without a record."""
    return (run for run in runs if bench.record(run) is None)
