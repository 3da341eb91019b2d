"""Copy the best styles of a sweep to where they are used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..errors import NadaError, UsageError
from ..files import atomic_path
from ..runs.folder import STYLE_ENDING
from ..runs.names import free_path, slug
from .ranking import Ranking
from .report import RESULTS, Row, load_rows
from .state import DONE

ENDING = ".safetensors"
COMPARED = ("generator", "source", "target")  # settings that results compared with each other share


def copy_best(root: Path, out: Path, ranking: Ranking, count: int = 1) -> list[dict[str, Any]]:
    """Copy the styles of the best jobs of a sweep; no file is replaced by another one.

    Args:
        root: folder of the sweep.
        out: folder for the styles, such as ComfyUI's models/stylegan_styles.
        ranking: how they are compared.
        count: how many of those that are compared with each other.

    Returns:
        {"file", "job", "target", measures} of each style.

    Raises:
        UsageError: no job was measured, or a measure is unknown.
        NadaError: a style is missing, or cannot be written.
    """
    if count < 1:
        raise UsageError(f"count is {count}; it must be at least 1")
    rows = {row["folder"]: row for row in load_rows(root) if row.get("status") == DONE}
    if not rows:
        raise UsageError(f"{root} holds no {RESULTS} with jobs that are done; give the folder of a sweep")
    measured = {place: row["measures"] for place, row in rows.items() if row["measures"]}
    if not measured:
        raise UsageError(
            f"the jobs in {root} were not measured; add `evaluate: {{count: 200}}` to the sweep, and run it"
        )
    texts = {
        place: "\n".join(str(rows[place]["settings"].get(n)) for n in ("generator", "source", "target"))
        for place in rows
    }
    best = ranking.best(measured, texts, lambda found: count)
    return [_copied(root, out, rows[place]) for place in best]


def _copied(root: Path, out: Path, row: Row) -> dict[str, Any]:
    folder, target = root / row["folder"], str(row["settings"]["target"])
    found = sorted(folder.glob(f"*{STYLE_ENDING}"))
    if not found:
        raise NadaError(f"{folder} holds no style; sweep with `keep: style` to have one")
    path = out / f"{slug(target)}{ENDING}"
    if not (path.exists() and path.read_bytes() == found[0].read_bytes()):  # copied before
        path = free_path(path)
        with atomic_path(path) as temporary:
            shutil.copyfile(found[0], temporary)
    return {"file": str(path), "job": row["job"], "target": target, **row["measures"]}
