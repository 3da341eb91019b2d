"""The paper's claims on the demo world: `python benchmarks/paper_claims.py`.

Each claim is a comparison of settings, repeated over seeds of the training, on the demo generator: what the judge sees
in freshly sampled images of the result, beside Quality and Diversity. A run that is done is kept in --runs and not done
again; stop and go on as you like. `--page` writes the tables and the pictures of what is there; claims without runs
keep what the page had.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image, ImageDraw

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
from nada.measure.metrics import interval
from nada.pictures.convert import to_pil

PIXAR = "3d render in the style of Pixar"
STYLES = ("sketch", PIXAR, "watercolor painting", "neon sign", "pixel art", "marble statue")
SPECIES = ("cat", "pig", "bear", "rabbit", "fox", "person")
# Phrases that were chosen before any was tried, and what the judge is asked of them where it does not know them.
UNTRIED = (("photo", "drawing"), ("photo", "watercolour"), ("photo", "statue of marble"), ("photo", "neon light"),
           ("dog", "kitten"), ("dog", "hog"))  # fmt: skip
MEANING = {"statue of marble": "marble statue", "hog": "pig"}
BASE_SETTINGS = {"layers": "all", "batch": 4, "iterations": 100, "learning_rate": 0.006, "views": 2}
FIRST_SEED = 9_000_000  # of the images that are judged, which no choice was made on
FIRST_RUN = 1000  # seed of the first training; nor were these used before
PICTURES = 8  # shown of each result
REACHED = 0.95  # target rate from which a setting counts as one that reaches the target
COLUMNS = (
    ("target rate", "target rate"),
    ("rest kept", "rest kept"),
    ("parameters correlation", "face kept (r)"),
    ("parameters spread kept", "variety kept"),
    ("quality", "Quality"),
    ("diversity", "Diversity"),
    ("source found again", "found again"),
)


@dataclass(frozen=True)
class Claim:
    """A comparison: what the paper says, and the settings that it says it of."""

    name: str
    says: str
    pairs: tuple[tuple[str, str], ...]  # (source, target)
    variants: dict[str, dict[str, Any]]  # {label: changes to BASE_SETTINGS}
    moments: tuple[int, ...] = ()  # iterations to measure at, beside the last
    generator: str = "demo"
    front: bool = False  # whether to mark what is on the Quality-Diversity front


def _styles(*targets: str) -> tuple[tuple[str, str], ...]:
    return tuple(("photo", target) for target in targets)


def _species(*targets: str) -> tuple[tuple[str, str], ...]:
    return tuple(("dog", target) for target in targets)


MAPPER = "mapper"  # in the settings: steps of a mapper's training after that of the generator; 0 for none
GLOBAL = {"directional_weight": 0.0, "global_weight": 1.0}
CLAIMS = (
    Claim(
        "targets",
        "Styles and other animals are reached from two words.",
        (*_styles(*STYLES), *_species(*SPECIES)),
        {"directional": {}},
    ),
    Claim(
        "loss",
        "The directional loss keeps variety; the global loss collapses or cheats (sections 4.1, 5.4).",
        (*_styles("sketch"), *_species("pig")),
        {"directional": {}, "global": GLOBAL},
    ),
    Claim(
        "layers",
        "Training only the k layers that the target moves most keeps more of the original (section 4.2).",
        (*_styles("sketch"), *_species("pig", "cat")),
        {"k = 2": {"layers": 2}, "k = 4": {"layers": 4}, "k = 6": {"layers": 6}, "all": {}},
    ),
    Claim(
        "iterations",
        "Longer training goes further and in the end loses variety.",
        (*_styles("sketch"), *_species("pig")),
        {"directional": {"iterations": 400}},
        (25, 50, 100, 150, 200, 300),
    ),
    Claim("mixing", "Style mixing in training helps variety.", _styles("sketch"), {"0": {}, "0.9": {"mixing": 0.9}}),
    Claim("views", "Not in the paper: moved views keep a small CLIP from being fooled.",
          (*_styles("sketch"), *_species("pig")), {"0": {"views": 0}, "2": {}}),
    Claim("batch", "A batch of 2 is enough.", _styles("sketch"), {"2": {"batch": 2}, "4": {}, "8": {"batch": 8}}),
    Claim(
        "selection",
        "Layers need not be chosen anew in every step, nor on 8 images.",
        (*_styles("sketch"), *_species("pig", "bear")),
        {
            "k = 6, every step, 8 images": {"layers": 6},
            "k = 6, every 4th step, 4 images": {"layers": 6, "select_every": 4, "select_batch": 4},
        },
    ),
    Claim("precision", "Not in the paper: half precision, from 64 pixels on and in CLIP, leads to the same pictures.",
          (*_styles("sketch"), *_species("pig")), {"full": {}, "half": {"precision": "half"}}),
    Claim("mapper", "A latent mapper finds the codes that show the target (section 4.3).", _species("cat", "rabbit"),
          {"none": {}, "after 150 steps": {MAPPER: 150}}),
    Claim("norm", "The embedding-norm loss holds back overdrawn pictures.", _species("pig"),
          {"0": {}, "0.5": {"norm_weight": 0.5}}),
    Claim("people", "Another generator, of people, with the same settings.",
          (*_styles("sketch", PIXAR, "watercolor painting"), ("person", "dog")), {"directional": {}},
          generator="demo-person"),
    Claim("untried", "Phrases that nothing was ever tuned on, chosen before the first of them was tried.", UNTRIED,
          {"directional": {}}),
    Claim("longer", "Targets that 100 steps leave some images short of.", (*_styles("neon sign"), *_species("rabbit")),
          {"directional": {"iterations": 300}}, (100, 150, 200)),
    Claim("neon", "Attempts at keeping more variety of the target that loses the most.", _styles("neon sign"),
          {
              "all layers": {"iterations": 300},
              "layers from 32 px on": {"iterations": 300, "layers": "b32-b64"},
              "within-domain 16": {"iterations": 300, "angle_weight": 16.0},
          },
          (100, 200)),
    Claim(
        "presets",
        "What settings do for a style, for a small change of shape and for a new species. *: on the front; of the rows "
        "of this change that reach 95 %, none has both more Quality and more Diversity.",
        (("photo", "sketch"), ("dog", "fox"), ("dog", "bear")),
        {
            "all layers": {"iterations": 150},
            "k = 6": {"iterations": 150, "layers": 6},
            "within-domain 4": {"iterations": 150, "angle_weight": 4.0},
            "half the step size": {"iterations": 150, "learning_rate": 0.003},
            "twice the step size": {"iterations": 150, "learning_rate": 0.012},
            "batch 2": {"iterations": 150, "batch": 2},
        },
        (50, 75, 100),
        front=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training and what is measured of it."""

    source: str
    target: str
    settings: tuple[tuple[str, Any], ...]
    moments: tuple[int, ...]

    def file(self, folder: Path, models: str) -> Path:
        """Where its result is kept; another configuration or other models have another name."""
        digest = hashlib.sha256(json.dumps([self.source, self.target, self.settings, self.moments, models]).encode())
        return folder / f"{digest.hexdigest()[:16]}.json"


def make_run(claim: Claim, pair: tuple[str, str], changes: dict[str, Any], seed: int) -> Run:
    settings = {**BASE_SETTINGS, **changes, "seed": FIRST_RUN + seed}
    return Run(*pair, tuple(sorted(settings.items())), (*claim.moments, settings["iterations"]))


class Bench:
    """The models, and the source images that all results are compared with."""

    def __init__(self, generator: str, clip: str, count: int):
        self.base, self.clip, self.judge = load_generator(generator), load_clip(clip), load_judge()
        self.ws = sample_latents(self.base, count, FIRST_SEED, 1.0)
        self.before = generate(self.base, self.ws)
        weights = hashlib.sha256(self.base.fingerprint().encode())
        for tensor in (*self.clip.state_dict().values(), *self.judge.state_dict().values()):
            # The text towers may wait in half precision: the same numbers.
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            weights.update(tensor.contiguous().numpy().tobytes())
        self.models = f"{weights.hexdigest()[:16]} {count}"

    def measure(self, run: Run, folder: Path) -> dict[str, Any]:
        """Train and measure; pictures of the end lie beside the record."""
        settings = dict(run.settings)
        mapper_steps = settings.pop(MAPPER, 0)
        config = AdaptConfig(source=run.source, target=run.target, **settings)
        began, moments = time.perf_counter(), {}
        for step in adapt(self.base, self.clip, config):
            if step.iteration in run.moments:
                ws = self.ws
                if mapper_steps and step.iteration == config.iterations:
                    ws = self.mapped(step.generator, MapperConfig(run.target, mapper_steps, psi=1.0, seed=config.seed))
                images = generate(step.generator, ws)
                moments[str(step.iteration)] = self.judge_images(run.target, images)
        path = run.file(folder, self.models)
        rows = torch.cat([self.before[:PICTURES], images[:PICTURES]])
        with atomic_path(path.with_suffix(".png")) as temporary:
            strip(rows).save(temporary, "PNG")
        total = time.perf_counter() - began
        return {"run": [run.source, run.target, dict(run.settings)], "moments": moments, "seconds": total}

    def mapped(self, adapted: Generator, config: MapperConfig) -> torch.Tensor:
        """The codes of the source images, moved by a mapper that is trained on the adapted generator."""
        *_, last = train_mapper(adapted, self.clip, config)
        with torch.no_grad():
            return last.mapper(self.ws)

    def judge_images(self, target: str, images: torch.Tensor) -> dict[str, float]:
        left_out: dict[str, str] = {}
        found = [
            clip_measures(model, unit(model.encode_text([target])).mean(0), self.before, images) for model in self.clip
        ]
        measures = {name: mean(row[name] for row in found) for name in found[0]}
        return measures | judge_measures(self.judge, MEANING.get(target, target), self.before, images, left_out)


class Benches(dict[str, Bench]):
    """One for each generator, made when it is first asked for."""

    def __init__(self, clip: str, count: int):
        super().__init__()
        self.clip, self.count = clip, count

    def __missing__(self, generator: str) -> Bench:
        self[generator] = bench = Bench(generator, self.clip, self.count)
        return bench


def strip(images: torch.Tensor) -> Image.Image:
    """Two rows: before, after; at twice the size."""
    tiles = [tile.resize((96, 96), Image.Resampling.LANCZOS) for tile in to_pil(images)]
    columns = len(tiles) // 2
    picture = Image.new("RGB", (96 * columns, 192))
    for i, tile in enumerate(tiles):
        picture.paste(tile, (i % columns * 96, i // columns * 96))
    return picture


def planned(claims: list[Claim], seeds: int) -> Iterator[tuple[Claim, tuple[str, str], str, Run]]:
    """Every run, seed by seed, so that an early stop leaves all comparisons with fewer repetitions."""
    known = {MAPPER, *(f.name for f in fields(AdaptConfig))}
    for seed in range(seeds):
        for claim in claims:
            for pair in claim.pairs:
                for label, changes in claim.variants.items():
                    if set(changes) <= known:
                        yield claim, pair, label, make_run(claim, pair, changes, seed)


def table(claim: Claim, bench: Bench, folder: Path, seeds: int) -> list[str]:
    """The claim's rows in Markdown: means, with half the 95 % interval where there are several seeds."""
    lines = [
        "| change | setting | iterations | runs | " + " | ".join(title for _, title in COLUMNS) + " |",
        "| --- " * (4 + len(COLUMNS)) + "|",
    ]
    for pair in claim.pairs:
        found = {}
        for label, changes in claim.variants.items():
            files = [make_run(claim, pair, changes, seed).file(folder, bench.models) for seed in range(seeds)]
            records = [json.loads(file.read_text()) for file in files if file.exists()]
            for moment in records[0]["moments"] if records else ():
                found[label, moment] = [record["moments"][moment] for record in records]
        best = front(found) if claim.front else set()
        for (label, moment), rows in found.items():
            cells = [_cell([row.get(name) for row in rows]) for name, _ in COLUMNS]
            mark = " *" if (label, moment) in best else ""
            lines.append(f"| {pair[0]} -> {pair[1]} | {label} | {moment}{mark} | {len(rows)} | {' | '.join(cells)} |")
    return lines


def front(found: dict[Any, list[dict[str, float]]]) -> set[Any]:
    """Of the settings that reach the target, those that no other of them beats in both Quality and Diversity."""
    means = {key: {name: mean(row[name] for row in rows) for name in rows[0]} for key, rows in found.items()}
    able = {key: (m["quality"], m["diversity"]) for key, m in means.items() if m["target rate"] >= REACHED}
    beaten = lambda q, d: any(q < other_q and d < other_d for other_q, other_d in able.values())
    return {key for key, (q, d) in able.items() if not beaten(q, d)}


def _cell(values: list[float | None]) -> str:
    if None in values:
        return "-"
    found = interval(values)
    return f"{found['mean']:.3f}" + (f" +- {found['high'] - found['mean']:.3f}" if "high" in found else "")


def picture(claim: Claim, bench: Bench, folder: Path) -> Image.Image | None:
    """The pictures of the first seed, labelled, one pair of rows per setting."""
    rows = []
    for pair in claim.pairs:
        for label, changes in claim.variants.items():
            file = make_run(claim, pair, changes, 0).file(folder, bench.models).with_suffix(".png")
            if file.exists():
                rows.append((f"{pair[0]} -> {pair[1]}, {label}", Image.open(file)))
    if not rows:
        return None
    width, height = rows[0][1].size
    sheet = Image.new("RGB", (width, len(rows) * (height + 18)), "white")
    for i, (label, strip_) in enumerate(rows):
        ImageDraw.Draw(sheet).text((4, i * (height + 18) + 3), label, "black")
        sheet.paste(strip_, (0, i * (height + 18) + 18))
    return sheet


def write_page(path: Path, claims: list[Claim], benches: Benches, folder: Path, seeds: int, notes: str) -> None:
    """The results page, and a picture for each claim beside it."""
    lines = [
        "# The paper's claims on the demo world",
        "",
        f"Written by `python benchmarks/paper_claims.py`: {benches.count} images of the demo generator per run, "
        "untruncated; where a row has several runs, with other seeds of the training, mean +- half the 95 % interval. "
        "Unless a row says otherwise: " + ", ".join(f"{name} {value}" for name, value in BASE_SETTINGS.items()) + ".",
        "",
        "*target rate*, *rest kept* (a dog that becomes a sketch is still a dog), *face kept* (correlation of pose, "
        "coat, ears and the like with the source's) and *variety kept* (their spread, against the source's) are read "
        "by the judge, which took no part in any training; *Quality* and *Diversity* are cosines under the CLIPs that "
        "the adaptation was trained with, *found again* the share of images whose own source is the nearest one.",
    ]
    lines += ["", notes.strip()] if notes.strip() else []
    known = sections(path.read_text(encoding="utf-8")) if path.exists() else {}
    for claim in CLAIMS:
        rows = table(claim, benches[claim.generator], folder, seeds) if claim in claims else []
        if len(rows) < 2 + min(2, len(claim.variants)):  # nothing to compare
            lines += ["", known[claim.name]] if claim.name in known else []
            continue
        lines += ["", f"## {claim.name}", "", claim.says, "", *rows]
        if sheet := picture(claim, benches[claim.generator], folder):
            image = path.with_name(f"{path.stem}_{claim.name}.jpg")
            with atomic_path(image) as temporary:
                sheet.save(temporary, "JPEG", quality=72)
            lines += ["", f"![Above each pair of rows what was asked for: before, after]({image.name})"]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def sections(page: str) -> dict[str, str]:
    """The claims of a page by name, with heading, table and picture."""
    parts = (part.strip() for part in re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:])
    return {part.splitlines()[0].removeprefix("## "): part for part in parts}


def main() -> None:
    names = [claim.name for claim in CLAIMS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("claims-runs"), help="folder of results (%(default)s)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--count", type=int, default=200, help="images per measurement (default %(default)s)")
    parser.add_argument("--only", choices=names, nargs="+", default=names, metavar="CLAIM", help=", ".join(names))
    parser.add_argument("--clip", default="demo")
    parser.add_argument(
        "--page", type=Path, help="write the results here, such as docs/paper_claims.md, and train nothing"
    )
    parser.add_argument("--notes", type=Path, help="text to put before the tables: what the results mean")
    args = parser.parse_args()
    claims = [claim for claim in CLAIMS if claim.name in args.only]
    benches = Benches(args.clip, args.count)
    if args.page:
        notes = args.notes.read_text(encoding="utf-8") if args.notes else ""
        write_page(args.page, claims, benches, args.runs, args.seeds, notes)
        return
    for claim, pair, label, run in planned(claims, args.seeds):
        bench = benches[claim.generator]
        file = run.file(args.runs, bench.models)
        if file.exists():
            continue
        record = bench.measure(run, args.runs)
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        last = record["moments"][str(dict(run.settings)["iterations"])]
        text = ", ".join(f"{name} {last[name]:.3f}" for name, _ in COLUMNS if name in last)
        print(f"{claim.name}: {pair[0]} -> {pair[1]}, {label}: {text} ({record['seconds']:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
