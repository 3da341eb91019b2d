"""The state of a sweep, read from the folders of its jobs: which are done, begun, failed or measured."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..checkpoint.metadata import NUMBER, RECIPE, fits, read_json_file, strict_json
from ..errors import NadaError
from ..files import atomic_path
from ..runs.folder import RunFolder
from ..runs.names import result_name
from ..runs.result_folder import FINISHED, STYLE_ENDING
from ..runs.results import STRIP_COLUMNS
from .jobs import Job
from .plan import STYLE, Evaluation

FAILURE, EVALUATION = "failure.json", "evaluation"
PLANNED = "planned"  # key of a job's settings in its record, whose recipe has what automatic ones became
ITERATIONS = "iterations_done"  # key of the iterations after which a job was measured
OF_JOB = ("target", "source", "generator")  # settings of a measurement that differ between jobs measured alike
MEASURED = {"measures?": {str: {"mean": (NUMBER, None)}}, "setting?": {"encoders?": [{"name": str}]}}
DONE, STOPPED, FAILED, BEGUN, PENDING = STATUSES = ("done", "stopped", "failed", "begun", "pending")


@dataclass(frozen=True)
class Orders:
    """Settings that all jobs of a sweep share."""

    root: Path
    """Folder of the sweep."""
    keep: str = STYLE
    """File to keep of a finished job: one of `plan.KEEP`."""
    evaluation: Evaluation | None = None
    """Settings for measuring results; None to measure nothing."""
    rungs: tuple[int, ...] = ()
    """Iterations at which jobs are compared; see `halving`."""
    snapshots: int = STRIP_COLUMNS
    """Number of evenly spaced iterations at which a job saves a snapshot and its state."""
    stop_on_error: bool = False
    """Whether to stop at the first job that fails, instead of continuing with the others."""

    def folder(self, job: Job) -> RunFolder:
        """The folder of a job."""
        return RunFolder(job.folder(self.root))


def status(folder: RunFolder, iterations: int) -> str:
    """Status of a job, one of `STATUSES`: done, stopped early by a comparison, failed, begun, or pending.

    Args:
        folder: folder of the job.
        iterations: number of iterations that it should reach; more, after `nada adapt --resume`, count as done too.
    """
    record = folder.record()
    recipe = record.get("recipe")
    reached = recipe.get("iterations_done") if isinstance(recipe, dict) else None
    if record.get(FINISHED) and type(reached) is int and reached >= iterations:
        return DONE
    if (folder.path / FAILURE).is_file():
        return FAILED
    if record.get(FINISHED) and record.get("interrupted"):
        return STOPPED
    return BEGUN if folder.states() else PENDING


def style_file(folder: RunFolder) -> Path:
    """Path of the style of a job whose record is written; the file exists unless the sweep keeps none.

    Raises:
        NadaError: the record is damaged.
    """
    record = folder.record()
    if not fits(record, {"recipe": RECIPE}):
        raise NadaError(f"the record of {folder.path} is damaged; delete this folder to train it again")
    return folder.path / f"{result_name(record['recipe'])}{STYLE_ENDING}"


def record_failure(folder: RunFolder, sentence: str) -> None:
    """Save the reason why a job failed. The next sweep retries the job."""
    _write(folder.path / FAILURE, {"error": sentence})


def failure(folder: RunFolder) -> str:
    """Read the reason why a job failed; "" if it did not."""
    return str(read_json_file(folder.path / FAILURE, {"error": str}).get("error", ""))


def forget_failure(folder: RunFolder) -> None:
    """Delete the record of a failure."""
    with suppress(OSError):
        (folder.path / FAILURE).unlink()


def save_measures(folder: RunFolder, result: Mapping[str, Any], iteration: int, end: bool) -> None:
    """Save a result of `evaluate` after some iterations, for the end of a job or for a comparison before it."""
    _write(_measures_path(folder, None if end else iteration), {ITERATIONS: iteration, **result})


def load_measures(folder: RunFolder, iteration: int | None = None) -> dict[str, Any]:
    """Load what `save_measures` wrote; {} if it is missing or damaged, so that the job is measured again."""
    return read_json_file(_measures_path(folder, iteration), MEASURED)


def measured_scale(found: Mapping[str, Any]) -> str:
    """Return a key of the settings and CLIP models of a result of `evaluate`; only results of equal keys compare."""
    setting = {name: value for name, value in sorted(found.get("setting", {}).items()) if name not in OF_JOB}
    return sha256(strict_json(setting).encode()).hexdigest()[:16]


def final_measures(folder: RunFolder) -> dict[str, Any]:
    """Load the measures of a job's end; {} if it has been trained further since."""
    found, recipe = load_measures(folder), folder.record().get("recipe")
    done = recipe.get("iterations_done") if isinstance(recipe, dict) else None
    return found if done is None or found.get(ITERATIONS, done) == done else {}


def is_measured(orders: Orders, job: Job, iteration: int | None = None) -> bool:
    """Whether a job was measured with the current settings, at its end or at an earlier iteration."""
    if orders.evaluation is None:
        return True
    folder = orders.folder(job)
    found = final_measures(folder) if iteration is None else load_measures(folder, iteration)
    wanted = asdict(orders.evaluation.config(job.config.target, job.config.source))
    setting = found.get("setting", {})
    return found.get("clip") == (orders.evaluation.clip or job.clip) and wanted.items() <= setting.items()


def _measures_path(folder: RunFolder, iteration: int | None) -> Path:
    return folder.path / (f"{EVALUATION}.json" if iteration is None else f"{EVALUATION}_{iteration:05d}.json")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(strict_json(dict(content), indent=1), encoding="utf-8")
