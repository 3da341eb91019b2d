"""Invert drawn animals in all ways: `python benchmarks/photos.py --out photos`.

Animals of the demo world, from a seed that no training of an encoder uses, are inverted by an encoder, by projection
in W and in W+, and by both; then the generator is tuned to some of them. Tables show how far the images are from the
drawings, whether the judge of the demo world reads the same in both, and how this changes with an adaptation: whether
the target is reached, and whether each adapted image is closest to its own drawing among all. The last row shows what
the judge reads in true drawings of the same animals in the target style.

Every chunk of animals is saved in --out as soon as it is done, and the same command resumes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "demo_world"))

from pages import digits, key_of
from train_encoder import TEST_SEED, drawn_photos

from nada import (
    AdaptConfig,
    ProjectConfig,
    Style,
    TuneConfig,
    adapt,
    apply_style,
    demo,
    generate,
    inversion_errors,
    load_clip,
    load_generator,
    load_style,
    project,
    save_style,
    tune,
)
from nada.files import atomic_path
from nada.measure.demo_judge import load_judge
from nada.measure.evaluate import Samples
from nada.measure.judging import Goal, true_drawings
from nada.measure.likeness import judged_likeness
from nada.photo.encoders.loading import load_encoder
from nada.pictures.grids import filmstrip
from nada.seeding import seeded

VERSION = 2  # raise it when drawings or methods change, so that results are not mixed with earlier ones
ROWS = 8  # number of animals in the picture
FIRST_SEED = TEST_SEED + 1000  # seed of latents and drawings; the encoder's training reports on others
STRENGTHS = (0.8, 0.5)  # strengths of the adaptation, besides 1
WAYS, TUNING = TABLES = "ways", "tuning"
MEASURES = ("error", "identity", "weakest", "kind", "target", "adapted identity", "found again", "seconds")


def latents(count: int, z_dim: int) -> Tensor:
    """Latents [count, z_dim] of the animals, from a seed that no training of an encoder uses."""
    return torch.randn(count, z_dim, generator=seeded(FIRST_SEED))


class Bench:
    """The models, the drawings, and the cached results of chunks."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.out = args, args.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.base, self.clip, self.judge = load_generator(args.generator), load_clip(args.clip), load_judge()
        self.encoder = load_encoder(args.encoder) if args.encoder else None
        self.z = latents(args.count, self.base.config.z_dim)
        self.photos = drawn_photos(self.z, args.species, FIRST_SEED)
        file = demo.ENCODERS.get(args.encoder, args.encoder and Path(args.encoder))
        self.models = self.base.fingerprint(), self.clip.describe(), file
        self.setting = args.species, args.count, args.chunk, args.steps, args.threads

    @property
    def target(self) -> str:
        """The judge's name for the style of the adaptation."""
        _, style = self.judge.meaning(self.args.target) or ("style", self.args.target)
        return style

    def drawn(self) -> Tensor:
        """True drawings [N, 3, R, R] of the same animals in the style of the adaptation: no adaptation does better."""
        goal = Goal(("photo", self.args.species), style=self.target)
        return true_drawings(Samples(self.photos, self.photos, self.z), goal) * 2 - 1

    def path(self, name: str, *settings: object) -> Path:
        """Return the path of a cached result that depends on the models and on settings."""
        return self.out / f"{name}_{key_of(VERSION, *self.models, *settings)}"

    def kept(self, name: str, make: Callable[[], dict[str, Tensor]], *settings: object) -> dict[str, Tensor]:
        """Load tensors cached in --out, or make and cache them; settings are those besides `self.setting`."""
        path = self.path(name, *self.setting, *settings).with_suffix(".pt")
        if path.exists():
            return torch.load(path, weights_only=True)
        made = make()
        with atomic_path(path) as temporary:
            torch.save(made, temporary)
        return made

    def style(self) -> Style:
        """The adaptation applied to the codes."""
        config = AdaptConfig.for_generator(self.base, source="photo", target=self.args.target)
        path = self.path("adaptation", asdict(config)).with_suffix(".safetensors")
        if not path.exists():
            *_, last = adapt(self.base, self.clip, config)
            save_style(Style.between(self.base, last.generator), path)
        return load_style(path)

    def invert(self, chunk: int) -> dict[str, tuple[Tensor, float]]:
        """{method: (codes, seconds for each animal)} of a chunk of drawings."""
        photos = self.photos[chunk * self.args.chunk : (chunk + 1) * self.args.chunk]
        steps, found = self.args.steps, {}

        def search() -> dict[str, Tensor]:
            began, done = time.perf_counter(), {}
            for step in project(self.base, photos, ProjectConfig(w_iterations=steps, plus_iterations=steps), self.clip):
                if step.iteration in (steps, 2 * steps):
                    name = "w" if step.iteration == steps else "plus"
                    done |= {name: step.ws, f"{name} seconds": torch.tensor(time.perf_counter() - began)}
            return done

        count = len(photos)
        if not self.args.encoder_only:
            searched = self.kept(f"projector_{chunk}", search)
            for name, title in (
                ("w", f"projector in W, {steps} iterations"),
                ("plus", f"in W, then W+, {steps} + {steps}"),
            ):
                found[title] = searched[name], float(searched[f"{name} seconds"]) / count
        if self.encoder:
            began = time.perf_counter()
            start = self.encoder.encode(photos, self.base)
            found["encoder"] = start, (time.perf_counter() - began) / count

            def refine() -> dict[str, Tensor]:
                began = time.perf_counter()
                *_, last = project(self.base, photos, ProjectConfig(plus_iterations=steps), self.clip, start)
                return {"ws": last.ws, "seconds": torch.tensor(time.perf_counter() - began)}

            refined = self.kept(f"encoder_and_projector_{chunk}", refine)
            found[f"encoder, then W+, {steps}"] = refined["ws"], float(refined["seconds"]) / count
        return found

    def tune(self, code: Tensor, photo: Tensor, style: Style, adapted: bool) -> dict[str, Tensor]:
        """Images of one tuning: whole and at rank 8, with the style added, and, with `adapted`, adapted afterwards."""
        began = time.perf_counter()
        run = tune(self.base, code, photo, TuneConfig(iterations=self.args.tuning_steps), self.clip)
        *_, last = run
        found = {"seconds": torch.tensor(time.perf_counter() - began), "image": generate(last.generator, code)}
        for rank in (None, 8):
            likeness = apply_style(self.base, run.style(rank=rank))
            found[f"image {rank}"] = generate(likeness, code)
            found[f"added {rank}"] = generate(apply_style(likeness, style), code)
        if adapted:
            config = AdaptConfig.for_generator(self.base, source="photo", target=self.args.target)
            *_, step = adapt(last.generator, self.clip, config)
            found["adapted after"] = generate(step.generator, code)
        return found

    def tuned(self, ws: Tensor, style: Style) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{method: (images, adapted images, seconds)} of the first animals, tuned one by one, in both orders."""
        rows: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
        args = self.args
        for i in range(min(args.tuned, len(ws))):
            code, photo = ws[i : i + 1], self.photos[i : i + 1]
            also_adapted = i < args.adapted_after
            make = partial(self.tune, code, photo, style, also_adapted)
            done = self.kept(f"tuned_{i}", make, args.encoder_only, args.target, args.tuning_steps, also_adapted)
            for rank, title in ((None, "tuned, then added to the adaptation"), (8, "the same at rank 8")):
                row = done[f"image {rank}"], done[f"added {rank}"], done["seconds"]
                rows.setdefault(title, []).append(row)
            if "adapted after" in done:
                rows.setdefault(f"tuned, then adapted, first {args.adapted_after}", []).append(
                    (done["image"], done["adapted after"], done["seconds"])
                )
        joined = {}
        for title, parts in rows.items():
            images, adapted, seconds = zip(*parts, strict=True)
            joined[title] = torch.cat(images), torch.cat(adapted), float(torch.stack(seconds).mean())
        return joined

    def measure(self, images: Tensor, adapted: Tensor, seconds: float) -> dict[str, float]:
        """Measures for one row of a table."""
        photos, judge, species = self.photos[: len(images)], self.judge, self.args.species
        photo, target = ("photo", species), (self.target, species)
        here = judged_likeness(judge, photos, images, (photo, photo))
        there = judged_likeness(judge, photos, adapted, (photo, target))
        said = judge.read(adapted)
        return {
            "error": float(inversion_errors(photos, images).mean()),
            "identity": here["identity kept"],
            "weakest": here["weakest parameter"],
            "kind": here["kind kept"],
            "target": float((said.styles.argmax(1) == judge.style_names.index(self.target)).float().mean()),
            "adapted identity": there["identity kept"],
            "found again": there["found again"],
            "seconds": seconds,
        }


def table(rows: dict[str, dict[str, float]], title: str) -> str:
    """Format rows as a table in Markdown."""
    lines = [f"| {title} | {' | '.join(MEASURES)} |", "| --- |" + " --- |" * len(MEASURES)]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(digits(row[measure]) for measure in MEASURES)} |")
    return "\n".join(lines)


def compare(bench: Bench) -> str:
    """Run all measurements; returns the tables."""
    args, style = bench.args, bench.style()
    adapted = apply_style(bench.base, style)
    parts: dict[str, list[tuple[Tensor, float]]] = {}
    count = args.count if WAYS in args.tables else min(args.tuned, args.count)
    chunks = -(-count // args.chunk)
    for chunk in range(chunks):
        for method, found in bench.invert(chunk).items():
            parts.setdefault(method, []).append(found)
        print(f"{chunk + 1} of {chunks} chunks", file=sys.stderr, flush=True)
    frames, texts = [("drawn", bench.photos[:ROWS])], []
    if WAYS in args.tables:
        rows = {}
        for method, found in parts.items():
            ws = torch.cat([codes for codes, _ in found])
            images, looks = generate(bench.base, ws), generate(adapted, ws)
            rows[method] = bench.measure(images, looks, sum(seconds for _, seconds in found) / len(found))
            frames += [(method, images[:ROWS]), (args.target, looks[:ROWS])]
        for strength in STRENGTHS:  # with the codes that the last method found
            looks = generate(apply_style(bench.base, style, strength), ws)
            rows[f"... {args.target} at strength {strength}"] = bench.measure(images, looks, 0.0)
        rows[f"true drawings, and true {args.target} drawings of the same"] = bench.measure(
            bench.photos, bench.drawn(), 0.0
        )
        texts.append(table(rows, f"{args.count} animals"))
    if TUNING in args.tables and args.tuned:
        ws = torch.cat([codes for codes, _ in parts[next(name for name in parts if "W+" in name)]])[: args.tuned]
        rows = {"not tuned": bench.measure(generate(bench.base, ws), generate(adapted, ws), 0.0)}
        tuned = bench.tuned(ws, style)
        fewest = min(len(images) for images, _, _ in tuned.values())
        for method, (images, looks, seconds) in tuned.items():
            rows[method] = bench.measure(images, looks, seconds)
            frames += [(method, images[:ROWS]), (args.target, looks[:ROWS])]
            if fewest < len(images):
                rows[f"{method}, first {fewest}"] = bench.measure(images[:fewest], looks[:fewest], seconds)
        texts.append(table(rows, f"{len(ws)} animals, {args.tuning_steps} iterations"))
    rows_shown = min(len(images) for _, images in frames)
    filmstrip([(label, images[:rows_shown]) for label, images in frames]).save(
        bench.out / f"{'-'.join(args.tables)}.png"
    )
    return "\n\n".join(texts)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for cached results and the picture")
    parser.add_argument("--generator", default="demo", help="generator of the demo world (default: %(default)s)")
    parser.add_argument("--species", default="dog", help="species of its images (default: %(default)s)")
    parser.add_argument("--clip", default="demo", help="CLIP models of adaptation and projection (%(default)s)")
    parser.add_argument("--encoder", help="encoder of this generator; without it, its rows are left out")
    parser.add_argument("--encoder-only", action="store_true", help="leave out the projection without the encoder")
    parser.add_argument("--target", default="sketch", help="target of the adaptation (default: %(default)s)")
    parser.add_argument("--count", type=int, default=200, help="number of animals (default: %(default)s)")
    parser.add_argument("--chunk", type=int, default=20, help="number of animals per chunk (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=75, help="iterations in W, and in W+ (default: %(default)s)")
    parser.add_argument("--tuned", type=int, default=20, help="number of animals to tune to (default: %(default)s)")
    parser.add_argument("--tuning-steps", type=int, default=75, help="iterations of a tuning (default: %(default)s)")
    parser.add_argument(
        "--adapted-after", type=int, default=0, help="animals whose tuned generator is adapted (default: %(default)s)"
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="tables to measure (default: both)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Measure, and print the tables."""
    args = parse()
    torch.set_num_threads(args.threads)
    print(compare(Bench(args)))


if __name__ == "__main__":
    main()
