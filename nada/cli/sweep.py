"""`nada sweep`: train many adaptations, resume them, and compare them on one page."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import NadaError, UsageError, printable
from ..runs.durations import duration
from ..runs.names import slug
from ..runs.result_folder import PAGE
from ..runs.results import STRIP_COLUMNS
from ..settings import MAX_STEPS
from ..sweep.best import copy_best
from ..sweep.estimate import bytes_of, refuse_short_disk, seconds_of
from ..sweep.halving import Engine, Halving, train_best
from ..sweep.jobs import Job, Models, resolve
from ..sweep.local import TOGETHER, LocalEngine
from ..sweep.measures import check_measures
from ..sweep.plan import KEEP, MAX_JOBS, METRICS, MODELS, PICTURES, Plan, changed, make_plan, read_sweep
from ..sweep.ranking import Ranking
from ..sweep.ray_engine import LOCAL, Cluster, absolute, absolute_clip, on_ray
from ..sweep.report import Report
from ..sweep.state import BEGUN, DONE, FAILED, PENDING, STATUSES, STOPPED, Orders, failure, status
from ..sweep.work import Watch
from .interrupt import Interrupt
from .options import RECOMMENDED, add_config, given
from .parsing import CLIP_HELP, GENERATOR_HELP, add_command, add_device
from .shared import existing_folder, load_base, pick_device

log = logging.getLogger(__name__)
BEST = "sweep best"
SWEEP_ENDINGS = (".yaml", ".yml", ".json")
LIMITS = {"together": MAX_JOBS, "snapshots": MAX_STEPS, "workers": 10_000}  # upper limits


def add(commands: Any) -> None:
    """Add the verbs `sweep` and `sweep best` with their arguments to the parser."""
    parser = add_command(commands, "sweep", "train many adaptations, from a file or from options", run, show)
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="sweep file in YAML or JSON; docs/sweeps.md in the repository explains it",
    )
    parser.add_argument(
        "--generator", nargs="+", action="extend", metavar="FILE", help=f"generators, each a {GENERATOR_HELP}"
    )
    parser.add_argument(
        "--clip", nargs="+", action="extend", metavar="SPEC", help=f"one or several specifications of {CLIP_HELP}"
    )
    parser.add_argument(
        "--style-images",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="pictures, or folders of pictures, in the style to adapt to, each a target of its own",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the sweep (default: nada-NAME, where NAME is name in FILE, else FILE without its ending, else "
        "sweep)",
    )
    parser.add_argument("--keep", choices=KEEP, help="file to keep of each completed job (default: style)")
    parser.add_argument("--dry-run", action="store_true", help="show the jobs with estimates, and train nothing")
    parser.add_argument(
        "--together",
        type=int,
        default=TOGETHER,
        metavar="N",
        help="number of targets with the same generator, seed and settings that train in lock-step (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--snapshots",
        type=int,
        default=STRIP_COLUMNS,
        metavar="N",
        help="number of times that each job saves a snapshot and its state (default: %(default)s); fewer write less",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="train on Ray: on this machine alone, or on the cluster at ADDRESS, such as auto",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="number of Ray workers (default: as many as fit)")
    parser.add_argument(
        "--part", metavar="I/N", help="part I of N of the jobs to train, for job arrays; I counts from 1"
    )
    parser.add_argument("--stop-on-error", action="store_true", help="stop at the first job that fails")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    halving = parser.add_argument_group("successive halving")
    halving.add_argument("--keep-best", metavar="SHARE", help="share of the jobs kept at each comparison, such as 1/3")
    halving.add_argument("--at", metavar="N,N,...", help="iterations at which jobs are compared, such as 50,100")
    add_config(parser, "comparison", Ranking)
    add_config(parser, "settings, with one value or several", defaults=RECOMMENDED, several=True)
    add_device(parser)

    best = add_command(commands, BEST, "copy the best styles of a sweep to a folder", run_best, show_best)
    best.add_argument("folder", type=Path, metavar="DIR", help="folder of the sweep")
    best.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the styles")
    best.add_argument("--count", type=int, default=1, metavar="N", help="styles per comparison (default: %(default)s)")
    add_config(best, "comparison", Ranking)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train all jobs that are not done. Ctrl-C stops after the current iteration; the same command resumes.

    Returns:
        Folder, page, and the number of jobs that are done, stopped, failed, begun or pending; for a dry run, the jobs.

    Raises:
        UsageError: an argument or setting is out of range, or nothing is to be trained.
        NadaError: a file cannot be read, or the disk is too small.
    """
    for name, most in LIMITS.items():
        if (number := getattr(args, name)) is not None and not 1 <= number <= most:
            raise UsageError(f"--{name} is {number}; it must be in 1..{most}")
    description = described(args)
    plan = make_plan(description, printable(args.file.stem) if args.file else "sweep")
    models = Models(load_base, pick_device(args.device))
    jobs = resolve(plan.combinations, models)
    evaluation = plan.evaluation
    if args.ray:  # workers have other folders
        jobs = absolute(jobs)
        if evaluation and evaluation.clip:
            evaluation = replace(evaluation, clip=absolute_clip(evaluation.clip))
    root = args.out or Path(f"nada-{slug(plan.name)}")
    mine = _part(jobs, args.part)
    halving = Halving.parse(**plan.halving) if plan.halving else None
    if evaluation:
        check_measures(evaluation, halving.ranking.metric if halving else None, jobs, models)
    rungs = halving.at if halving else ()
    place = root.absolute() if args.ray else root
    orders = Orders(place, plan.keep, evaluation, rungs, args.snapshots, args.stop_on_error)
    left = [job for job in mine if status(orders.folder(job), job.config.iterations) != DONE]
    if args.dry_run:
        return _estimated(mine, left, models, orders, args.together)
    refuse_short_disk(root, left, models, plan.keep, args.together)
    return _trained(args, plan, jobs, mine, models, orders, halving)


def described(args: argparse.Namespace) -> dict[str, Any]:
    """Read the sweep file, and replace what the command line gives."""
    _refuse_misplaced_file(args)
    description = read_sweep(args.file) if args.file else {}
    asked = given(args) | {name: getattr(args, name) for name in (*MODELS, PICTURES) if getattr(args, name)}
    if not args.file and not asked:
        raise UsageError("there is nothing to train; give a sweep file first, or --generator and --target")
    halving = given(args, Ranking) | {name: value for name in ("keep_best", "at") if (value := getattr(args, name))}
    return changed(description, asked, halving, args.keep)


def _refuse_misplaced_file(args: argparse.Namespace) -> None:
    """Refuse a sweep file that an option with several values has taken for its last value."""
    values = [] if args.file else [word for value in vars(args).values() if isinstance(value, list) for word in value]
    if file := next((str(v) for v in values if str(v).endswith(SWEEP_ENDINGS) and Path(str(v)).is_file()), None):
        raise UsageError(f"{file} was taken for the value of an option; give the sweep file first")


def _part(jobs: Sequence[Job], part: str | None) -> list[Job]:
    """Select the jobs of part "I/N": every N-th one, from the I-th."""
    if part is None:
        return list(jobs)
    number, slash, count = part.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--part is {part!r}; it must be I/N with I from 1 to N, such as 3/16")
    return list(jobs[int(number) - 1 :: int(count)])


def _estimated(
    jobs: Sequence[Job], left: Sequence[Job], models: Models, orders: Orders, together: int
) -> dict[str, Any]:
    """Estimate time and size of each job, for the table of a dry run."""
    seconds = dict(zip((job.id for job in left), seconds_of(left, models), strict=True))
    told = []
    for job in jobs:
        kept, _ = bytes_of(job, models, orders.keep)
        state = status(orders.folder(job), job.config.iterations)
        estimates = {"seconds": round(seconds.get(job.id, 0), 1), "bytes": kept}
        told.append({"job": job.folder_name, "status": state, **estimates, "settings": job.settings})
    total = refuse_short_disk(orders.root, left, models, orders.keep, together)
    return {"folder": str(orders.root), "plan": told, "seconds": round(sum(seconds.values()), 1), "bytes": total}


def _trained(
    args: argparse.Namespace,
    plan: Plan,
    jobs: Sequence[Job],
    mine: Sequence[Job],
    models: Models,
    orders: Orders,
    halving: Halving | None,
) -> dict[str, Any]:
    """Train jobs with a progress bar, and keep the report up to date."""
    metrics = plan.evaluation.metrics if plan.evaluation else METRICS
    report = Report(orders.root, jobs, plan.name, metrics)
    reached: dict[str, int] = {}
    settled: set[str] = set()
    total = sum(job.config.iterations for job in mine)
    with Interrupt() as interrupt, tqdm(total=total, disable=args.quiet, unit="it") as bar:

        def advance(job: Job, iteration: int) -> None:
            bar.update(iteration - reached.get(job.id, 0))
            reached[job.id] = iteration

        def stepped(job: Job, iteration: int, loss: float) -> None:
            bar.set_postfix_str(f"{len(settled)}/{len(mine)} jobs, loss {loss:.3f}", refresh=False)
            advance(job, iteration)

        def settle(job: Job) -> None:
            report.update(job)
            state = status(orders.folder(job), job.config.iterations)
            if state in (DONE, STOPPED, FAILED):
                settled.add(job.id)
            if state == DONE:
                advance(job, job.config.iterations)  # on Ray, single iterations are not reported
            try:
                report.refresh()
            except NadaError as error:
                log.warning("%s", error)

        report.save()
        watch = Watch(begun=advance, stepped=stepped, settled=settle, stop=lambda: interrupt.requested)
        with _engine(args, mine, models, orders, watch) as engine:
            if halving:
                train_best(mine, engine, orders, halving, watch.stop)
            else:
                engine.train(mine)
        interrupted = interrupt.requested
    report.save()
    states = {job: status(orders.folder(job), job.config.iterations) for job in mine}
    counts = Counter(states.values())
    return {
        "folder": str(orders.root),
        "page": str(orders.root / PAGE),
        "jobs": {name: counts[name] for name in STATUSES if counts[name]},
        "failed": {job.folder_name: failure(orders.folder(job)) for job, state in states.items() if state == FAILED},
        "interrupted": interrupted and counts[DONE] + counts[FAILED] < len(mine),
        "unfinished": 0 if interrupted else counts[BEGUN] + counts[PENDING],
    }


@contextmanager
def _engine(
    args: argparse.Namespace, jobs: Sequence[Job], models: Models, orders: Orders, watch: Watch
) -> Iterator[Engine]:
    """The engine that trains the jobs: local, or Ray with --ray."""
    if not args.ray:
        yield LocalEngine(models, orders, watch, args.together)
        return
    on_gpu = args.device == "auto" or args.device.startswith("cuda")
    cluster = Cluster(args.ray, args.workers, args.threads or 1, on_gpu)
    with on_ray(jobs, models.load, orders, watch, args.together, cluster) as engine:
        yield engine


def run_best(args: argparse.Namespace) -> dict[str, Any]:
    """Copy the best styles of a sweep to a folder; see `copy_best`."""
    folder = existing_folder(args.folder, "sweep, such as nada-styles")
    styles = copy_best(folder, args.out, Ranking(**given(args, Ranking)), args.count)
    return {"folder": str(args.out), "styles": styles}


def show_best(result: dict[str, Any]) -> str:
    """List the copied styles as text."""
    lines = []
    for style in result["styles"]:
        figures = ", ".join(f"{name} {style[name]:.3f}" for name in METRICS if name in style)
        lines.append(f"  {style['file']}  {style['target']}: {figures}")
    return "\n".join([f"{len(lines)} styles copied to {result['folder']}", *lines])


def show(result: dict[str, Any]) -> str:
    """Describe the result as text."""
    if "plan" in result:
        return _show_plan(result)
    counts = ", ".join(f"{count} {name}" for name, count in result["jobs"].items())
    lines = [f"interrupted: {counts}; the same command resumes" if result["interrupted"] else counts]
    lines += [f"  failed: {name}: {sentence}" for name, sentence in result["failed"].items()]
    if count := result["unfinished"]:
        lines.append(f"  another process trains {count} of the jobs; run the same command again when it is done")
    return "\n".join([*lines, f"results in {result['folder']}", f"  page  {result['page']}"])


def _show_plan(result: dict[str, Any]) -> str:
    """The estimates of a dry run as a table."""
    settings = [entry["settings"] for entry in result["plan"]]
    varied = [name for name in settings[0] if len({str(one[name]) for one in settings}) > 1] if settings else []
    names = ["job", *varied, "status", "time", "MB"]
    lines = [
        [
            entry["job"],
            *(str(entry["settings"][name]) for name in varied),
            entry["status"],
            duration(entry["seconds"]) if entry["status"] != DONE else "-",
            f"{entry['bytes'] / 1e6:.1f}",
        ]
        for entry in result["plan"]
    ]
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    table = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in [names, *lines]]
    left = sum(entry["status"] != DONE for entry in result["plan"])
    table.append(
        f"{left} of {len(lines)} jobs to train: about {duration(result['seconds'])}, {result['bytes'] / 1e9:.2f} GB in "
        f"{result['folder']}"
    )
    return "\n".join(line.rstrip() for line in table)
