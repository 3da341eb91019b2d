"""Entries for the list of published generators: one per model, grouped by what they make."""

from __future__ import annotations

from ..nada import PRESETS, PUBLISHED
from ..nada.published.catalog import NVIDIA, UNSTATED, Published

LICENSES = {NVIDIA: "NVIDIA, non-commercial", UNSTATED: "LICENSE UNKNOWN"}


def published_choices() -> dict[str, Published]:
    """Return {entry: model}, such as "faces | ffhq-1024, 133 MB, NVIDIA, non-commercial | presets for faces".

    Of models with the same content and resolution, only the first in the catalog is listed: the smallest file, which
    has the generator and nothing else.
    """
    best: dict[tuple[str, int], Published] = {}
    for model in PUBLISHED:
        best.setdefault((model.content.partition(";")[0], model.resolution), model)
    subjects = list(dict.fromkeys(_subject(model).split()[0] for model in best.values()))
    grouped = sorted(best.values(), key=lambda model: subjects.index(_subject(model).split()[0]))
    return {_entry(model): model for model in grouped}


def _subject(model: Published) -> str:
    return model.content.partition(" (")[0]


def _entry(model: Published) -> str:
    subject, license = _subject(model), LICENSES.get(model.license, model.license)
    examples = {preset.domain for preset in PRESETS.values() if preset.kind != "general"}
    fits = f" | presets for {subject}" if subject in examples else ""
    return f"{subject} | {model.name}, {model.megabytes} MB, {license}{fits}"
