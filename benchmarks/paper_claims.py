"""The paper's claims on the demo world: the tables of docs/paper_claims.md.

Each claim is a comparison of settings on the demo generator, repeated over seeds of the training. The judge classifies
freshly sampled images of each result; Quality and Diversity are measured too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pages import Options, Shown, Table, grid, mean_cell
from paper_bench import BASE, DRAWN, MAPPER, SHOWN, THEIRS, TRUTH, Bench, Run, make_bench
from PIL import Image, ImageDraw
from reference import CLEARED, FIRST_STEP, LAZY, SHARED_NOISE

from nada.runs.names import slug

PAGE = "docs/paper_claims.md"
COUNT = 200  # number of measured images
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
    seeds: int = 3  # number of trainings of each setting
    moments: tuple[int, ...] = (50,)  # additional iterations at which to measure
    generator: str = "demo"

    @property
    def needs_reference(self) -> bool:
        return any(THEIRS in changes for changes in self.variants.values())


def _styles(*targets: str) -> tuple[tuple[str, str], ...]:
    return tuple(("photo", target) for target in targets)


def _species(*targets: str) -> tuple[tuple[str, str], ...]:
    return tuple(("dog", target) for target in targets)


# Targets that decided, with other seeds, which of two CLIP models ships and what the demo's settings are.
CHOSEN_ON = (*_styles("sketch", "neon sign", "watercolor painting"), *_species("pig", "fox"))
# What a row is to be read against: training on the truth, the truth itself, and the generator before its training.
BOUNDS: dict[str, dict[str, Any]] = {
    "on true pictures": {TRUTH: True}, "true drawings": {SHOWN: DRAWN}, "unadapted": {SHOWN: BASE},
}  # fmt: skip
AS_IT_IS = {THEIRS: [], "views": 0}
GLOBAL = {"directional_weight": 0.0, "global_weight": 1.0}
CLAIMS = (
    Claim("targets", "Styles and other animals are reached from two words.",
          (*_styles(*STYLES), *_species(*SPECIES)), {"directional": {}, **BOUNDS}, seeds=5),
    Claim("untried", "Paraphrases, attributes and two changes at once, chosen before the first of them was tried.",
          UNTRIED, {"directional": {}, **BOUNDS}, seeds=5),
    Claim("people", "Another generator, of people, with the same settings.",
          (*_styles("sketch", PIXAR, "watercolor painting"), ("person", "dog")), {"directional": {}},
          generator="demo-person"),
    Claim("beside the authors' code",
          "Their training code, run on the weights of the demo generator and with the demo's CLIP models.",
          (*_styles(*STYLES[:2]), *_species("pig", "cat")),
          {
              "theirs": AS_IT_IS,
              "ours without views": {"views": 0},
              "theirs, our views": {THEIRS: []},
              "ours": {},
              "ours, half the step size": {"learning_rate": 0.003},
          }, seeds=5),
    Claim(
        "the authors' code, piece by piece",
        "Their training code with their settings, and with remedies for its first iteration.",
        (*_styles("sketch"), *_species("pig")),
        {
            "theirs, their batch, step size and iterations": {
                **AS_IT_IS, "batch": 2, "learning_rate": 0.002 * LAZY, "iterations": 300
            },
            f"theirs, {CLEARED}": {**AS_IT_IS, THEIRS: [CLEARED]},
            f"theirs, {SHARED_NOISE}, {FIRST_STEP}": {**AS_IT_IS, THEIRS: [SHARED_NOISE, FIRST_STEP]},
            f"theirs, {SHARED_NOISE}, {FIRST_STEP}, our views": {THEIRS: [SHARED_NOISE, FIRST_STEP]},
        },
    ),
    Claim("loss", "The directional loss keeps variety; the global loss collapses or cheats (sections 4.1, 5.4).",
          (*_styles("sketch"), *_species("pig")), {"directional": {}, "global": GLOBAL}),
    Claim("layers", "Training only the k layers that the target moves most keeps more of the original (section 4.2).",
          (*_styles("sketch"), *_species("pig")),
          {
              "k = 4": {"layers": 4},
              "k = 6": {"layers": 6},
              "k = 6, selected in every 4th iteration on 4 images": {
                  "layers": 6, "select_every": 4, "select_batch": 4
              },
              "all": {},
          }),
    Claim("iterations", "Longer training goes further and in the end loses variety.",
          (*_styles("sketch"), *_species("pig")), {"directional": {"iterations": 300}},
          moments=(25, 50, 100, 150, 200)),
    Claim("views", "Not in the paper: moved views keep a small CLIP from being fooled.",
          (*_styles("sketch"), *_species("pig")), {"0": {"views": 0}, "2": {}}),
    Claim("batch", "A batch of 2 is enough.", (*_styles("sketch"), *_species("pig")), {"2": {"batch": 2}, "4": {}}),
    Claim("mixing", "Style mixing in training helps variety.", _styles("sketch"), {"0": {}, "0.9": {"mixing": 0.9}}),
    Claim("mapper", "A latent mapper finds the codes that show the target (section 4.3).", _species("cat"),
          {"none": {}, "after 150 iterations": {MAPPER: 150}}),
    Claim("norm", "The embedding-norm loss holds back overdrawn pictures.", _species("pig"),
          {"0": {}, "0.5": {"norm_weight": 0.5}}),
    Claim(
        "settings",
        "Not in the paper: attempts at better settings, on the targets that settings were chosen on.",
        CHOSEN_ON,
        {
            "directional": {},
            "to-RGB layers too": {"train_torgb": True},
            "half the step size": {"learning_rate": 0.003, "iterations": 200},
            "within-domain 4": {"angle_weight": 4.0},
        },
        seeds=2,
        moments=(50, 100),
    ),
)  # fmt: skip


def make_run(claim: Claim, pair: tuple[str, str], changes: dict[str, Any], seed: int, options: Options) -> Run:
    """The training of a setting, with a seed counted from 0."""
    if SHOWN in changes:
        return Run(*pair, ((SHOWN, changes[SHOWN]), ("seed", FIRST_RUN)), (0,))
    settings = {**BASE_SETTINGS, **changes, "seed": FIRST_RUN + seed}
    for name in {"iterations", MAPPER} & settings.keys():
        settings[name] = options.fewer(settings[name])
    moments = {*map(options.fewer, claim.moments), settings["iterations"]}
    return Run(*pair, tuple(sorted(settings.items())), tuple(sorted(moments)))


def picture_of(run: Run, record: Path) -> Path | None:
    """The picture beside a record; None for the unadapted generator and for further seeds, which are not shown."""
    settings = dict(run.settings)
    shown = settings["seed"] == FIRST_RUN and settings.get(SHOWN) != BASE
    return record.with_suffix(".jpg") if shown else None


def runs(claim: Claim, pair: tuple[str, str], options: Options) -> dict[str, list[Run]]:
    """{setting: trainings, one for each seed} for a pair of texts; bounds are measured once."""
    seeds = lambda changes: range(1 if changes.keys() & {TRUTH, SHOWN} else options.seeds or claim.seeds)
    return {
        label: [make_run(claim, pair, changes, seed, options) for seed in seeds(changes)]
        for label, changes in claim.variants.items()
    }


def bench_of(claim: Claim, options: Options) -> Bench:
    return make_bench(claim.generator, options.fewer(COUNT, 8))


def measure(claim: Claim, options: Options) -> Iterator[str]:
    """Train what is not cached, seed by seed, so that an early stop leaves all comparisons with fewer repetitions.

    Trainings with equal settings follow each other, since they share what the frozen generator shows.
    """
    bench = bench_of(claim, options)
    planned = [
        (run, label) for label in claim.variants for pair in claim.pairs for run in runs(claim, pair, options)[label]
    ]
    for run, label in sorted(planned, key=lambda plan: dict(plan[0].settings)["seed"]):
        name = f"claims/{run.name(bench.models)}"
        picture = picture_of(run, options.file(name))
        work = partial(bench.measure, run, picture, options.reference, options.images_of("claims"))
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
        for (label, moment), values in found.items():
            cells = [mean_cell([row.get(name) for row in values]) for name, _ in COLUMNS]
            rows.append([marked, label, moment, str(len(values)), *cells])
    if len(rows) < min(2, len(claim.variants)):  # nothing to compare
        return Shown("")
    columns = ["change", "setting", "iterations", "runs", *(title for _, title in COLUMNS)]
    text = f"## {claim.name}\n\n{claim.says}\n\n{grid(columns, rows)}"
    name = f"paper_claims_{slug(claim.name)}.jpg"
    return Shown(f"{text}\n\n![{CAPTION}]({name})", {name: sheet(strips)})


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
