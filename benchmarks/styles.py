"""What styles can do, on the demo models and by the judge: `python benchmarks/styles.py --out docs/styles.md`.

How far small files come against whole weights; what strengths between 0 and 1 give; two styles at once; a style on a
generator that it was not made for; and the latent mapper on top of an adaptation. Each over several seeds of training.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

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
from nada.cli.shared import pick_device
from nada.losses import unit
from nada.measure.demo_judge import judge_measures, load_judge
from nada.measure.evaluate import clip_measures
from nada.pictures.grids import filmstrip

TARGETS = ("sketch", "neon sign", "watercolor painting")
KINDS = {"weights": {}, "stylespace": {"train": "stylespace", "train_torgb": True, "learning_rate": None}}
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
PSI, ROWS = 1.0, 5  # of the latents; latents in the picture


class Bench:
    """The models, and what was measured so far."""

    def __init__(self, device: torch.device, images: int):
        self.base, self.clip = load_generator("demo").to(device), load_clip("demo", device)
        self.judge = load_judge(device=device)
        self.ws = sample_latents(self.base, images, 1_000_000, PSI)
        self.before = generate(self.base, self.ws)
        self.rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def adapted(self, seed: int, **settings) -> Generator:
        """What the demo generator's file recommends, with other settings where they are given."""
        settings = {"source": "photo", "target": "sketch", "seed": seed, **settings}
        *_, last = adapt(self.base, self.clip, AdaptConfig.for_generator(self.base, **settings))
        return last.generator

    def note(self, row: str, **figures: float) -> None:
        for name, value in figures.items():
            self.rows[row][name].append(value)
        print(row, {name: round(value, 3) for name, value in figures.items()}, file=sys.stderr, flush=True)

    def measure(self, row: str, generator: Generator, target: str, ws=None, **more: float) -> None:
        """Target rate and what was kept by the judge, and the cosine to the target text by each CLIP model."""
        after = generate(generator, self.ws if ws is None else ws)
        found = judge_measures(self.judge, target, self.before, after, {})
        figures = {"target rate": found["target rate"], "pose kept": found.get("pose correlation", float("nan"))}
        figures["spread kept"] = found.get("parameters spread kept", float("nan"))
        for model in self.clip:
            text = unit(model.encode_text([target]))[0].cpu()
            figures[f"quality ({model.name})"] = clip_measures(model, text, None, after)["quality"]
        self.note(row, **figures, **more)

    def seen(self, generator: Generator) -> dict[str, float]:
        """The judge's mean probability of each style of `TARGETS`, and of a photo."""
        read = self.judge.read(generate(generator, self.ws)).styles.mean(0)
        names = {"photo": "photo", **{t: self.judge.meaning(t)[1] for t in TARGETS}}
        return {label: float(read[self.judge.style_names.index(name)]) for label, name in names.items()}


def run(bench: Bench, seed: int) -> list[tuple[str, Generator]]:
    """All measurements with one seed; returns what to show."""
    styles = {}
    for target in TARGETS:
        for kind, settings in KINDS.items():
            trained = bench.adapted(seed, target=target, **settings)
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
    cat = bench.adapted(seed, source="dog", target="cat", iterations=80)
    bench.measure("the sibling (dog -> cat), as it is", cat, "sketch")
    bench.measure("the sketch style on the sibling", apply_style(cat, sketch), "sketch")
    pig = bench.adapted(seed, source="dog", target="pig", iterations=80)
    bench.measure("dog -> pig", pig, "pig")
    *_, last = train_mapper(pig, bench.clip, MapperConfig("pig", seed=seed))
    mapper = last.mapper.requires_grad_(False)
    bench.measure("dog -> pig with the mapper", pig, "pig", ws=mapper(bench.ws))
    small = apply_style(bench.base, styles["sketch", "stylespace"])
    return [("base", bench.base), *((f"sketch {s}", apply_style(bench.base, sketch, s)) for s in STRENGTHS[2::2]),
            ("stylespace", small), ("neon", apply_style(bench.base, neon)), ("both 0.5", both),
            ("sibling", cat), ("sketch on it", apply_style(cat, sketch))]  # fmt: skip


def table(rows: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: one line for each measurement, the mean over the seeds, and in brackets the lowest and the highest."""
    names = list(dict.fromkeys(name for figures in rows.values() for name in figures))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row, figures in rows.items():
        lines.append(f"| {row} | " + " | ".join(_cell(figures.get(name)) for name in names) + " |")
    return "\n".join(lines)


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    low, mean, high = min(values), sum(values) / len(values), max(values)
    return f"{mean:.3g}" if high - low < 5e-4 * abs(mean) else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def main(report: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of training (default: %(default)s)")
    parser.add_argument("--images", type=int, default=200, help="to measure on (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the page here, and its picture beside it as .jpg")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    bench = Bench(pick_device(args.device), args.images)
    for seed in range(args.seeds):
        shown = run(bench, seed)
    text = table(bench.rows)
    report(text)
    if args.out:
        frames = [(label, generate(generator, bench.ws[:ROWS])) for label, generator in shown]
        filmstrip(frames).save(args.out.with_suffix(".jpg"), quality=90)
        head = f"# Styles, measured\n\n`python {' '.join(['benchmarks/styles.py', *sys.argv[1:]])}`: "
        head += f"{args.seeds} seeds of training, {args.images} images at psi {PSI:g}; the mean over the seeds, and in "
        head += "brackets the lowest and the highest. Target rate, pose and spread (of pose, coat, ears ...) are the "
        head += "judge's, quality is the cosine to the target text.\n\n"
        args.out.write_text(f"{head}{text}\n\n![What the rows look like]({args.out.stem}.jpg)\n", "utf-8")


if __name__ == "__main__":
    main()
