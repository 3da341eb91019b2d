"""The results of an adaptation: the generator, its style, pictures, and the record."""

from __future__ import annotations

from math import ceil
from typing import Any

from PIL import Image
from torch import Tensor

from ..adapt import Adaptation
from ..latents.rendering import generate
from ..latents.sampling import sample_latents
from ..pictures.grids import before_after, filmstrip
from ..styles.preview import encode
from ..styles.style import Style
from .kept_run import KeptRun
from .names import result_name
from .snapshots import Snapshots

PREVIEWS = 12  # latents in the before-and-after picture
STRIP_ROWS, STRIP_COLUMNS = 4, 6  # latents followed in the filmstrip, and moments shown after the start
PREVIEW_PSI = 0.7


def save_results(
    kept: KeptRun, interrupted: bool = False, *, with_generator: bool = True, with_style: bool = True
) -> dict[str, Any]:
    """Save the adapted generator, its style and pictures, and last the record. Returns the record.

    Args:
        kept: a run whose last state is stored, so that nothing is lost if a file cannot be written.
        interrupted: whether the run was stopped before its end.
        with_generator, with_style: whether to save the generator (as large as the base) and the style.

    Raises:
        NadaError: a file cannot be written.
    """
    run, folder = kept.run, kept.folder
    name = result_name(run.recipe())
    folder.begin_results()
    if with_generator:
        folder.save_generator(run.trained, name)
    ws = sample_latents(run.frozen, PREVIEWS, run.config.seed, PREVIEW_PSI)
    before, after = (generate(twin, ws, batch=run.images_at_once) for twin in (run.frozen, run.trained))
    if with_style:
        folder.save_style(Style.between(run.frozen, run.trained, preview=encode(before, after)), name)
    folder.save_picture(before_after(before, after, run.labels), "before_after")
    folder.save_picture(strip(run, kept.snapshots, ws[:STRIP_ROWS]), "filmstrip")
    folder.save_picture(kept.history.loss_plot(), "loss")
    folder.save_picture(kept.history.layer_map(), "layers")
    record = {"recipe": run.recipe(), "folder": str(folder.path), "files": folder.files, **kept.notes}
    record |= {"snapshots": {s.iteration: round(s.agreement, 4) for s in kept.snapshots.moments}}
    record |= kept.history.packed()
    record |= {"seconds": round(record["seconds"], 3), "interrupted": interrupted}
    return folder.save_record(record)


def strip(run: Adaptation, snapshots: Snapshots, ws: Tensor) -> Image.Image:
    """The filmstrip: the start, up to five snapshots at even distances, and the result."""
    earlier = [s for s in snapshots.moments if s.iteration < run.iteration]
    stride = max(ceil(len(earlier) / (STRIP_COLUMNS - 1)), 1)
    twins = [("start", run.frozen)]
    twins += [(str(s.iteration), snapshots.generator(s)) for s in earlier[stride - 1 :: stride]]
    twins.append((str(run.iteration), run.trained))
    return filmstrip([(label, generate(twin, ws, batch=run.images_at_once)) for label, twin in twins])
