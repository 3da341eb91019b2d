"""The paper's claims on the demo world: the tables of docs/paper_claims.md.

Each claim is a comparison of settings on the demo generator, repeated over seeds of the training. The judge classifies
freshly sampled images of each result; Quality and Diversity are measured too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from pages import Options, Shown, Table, grid
from paper_bench import MAPPER, THEIRS, TRUTH, Bench, Run, make_bench
from PIL import Image, ImageDraw
from reference import CLEARED, FIRST_STEP, LAZY, SHARED_NOISE

from nada.measure.metrics import interval
from nada.runs.names import slug

PAGE = "docs/paper_claims.md"
SEEDS, COUNT = 5, 200  # number of trainings of each setting, and of measured images
PIXAR = "3d render in the style of Pixar"
STYLES = ("sketch", PIXAR, "watercolor painting", "neon sign", "pixel art", "marble statue", "ukiyo-e print",
          "chalk drawing", "stained glass window")  # fmt: skip
SPECIES = ("cat", "pig", "bear", "rabbit", "fox", "person")
# Phrases that were chosen before any of them was tried: paraphrases that are in no training caption of the demo's CLIP
# models, attributes, and two changes at once.
UNTRIED = (
    ("photo", "drawn with a pencil"), ("photo", "painted with watercolours"), ("photo", "glowing tubes"),
    ("dog", "head of a red fox"), ("dog", "dog with glasses"), ("dog", "dog with pointed ears"), ("dog", "white dog"),
    ("photo of a dog", "neon sign of a cat"), ("photo of a dog", "watercolor painting of a fox"),
    ("photo of a dog", "sketch of a dog with a hat"),
)  # fmt: skip
BASE_SETTINGS = {"layers": "all", "batch": 4, "iterations": 100, "learning_rate": 0.006, "views": 2}
FIRST_RUN = 1000  # seed of the first training; these seeds were not used before either
REACHED = 0.95  # target rate from which a setting counts as reaching the target
CAPTION = "Pairs of rows, before and after, each below its change and setting"
COLUMNS = (
    ("target rate", "target rate"),
    ("rest kept", "rest kept"),
    ("parameters correlation", "face kept (r)"),
    ("parameters spread kept", "variety kept"),
    ("found again by the judge", "found by the judge"),
    ("distance to the truth", "distance to the truth"),
    ("quality", "Quality"),
    ("diversity", "Diversity"),
    ("source found again", "found again"),
)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and the settings to compare for it."""

    name: str
    says: str
    pairs: tuple[tuple[str, str], ...]  # (source, target)
    variants: dict[str, dict[str, Any]]  # {label: changes to BASE_SETTINGS}
    moments: tuple[int, ...] = ()  # additional iterations at which to measure
    generator: str = "demo"
    front: bool = False  # whether to mark the settings on the Quality-Diversity front

    @property
    def needs_reference(self) -> bool:
        return any(THEIRS in changes for changes in self.variants.values())


def _styles(*targets: str) -> tuple[tuple[str, str], ...]:
    return tuple(("photo", target) for target in targets)


def _species(*targets: str) -> tuple[tuple[str, str], ...]:
    return tuple(("dog", target) for target in targets)


# Targets that decided, with other seeds, which of two CLIP models ships and what the demo's settings are.
CHOSEN_ON = (*_styles("sketch", "neon sign", "watercolor painting"), *_species("pig", "fox"))
ON_TRUTH = {TRUTH: True}
AS_IT_IS = {THEIRS: [], "views": 0}
GLOBAL = {"directional_weight": 0.0, "global_weight": 1.0}
CLAIMS = (
    Claim(
        "targets",
        "Styles and other animals are reached from two words.",
        (*_styles(*STYLES), *_species(*SPECIES)),
        {"directional": {}, "on true pictures": ON_TRUTH},
        (50,),
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
        "Layers need not be chosen in every iteration, nor on 8 images.",
        (*_styles("sketch"), *_species("pig", "bear")),
        {
            "6 layers, every iteration, 8 images": {"layers": 6},
            "6 layers, every 4th iteration, 4 images": {"layers": 6, "select_every": 4, "select_batch": 4},
        },
    ),
    Claim("precision", "Not in the paper: half precision, from 64 pixels on and in CLIP, leads to the same pictures.",
          (*_styles("sketch"), *_species("pig")), {"full": {}, "half": {"precision": "half"}}),
    Claim("mapper", "A latent mapper finds the codes that show the target (section 4.3).", _species("cat", "rabbit"),
          {"none": {}, "after 150 iterations": {MAPPER: 150}}),
    Claim("norm", "The embedding-norm loss holds back overdrawn pictures.", _species("pig"),
          {"0": {}, "0.5": {"norm_weight": 0.5}}),
    Claim("people", "Another generator, of people, with the same settings.",
          (*_styles("sketch", PIXAR, "watercolor painting"), ("person", "dog")), {"directional": {}}, (50,),
          generator="demo-person"),
    Claim("untried", "Paraphrases, attributes and two changes at once, chosen before the first of them was tried.",
          UNTRIED, {"directional": {}, "on true pictures": ON_TRUTH}, (50,)),
    Claim("settings", "Not in the paper: attempts at better settings, on the targets that settings were chosen on.",
          CHOSEN_ON,
          {
              "directional": {},
              "to-RGB layers too": {"train_torgb": True},
              "6 views": {"views": 6},
              "half the step size": {"learning_rate": 0.003},
          },
          (50,)),
    Claim("longer", "Targets that some images do not reach within 100 iterations.",
          (*_styles("neon sign"), *_species("rabbit")), {"directional": {"iterations": 300}}, (100, 150, 200)),
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
    Claim(
        "beside the authors' code",
        "Their training code, run on the weights of the demo generator and with the demo's CLIP models.",
        (*_styles(*STYLES[:4]), *_species("pig", "cat", "bear")),
        {"theirs": AS_IT_IS, "theirs, our views": {THEIRS: []}, "ours without views": {"views": 0}, "ours": {}},
        (50,),
    ),
    Claim(
        "the authors' code, piece by piece",
        "Their training code with parts of ours, and ours without them.",
        (*_styles("sketch"), *_species("pig")),
        {
            "theirs": AS_IT_IS,
            "theirs, their batch, step size and iterations": {
                **AS_IT_IS, "batch": 2, "learning_rate": 0.002 * LAZY, "iterations": 300
            },
            "theirs, 6 layers chosen in each iteration": {**AS_IT_IS, "layers": 6},
            f"theirs, {CLEARED}": {**AS_IT_IS, THEIRS: [CLEARED]},
            f"theirs, {SHARED_NOISE}": {**AS_IT_IS, THEIRS: [SHARED_NOISE]},
            f"theirs, {SHARED_NOISE}, {FIRST_STEP}": {**AS_IT_IS, THEIRS: [SHARED_NOISE, FIRST_STEP]},
            f"theirs, {CLEARED}, our views": {THEIRS: [CLEARED]},
            f"theirs, {SHARED_NOISE}, {FIRST_STEP}, our views": {THEIRS: [SHARED_NOISE, FIRST_STEP]},
            "ours without views": {"views": 0},
            "ours": {},
        },
    ),
)  # fmt: skip


def make_run(claim: Claim, pair: tuple[str, str], changes: dict[str, Any], seed: int, options: Options) -> Run:
    """The training of a setting, with a seed counted from 0."""
    settings = {**BASE_SETTINGS, **changes, "seed": FIRST_RUN + seed}
    for name in {"iterations", MAPPER} & settings.keys():
        settings[name] = options.fewer(settings[name])
    moments = {*map(options.fewer, claim.moments), settings["iterations"]}
    return Run(*pair, tuple(sorted(settings.items())), tuple(sorted(moments)))


def picture_of(run: Run, record: Path) -> Path | None:
    """The picture of a training beside its record; None for further seeds, of which none is shown."""
    return record.with_suffix(".jpg") if dict(run.settings)["seed"] == FIRST_RUN else None


def runs(claim: Claim, pair: tuple[str, str], options: Options) -> dict[str, list[Run]]:
    """{setting: trainings, one for each seed} for a pair of texts."""
    seeds = range(options.seeds or SEEDS)
    return {
        label: [make_run(claim, pair, changes, seed, options) for seed in seeds]
        for label, changes in claim.variants.items()
    }


def bench_of(claim: Claim, options: Options) -> Bench:
    return make_bench(claim.generator, options.fewer(COUNT, 8))


def measure(claim: Claim, options: Options) -> Iterator[str]:
    """Train what is not cached, seed by seed, so that an early stop leaves all comparisons with fewer repetitions."""
    bench = bench_of(claim, options)
    planned = [
        (run, label) for pair in claim.pairs for label, same in runs(claim, pair, options).items() for run in same
    ]
    for run, label in sorted(planned, key=lambda plan: dict(plan[0].settings)["seed"]):
        name = f"claims/{run.name(bench.models)}"
        work = partial(bench.measure, run, picture_of(run, options.file(name)), options.reference)
        for record in options.kept(name, work):
            last = record["moments"][str(run.moments[-1])]
            text = ", ".join(f"{column} {last[column]:.3f}" for column, _ in COLUMNS if column in last)
            yield f"{run.source} -> {run.target}, {label}: {text} ({record['seconds']:.0f} s)"


def show(claim: Claim, options: Options) -> Shown:
    """Render the claim's table: means, with half the 95 % interval for several seeds; pictures of the first seed."""
    bench = bench_of(claim, options)
    rows, strips = [], []
    for pair in claim.pairs:
        found, change = {}, f"{pair[0]} -> {pair[1]}"
        marked = f"{change} †" if pair in CHOSEN_ON else change
        for label, same in runs(claim, pair, options).items():
            names = [f"claims/{run.name(bench.models)}" for run in same]
            records = [record for name in names if (record := options.found(name))]
            for moment in records[0]["moments"] if records else ():
                found[label, moment] = [record["moments"][moment] for record in records]
            picture = picture_of(same[0], options.file(names[0]))
            strips += [(f"{change}, {label}", Image.open(picture))] if picture and picture.exists() else []
        best = front(found) if claim.front else set()
        for (label, moment), values in found.items():
            cells = [_cell([row.get(name) for row in values]) for name, _ in COLUMNS]
            mark = " *" if (label, moment) in best else ""
            rows.append([marked, label, f"{moment}{mark}", str(len(values)), *cells])
    if len(rows) < min(2, len(claim.variants)):  # nothing to compare
        return Shown("")
    columns = ["change", "setting", "iterations", "runs", *(title for _, title in COLUMNS)]
    text = f"## {claim.name}\n\n{claim.says}\n\n{grid(columns, rows)}"
    name = f"paper_claims_{slug(claim.name)}.jpg"
    return Shown(f"{text}\n\n![{CAPTION}]({name})", {name: sheet(strips)})


def front(found: dict[Any, list[dict[str, float]]]) -> set[Any]:
    """Settings on the Quality-Diversity front among those that reach the target: no other is better in both."""
    means = {key: {name: mean(row[name] for row in rows) for name in rows[0]} for key, rows in found.items()}
    able = {key: (m["quality"], m["diversity"]) for key, m in means.items() if m["target rate"] >= REACHED}
    beaten = lambda q, d: any(q < other_q and d < other_d for other_q, other_d in able.values())
    return {key for key, (q, d) in able.items() if not beaten(q, d)}


def _cell(values: list[float | None]) -> str:
    if None in values:
        return "-"
    found = interval(values)
    return f"{found['mean']:.3f}" + (f" +- {found['high'] - found['mean']:.3f}" if "high" in found else "")


def sheet(strips: list[tuple[str, Image.Image]]) -> Image.Image:
    """Stack labeled pictures."""
    width, height = strips[0][1].size
    whole = Image.new("RGB", (width, len(strips) * (height + 18)), "white")
    for i, (label, picture) in enumerate(strips):
        ImageDraw.Draw(whole).text((4, i * (height + 18) + 3), label, "black")
        whole.paste(picture, (0, i * (height + 18) + 18))
    return whole


TABLES = [
    Table(f"claims/{claim.name}", PAGE, partial(measure, claim), partial(show, claim), claim.needs_reference)
    for claim in CLAIMS
]
