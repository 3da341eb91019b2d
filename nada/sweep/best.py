"""Copy the best styles of a sweep to a folder."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import NadaError, UsageError
from ..files import atomic_path
from ..runs.names import slug
from ..runs.result_folder import STYLE_ENDING
from .plan import GROUPED
from .ranking import Ranking
from .report import RESULTS, SCALE, Row, load_rows
from .state import DONE

ENDING = ".safetensors"


def copy_best(root: Path, out: Path, ranking: Ranking, per_group: int = 1) -> list[dict[str, Any]]:
    """Copy the styles of the best jobs of a sweep. An existing file with other content is never replaced.

    Args:
        root: folder of the sweep.
        out: folder for the styles, such as ComfyUI's models/stylegan_styles.
        ranking: criteria of the comparison.
        per_group: number of styles to copy from each group of jobs that are compared with each other.

    Returns:
        {"file", "job", "target", measures} of each style.

    Raises:
        UsageError: no job was measured, or none has a measure.
        NadaError: a style is missing, or cannot be written.
    """
    if per_group < 1:
        raise UsageError(f"count is {per_group}; it must be at least 1")
    rows = {row["folder"]: row for row in load_rows(root) if row.get("status") == DONE}
    if not rows:
        raise UsageError(f"{root} has no {RESULTS} with finished jobs; give the folder of a sweep")
    measured = {place: row["measures"] for place, row in rows.items() if row["measures"]}
    if not measured:
        raise UsageError(
            f"the jobs in {root} were not measured; add `evaluate: {{count: 200}}` to the sweep file, and run it again"
        )
    texts = {place: str([row["settings"].get(name) for name in GROUPED]) for place, row in rows.items()}
    scales = {place: row.get(SCALE, "") for place, row in rows.items()}
    best = ranking.best(measured, texts, scales, lambda found: per_group)
    return [_copied(root, out, rows[place]) for place in best]


def _copied(root: Path, out: Path, row: Row) -> dict[str, Any]:
    """Copy the style of a row under a free name, unless an equal copy exists."""
    folder, target = root / row["folder"], str(row["settings"].get("target", ""))
    found = sorted(folder.glob(f"*{STYLE_ENDING}"))
    if not found:
        raise NadaError(
            f"{folder} holds no style; delete this folder and run the sweep with `keep: style` to train it again"
        )
    names = (f"{slug(target)}-{n}{ENDING}" if n > 1 else f"{slug(target)}{ENDING}" for n in count(1))
    path = next(path for name in names if not (path := out / name).exists() or _same(path, found[0]))
    if not path.exists():
        with atomic_path(path, new=True) as temporary:
            shutil.copyfile(found[0], temporary)
    return {"file": str(path), "job": row["job"], "target": target, **row["measures"]}


def _same(one: Path, other: Path) -> bool:
    """Whether two files have equal content, as a file and its copy."""
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
