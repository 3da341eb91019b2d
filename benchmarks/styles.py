"""Measure styles on the demo models with the judge: the table of docs/styles.md.

Compared are small files with whole weights; strengths between 0 and 1; two styles at once; a style on another generator
than its base; and the latent mapper on top of an adaptation. Each is repeated over several seeds of training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from pages import Options, Shown, Table, demo_models, digits, grid, key_of
from PIL import Image

from nada import (
    AdaptConfig,
    Generator,
    MapperConfig,
    Style,
    adapt,
    apply_style,
    generate,
    load_clip,
    load_generator,
    sample_latents,
    save_style,
    train_mapper,
)
from nada.files import atomic_path
from nada.losses import unit
from nada.measure.demo_judge import load_judge
from nada.measure.evaluate import Samples, clip_measures
from nada.measure.judging import judge_measures
from nada.pictures.grids import filmstrip

VERSION = 1  # raise it when measures change, so that results are not mixed with earlier ones
SEEDS, COUNT = 3, 200  # number of trainings of each kind, and of measured images
TARGETS = ("sketch", "neon sign", "watercolor painting")
KINDS = {"weights": {}, "stylespace": {"train": "stylespace", "train_torgb": True, "learning_rate": None}}
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MAPPER_STEPS = 300
PSI, ROWS = 1.0, 5  # truncation psi of all latents; number of latents in the picture


class Bench:
    """The models, and the measures for one seed.

    Args:
        seed: seed of all trainings.
        options: options with the numbers of images and iterations.
    """

    def __init__(self, seed: int, options: Options):
        device = torch.device(options.device)
        self.seed, self.options = seed, options
        self.base, self.clip = load_generator("demo").to(device), load_clip("demo", device)
        self.judge = load_judge(device=device)
        self.ws = sample_latents(self.base, options.fewer(COUNT, 8), 1_000_000, PSI)
        self.before = generate(self.base, self.ws)
        self.rows: dict[str, dict[str, float]] = {}

    def adapted(self, **settings) -> Generator:
        """Adapt the demo generator with these settings, otherwise with those that its file recommends."""
        settings = {"source": "photo", "target": "sketch", "seed": self.seed, **settings}
        config = AdaptConfig.for_generator(self.base, **settings)
        config = replace(config, iterations=self.options.fewer(config.iterations))
        *_, last = adapt(self.base, self.clip, config)
        return last.generator

    def measure(self, row: str, generator: Generator, target: str, ws=None, **more: float) -> None:
        """Measure target rate and preservation with the judge, and the cosine to the target text with each CLIP."""
        after = generate(generator, self.ws if ws is None else ws)
        found = judge_measures(self.judge, target, Samples(self.before, after), {})
        figures = {"target rate": found["target rate"], "pose kept": found.get("pose correlation", float("nan"))}
        figures["spread kept"] = found.get("parameters spread kept", float("nan"))
        for model in self.clip:
            text = unit(model.encode_text([target]))[0].cpu()
            figures[f"quality ({model.name})"] = clip_measures(model, text, None, after)["quality"]
        self.rows[row] = figures | more


def run(bench: Bench) -> list[tuple[str, Generator]]:
    """Run all measurements with one seed; returns images for the picture."""
    styles = {}
    for target in TARGETS:
        for kind, settings in KINDS.items():
            trained = bench.adapted(target=target, **settings)
            styles[target, kind] = style = Style.between(bench.base, trained)
            with tempfile.TemporaryDirectory() as folder:
                save_style(style, Path(folder) / "s.safetensors")
                size = (Path(folder) / "s.safetensors").stat().st_size / 1000
            bench.measure(f"{target}: {kind}", apply_style(bench.base, style), target, kilobytes=size)
    sketch, neon = styles["sketch", "weights"], styles["neon sign", "weights"]
    for strength in STRENGTHS:
        styled = apply_style(bench.base, sketch, strength)
        bench.measure(f"sketch at strength {strength}", styled, "sketch")
    half = [apply_style(bench.base, style, 0.5) for style in (sketch, neon)]
    both = apply_style(half[0], neon, 0.5)
    for row, generator in (("sketch 0.5", half[0]), ("neon sign 0.5", half[1]), ("sketch 0.5 + neon sign 0.5", both)):
        bench.measure(f"{row}, likeness to sketch", generator, "sketch")
        bench.measure(f"{row}, likeness to neon sign", generator, "neon sign")
    cat = bench.adapted(source="dog", target="cat", iterations=80)
    bench.measure("the sibling (dog -> cat), as it is", cat, "sketch")
    bench.measure("the sketch style on the sibling", apply_style(cat, sketch), "sketch")
    pig = bench.adapted(source="dog", target="pig", iterations=80)
    bench.measure("dog -> pig", pig, "pig")
    *_, last = train_mapper(pig, bench.clip, MapperConfig("pig", bench.options.fewer(MAPPER_STEPS), seed=bench.seed))
    mapper = last.mapper.requires_grad_(False)
    bench.measure("dog -> pig with the mapper", pig, "pig", ws=mapper(bench.ws))
    small = apply_style(bench.base, styles["sketch", "stylespace"])
    return [("base", bench.base), *((f"sketch {s}", apply_style(bench.base, sketch, s)) for s in STRENGTHS[2::2]),
            ("stylespace", small), ("neon", apply_style(bench.base, neon)), ("both 0.5", both),
            ("sibling", cat), ("sketch on it", apply_style(cat, sketch))]  # fmt: skip


def measure(options: Options) -> Iterator[str]:
    for seed in range(options.seeds or SEEDS):
        name = name_of(seed, options)
        for rows in options.kept(name, partial(measured, seed, options.file(name).with_suffix(".png"), options)):
            yield f"seed {seed}: {len(rows)} rows"


def measured(seed: int, picture: Path, options: Options) -> dict[str, dict[str, float]]:
    """{row: {column: value}} for one seed; also writes a picture of the first images."""
    bench = Bench(seed, options)
    frames = [(label, generate(generator, bench.ws[:ROWS])) for label, generator in run(bench)]
    with atomic_path(picture) as temporary:
        filmstrip(frames).save(temporary, "PNG")
    return bench.rows


def name_of(seed: int, options: Options) -> str:
    """Name of the results of a seed."""
    settings = COUNT, TARGETS, KINDS, STRENGTHS, MAPPER_STEPS, PSI
    return f"styles/{key_of(VERSION, demo_models(), settings, options.device)}_{seed}"


def show(options: Options) -> Shown:
    """Render one line for each measurement: the mean over the seeds, with the lowest and the highest in brackets."""
    names = [name_of(seed, options) for seed in range(options.seeds or SEEDS)]
    kept = [rows for name in names if (rows := options.found(name))]
    if not kept:
        return Shown("")
    columns = list(dict.fromkeys(name for figures in kept[0].values() for name in figures))
    lines = [[row, *(_cell([rows[row].get(name) for rows in kept]) for name in columns)] for row in kept[0]]
    text = f"Trainings of each kind: {len(kept)}; images: {options.fewer(COUNT, 8)}.\n\n{grid(['', *columns], lines)}"
    picture = Image.open(options.file(names[0]).with_suffix(".png")).convert("RGB")
    return Shown(f"{text}\n\n![What the rows look like](styles.jpg)", {"styles.jpg": picture})


def _cell(values: list[float | None]) -> str:
    if None in values:
        return ""
    low, middle, high = min(values), mean(values), max(values)
    return digits(middle) if high - low < 5e-4 * abs(middle) else f"{middle:.3f} ({low:.3f} to {high:.3f})"


TABLES = [Table("styles", "docs/styles.md", measure, show)]
