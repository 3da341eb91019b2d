"""Save the results of an adaptation: generator, style, pictures, page and record."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any

from PIL import Image

from ..adapt import Adaptation
from ..checkpoint.metadata import strict_json
from ..latents.rendering import generate_samples
from ..pictures.grids import before_after, filmstrip, make_grid
from ..pictures.page import CURVE, render
from ..settings import settings_of
from ..styles.preview import encode
from ..styles.style import Style
from ..training.config import RECOMMENDABLE, WEIGHT, AdaptConfig
from .kept_run import KeptRun
from .names import result_name
from .result_folder import PAGE, RECORD, STYLE_ENDING
from .snapshots import Snapshots

PREVIEWS = 12  # number of latents in the before-and-after picture
STRIP_ROWS, STRIP_COLUMNS = 4, 6  # filmstrip: number of latents, and of moments shown after the start
PREVIEW_PSI = 0.7  # truncation psi of all pictures
THUMBNAILS, SIDE, QUALITY = 4, 256, 82  # thumbnail: number of latents, side in pixels, JPEG quality; about 12 kB
BEFORE, AFTER = "page/before.jpg", "page/after.jpg"  # thumbnails, relative to the run folder
PICTURES = PAIRS, FILMSTRIP, LOSS, LAYERS = "before_after", "filmstrip", "loss", "layers"


def result_files(name: str) -> list[str]:
    """Return the names of all files that `save_results` may write for a run whose results are called `name`."""
    models = (f"{name}.safetensors", f"{name}{STYLE_ENDING}")
    return [*models, *(f"{picture}.png" for picture in PICTURES), BEFORE, AFTER, PAGE, RECORD]


def save_results(
    kept: KeptRun,
    interrupted: bool = False,
    *,
    with_generator: bool = True,
    with_style: bool = True,
    with_page: bool = True,
) -> dict[str, Any]:
    """Save the adapted generator, its style, pictures and, last, the record. Returns the record.

    Args:
        kept: a run whose current state is saved, so that nothing is lost if a file cannot be written.
        interrupted: whether the run was stopped before its end.
        with_generator, with_style: whether to save the generator (as large as the base) and the style.
        with_page: whether to save a page about this run alone.

    Raises:
        NadaError: a file cannot be written.
    """
    run, folder = kept.run, kept.folder
    name = result_name(run.recipe())
    folder.begin_results()
    samples = partial(generate_samples, truncation_psi=PREVIEW_PSI, batch=run.images_at_once)
    before, after = (samples(twin, PREVIEWS, run.config.seed) for twin in (run.frozen, run.trained))
    if with_style:  # before the generator, which is far larger: if the disk is full, the style may still fit
        folder.save_style(Style.between(run.frozen, run.trained, preview=encode(before, after)), name)
    if with_generator:
        folder.save_generator(run.trained, name)
    folder.save_picture(before_after(before, after, run.labels), PAIRS)
    folder.save_picture(strip(run, kept.snapshots), FILMSTRIP)
    folder.save_picture(kept.history.loss_plot(), LOSS)
    folder.save_picture(kept.history.layer_map(), LAYERS)
    # The same latents for every run of a base, so that a sweep's page compares equal images.
    for twin, path in ((run.frozen, BEFORE), (run.trained, AFTER)):
        sheet = make_grid(samples(twin, THUMBNAILS))
        sheet.thumbnail((SIDE, SIDE))
        folder.save_thumbnail(sheet, path, QUALITY)
    record = {"recipe": run.recipe(), "folder": str(folder.path), "files": folder.files, **kept.notes}
    record |= {"snapshots": {s.iteration: round(s.agreement, 4) for s in kept.snapshots.all}}
    record |= kept.history.packed()
    record |= {"seconds": round(record["seconds"], 3), "interrupted": interrupted}
    if with_page:
        row = summary(record) | {"status": "stopped" if interrupted else "done"}
        folder.save_page(render(" to ".join(run.labels), strict_json({"rows": [row], "axes": [], "metrics": []})))
    return folder.save_record(record)


def summary(record: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Summarize a run for a page: settings, losses, seconds, pictures, and the command that repeats it.

    Args:
        record: the run's record, as `save_results` wrote it.
        place: path from the page to the run folder, ending in "/".
    """
    recipe = record["recipe"]
    settings = {name: record.get(name) for name in ("generator", "clip")}
    settings |= {name: recipe[name] for name in settings_of(AdaptConfig) if name in recipe}
    images = record.get("style_images") or ()
    weights = {name.removesuffix(WEIGHT): value for name, value in recipe.items() if name.endswith(WEIGHT) and value}
    curve = [sum(weights.get(name, 0) * value for name, value in step.items()) for step in record["losses"]]
    stride = max(1, ceil(len(curve) / CURVE))
    shown = {"before": BEFORE, "after": AFTER, "filmstrip": f"{FILMSTRIP}.png"}
    return {
        "settings": settings | {"style_images": ", ".join(images)},
        "iterations_done": recipe["iterations_done"],
        "seconds": record["seconds"],
        "loss": curve[-1] if curve else None,
        "curve": [round(value, 4) for value in curve[::stride]],
        "command": command(settings, images),
        **{name: place + path for name, path in shown.items()},
    }


def command(settings: Mapping[str, Any], style_images: Sequence[str] = ()) -> str:
    """The command line that trains with these settings.

    Args:
        settings: "generator", "clip" and the settings of `AdaptConfig` by name.
        style_images: paths of the style images.
    """
    words = ["nada", "adapt"]
    for name, value in settings.items():
        setting = settings_of(AdaptConfig).get(name)
        # Settings for which a generator's file may recommend other values than the defaults are always written.
        if value in (None, "") or (setting and value == setting.default and name not in RECOMMENDABLE):
            continue
        words.append(option(name, value))
    if style_images:
        words += ["--style-images", *map(quoted, style_images)]
    return " ".join(words)


def option(name: str, value: Any) -> str:
    """Write a setting as an option of the command line, quoted for a shell."""
    words = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{words}" if value else f"--no-{words}"
    text = str(value)
    return f"--{words}{'=' if text.startswith('-') else ' '}{quoted(text)}"


def quoted(word: str) -> str:
    """Quote a word for a shell, with double quotes where both bash and the shells of Windows understand them."""
    if re.fullmatch(r"[\w./:,@+-]+", word, re.ASCII):
        return word
    return f'"{word}"' if not re.search(r"[\"$`\\!%\n]", word) else shlex.quote(word)


def strip(run: Adaptation, snapshots: Snapshots) -> Image.Image:
    """Filmstrip of a run: the start, up to five evenly spaced snapshots, and the result."""
    earlier = [s for s in snapshots.all if s.iteration < run.iteration]
    stride = max(ceil(len(earlier) / (STRIP_COLUMNS - 1)), 1)
    twins = [("start", run.frozen)]
    twins += [(str(s.iteration), snapshots.generator(s)) for s in earlier[stride - 1 :: stride]]
    twins.append((str(run.iteration), run.trained))
    samples = partial(
        generate_samples, count=STRIP_ROWS, seed=run.config.seed, truncation_psi=PREVIEW_PSI, batch=run.images_at_once
    )
    return filmstrip([(label, samples(twin)) for label, twin in twins])
