"""`nada mapper`, `nada optimize` and `nada direction`: edit images by a text, without training the generator."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..clip import ClipEnsemble
from ..clip.loading import load_clip, usual_clip
from ..generators import Generator
from ..latents.files import save_latents
from ..latents.rendering import generate
from ..latents.sampling import sample_latents
from ..pictures.charts import plot
from ..pictures.grids import before_after, filmstrip
from ..runs.names import free_path, result_name, slug
from ..runs.result_folder import ResultFolder
from ..runs.results import PREVIEW_PSI, PREVIEWS, STRIP_COLUMNS, STRIP_ROWS
from ..styles.preview import encode
from ..styles.style import apply_style
from ..text_edits import (
    DirectionConfig,
    MapperConfig,
    MapperTraining,
    Optimization,
    OptimizeConfig,
    measure_relevance,
    optimize_latents,
    save_mapper,
    train_mapper,
)
from ..text_edits.global_directions import AMOUNT, BETA, check_edit
from .interrupt import Interrupt
from .options import add_config, given
from .output import advance
from .parsing import GENERATOR_HELP, add_command, add_run_options, show_files, show_run
from .shared import check_seed, load_base, pick_device, recorded_clip

log = logging.getLogger(__name__)
MAPPER = "train a network that changes latent codes so that the images show a text"
OPTIMIZE = "optimize the latent codes of a few images so that they show a text (StyleCLIP)"
DIRECTION = "find the style channels that a text asks for, and save the edit as a style (StyleCLIP)"
LISTED = 20  # largest number of channels in the record


def add(commands: Any) -> None:
    """Add the verbs `mapper`, `optimize` and `direction` with their arguments to the parser."""
    mapper = add_command(commands, "mapper", MAPPER, run_mapper, show)
    _add_models(mapper, "nada-TARGET-mapper")
    add_config(mapper, "mapper", MapperConfig, required=["target"])

    optimize = add_command(commands, "optimize", OPTIMIZE, run_optimize, show)
    _add_models(optimize, "nada-TARGET-optimized")
    optimize.add_argument(
        "--count",
        type=int,
        default=PREVIEWS,
        metavar="N",
        help="number of images to start from (default: %(default)s)",
    )
    optimize.add_argument(
        "--first-seed",
        type=int,
        default=0,
        metavar="SEED",
        help="seed of the first image; image i uses seed + i (default: %(default)s)",
    )
    optimize.add_argument(
        "--psi", type=float, default=PREVIEW_PSI, help="truncation psi of the start images (default: %(default)s)"
    )
    add_config(optimize, "optimization", OptimizeConfig, required=["target"])

    direction = add_command(commands, "direction", DIRECTION, run_direction, show_direction)
    _add_models(direction, "nada-SOURCE_to_TARGET-direction")
    direction.add_argument(
        "--beta",
        type=float,
        default=BETA,
        help="smallest relevance, in 0..1, of the channels to change; a higher one preserves more of the rest of the "
        "image (default: %(default)s)",
    )
    direction.add_argument(
        "--amount",
        type=float,
        default=AMOUNT,
        help="change of the most relevant channel in standard deviations, negative for the opposite; the others change "
        "in proportion (default: %(default)s)",
    )
    add_config(direction, "direction", DirectionConfig, required=["source", "target"])


def _add_models(parser: argparse.ArgumentParser, folder: str) -> None:
    parser.add_argument("--generator", required=True, metavar="FILE", help=GENERATOR_HELP)
    parser.add_argument(
        "--clip",
        metavar="SPEC",
        help="CLIP models, as for `nada adapt` (default: those of the adaptation; for a generator that was not "
        "adapted, as for `nada adapt`)",
    )
    add_run_options(parser, f"a new folder {folder}")


def show(record: dict[str, Any]) -> str:
    """Describe the record as text."""
    return show_run(record, "trained")


def run_mapper(args: argparse.Namespace) -> dict[str, Any]:
    """Train a mapper and save it in a folder with pictures. Ctrl-C stops within one iteration and saves the result.

    Returns:
        The record: recipe, losses of each iteration, seconds, and the files written.

    Raises:
        UsageError: a setting does not fit the generator, or the folder holds an earlier result.
    """
    config = MapperConfig(**given(args, MapperConfig))
    out = args.out or free_path(Path(f"nada-{slug(config.target)}-mapper"))
    base, place = load_base(args.generator), pick_device(args.device)
    config.build(base)  # refuse wrong bands before CLIP is loaded or downloaded
    folder = ResultFolder(out)
    with folder.claimed(args.overwrite):
        run = train_mapper(base.to(place), _load_clip(base, args.generator, args.clip, place), config)
        ws = sample_latents(base, PREVIEWS, config.seed, config.psi)
        path = out / f"{slug(config.target)}_mapper.safetensors"
        folder.files["mapper"] = str(path)
        save = partial(save_mapper, run.mapper, path)
        return _follow(run, folder, ws, lambda: run.mapper(ws), save, config.batch, not args.quiet)


def run_optimize(args: argparse.Namespace) -> dict[str, Any]:
    """Optimize the latent codes of some images and save codes and pictures in a folder; see `run_mapper`."""
    config = OptimizeConfig(**given(args, OptimizeConfig))
    check_seed(args.first_seed)
    out = args.out or free_path(Path(f"nada-{slug(config.target)}-optimized"))
    base, place = load_base(args.generator), pick_device(args.device)
    folder = ResultFolder(out)
    with folder.claimed(args.overwrite):
        ws = sample_latents(base.to(place), args.count, args.first_seed, args.psi)
        run = optimize_latents(base, _load_clip(base, args.generator, args.clip, place), ws, config)
        path = out / f"{slug(config.target)}_codes.safetensors"
        folder.files["codes"] = str(path)
        save = lambda: save_latents(run.codes, base, path)
        return _follow(run, folder, ws, lambda: run.codes.detach(), save, args.count, not args.quiet)


def run_direction(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the relevance of style channels and save the edit as a style in a folder with a picture.

    Returns:
        The record: recipe, the most relevant channels, seconds, and the files written.
    """
    config = DirectionConfig(**given(args, DirectionConfig))
    check_edit(args.beta, args.amount)
    name = result_name({"source": config.source, "target": config.target})
    out = args.out or free_path(Path(f"nada-{name}-direction"))
    base, place = load_base(args.generator), pick_device(args.device)
    folder, began = ResultFolder(out), time.perf_counter()
    with folder.claimed(args.overwrite):
        clip = _load_clip(base.to(place), args.generator, args.clip, place)
        with tqdm(unit="channel", disable=args.quiet) as bar:
            relevance = measure_relevance(base, clip, config, partial(advance, bar))
        style = relevance.style(args.beta, args.amount)
        ws = sample_latents(base, PREVIEWS, config.seed, PREVIEW_PSI)
        before, after = (generate(generator, ws) for generator in (base, apply_style(base, style)))
        folder.begin_results()
        folder.save_style(style.with_preview(encode(before, after)), name)
        folder.save_picture(before_after(before, after, ("before", config.target)), "before_after")
        record: dict[str, Any] = {"recipe": style.recipe, "channels": relevance.channels(args.beta)[:LISTED]}
        record |= {"folder": str(out), "files": folder.files, "device": str(place)}
        return folder.save_record(record | {"seconds": round(time.perf_counter() - began, 3)})


def show_direction(record: dict[str, Any]) -> str:
    """Describe the record as text: the most relevant channels, and the files."""
    moved, seconds, device = record["recipe"]["channels"], record["seconds"], record["device"]
    lines = [f"  {layer} channel {index}: {value:+.3f}" for layer, index, value in record["channels"]]
    more = [f"  and {moved - len(lines)} more"] if moved > len(lines) else []
    return "\n".join([f"{moved} style channels in {seconds:.1f} s ({device})", *lines, *more, show_files(record)])


def _load_clip(base: Generator, generator: str, clip: str | None, place: torch.device) -> ClipEnsemble:
    """Load the CLIP models of --clip; by default those that the generator was adapted with, else the usual ones."""
    match base.metadata.get("adaptations"):
        case [*_, {"clip": [_, *_] as models}] if not clip:
            ensemble = load_clip(recorded_clip(models, generator), place)
            told = [model.get("fingerprint") for model in models if model["weight"]]
            if any(was not in (None, is_now.fingerprint) for was, is_now in zip(told, ensemble, strict=True)):
                log.warning("%s was adapted with other weights of these CLIP models", Path(generator).name)
            return ensemble
    return load_clip(clip or usual_clip(generator), place)


def _follow(
    run: MapperTraining | Optimization,
    folder: ResultFolder,
    ws: Tensor,
    moved: Callable[[], Tensor],
    save: Callable[[], None],
    at_once: int,
    progress: bool,
) -> dict[str, Any]:
    """Run to the end or to Ctrl-C; save the result, its pictures and, last, the record, which is returned.

    Args:
        run: a training or optimization that has not begun.
        folder: folder for the pictures and the record.
        ws: codes [N, num_ws, w_dim] of the images shown before and after.
        moved: returns these codes as changed so far.
        save: saves the result.
        at_once: number of images that fit into memory together.
        progress: whether to show a progress bar.
    """
    show = partial(generate, run.generator, batch=at_once)
    before = show(ws)
    frames = [("start", before[:STRIP_ROWS])]
    losses: list[dict[str, float]] = []
    began = time.perf_counter()
    with Interrupt() as interrupt, tqdm(total=len(run), unit="it", disable=not progress) as bar:
        for step in run:
            losses.append({name: float(loss) for name, loss in step.losses.items()})
            bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
            bar.update()
            if interrupt.requested:
                break
            if step.iteration % -(-len(run) // STRIP_COLUMNS) == 0 and step.iteration < len(run):
                frames.append((str(step.iteration), show(moved()[:STRIP_ROWS])))
    seconds = round(time.perf_counter() - began, 3)
    folder.begin_results()
    save()
    after = show(moved())
    frames.append((str(run.iteration), after[:STRIP_ROWS]))
    folder.save_picture(before_after(before, after, ("before", run.config.target)), "before_after")
    folder.save_picture(filmstrip(frames), "filmstrip")
    folder.save_picture(plot({name: [step[name] for step in losses] for name in losses[0]}), "loss")
    record = {"recipe": run.recipe(), "folder": str(folder.path), "files": folder.files, "device": str(ws.device)}
    return folder.save_record(record | {"losses": losses, "interrupted": run.iteration < len(run), "seconds": seconds})
