"""`nada invert` and `nada photo`: find the latent codes of photos, and show a photo in a style."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from .. import demo
from ..clip.loading import load_clip
from ..clip.models import ClipEnsemble
from ..errors import NadaError, UsageError, is_out_of_memory
from ..files import CACHE, atomic_path, check_writable, storable
from ..generators import Generator
from ..generators.contract import Noise
from ..latents.files import mapping_fingerprint
from ..latents.rendering import generate
from ..latents.smoothing import check_smoothing, smooth_latents
from ..photo.align import MIDDLE, Placing
from ..photo.codes import Codes, save_codes
from ..photo.crop import Crop, check_pasting
from ..photo.encoders.loading import load_encoder
from ..photo.invert import comparison, fitting_crop, inversion_errors, squares
from ..photo.loop import PhotoLoop
from ..photo.project import ProjectConfig, Projection
from ..photo.tune import TuneConfig, Tuning
from ..pictures.convert import png_notes, to_pil, to_rgb
from ..pictures.reading import picture_note
from ..runs.names import free_path, slug
from ..runs.out_of_memory import sparing
from ..runs.result_folder import ResultFolder
from ..runs.store import PhotoStore
from ..settings import settings_of
from ..styles.files import load_style, save_style
from ..styles.style import apply_style
from .align import add_pasting, add_placing, find_faces, fitted, open_photo, placing
from .interrupt import Interrupt
from .options import add_config, given
from .parsing import GENERATOR_HELP, STYLE_HELP, add_command, add_device, show_files
from .shared import check_target, load_base, local_model, pick_device, split_spec, styled

log = logging.getLogger(__name__)
STORE = CACHE / "photos"  # states of optimizations, to resume them and to reuse finished ones
NONE = "none"
CODES = "codes"
INVERT = "nada-invert"  # folder of the results of `nada invert`
UNFINISHED = "unfinished"  # key, in the results of an interrupted command, of its `request`, which may replace them
FREE = {"out", "overwrite", "quiet", "json", "device", "threads"}  # arguments that do not change the results
Loop = TypeVar("Loop", bound=PhotoLoop[Any])


def add(commands: Any) -> None:
    """Add the verbs `invert` and `photo` with their arguments to the parser."""
    invert = add_command(commands, "invert", "find the latent codes of photos", run_invert, show)
    invert.add_argument(
        "photos", type=Path, nargs="+", metavar="PHOTO", help="picture files; their EXIF orientation is applied"
    )
    _add_inversion(invert)
    invert.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="FRAMES",
        help="standard deviation, in frames, of smoothing the codes over time, for photos that are the frames of a "
        "video (default: %(default)s)",
    )
    invert.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: a new nada-invert)")
    invert.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in DIR")

    photo = add_command(commands, "photo", "show a photo in the style of an adaptation", run_photo, show_photo)
    photo.add_argument("photo", type=Path, metavar="PHOTO", help="picture file; its EXIF orientation is applied")
    _add_inversion(photo)
    photo.add_argument(
        "--style", action="append", default=[], metavar="FILE[:STRENGTH]", help=f"{STYLE_HELP}; several add up"
    )
    photo.add_argument(
        "--tune",
        type=int,
        nargs="?",
        const=settings_of(TuneConfig)["iterations"].default,
        default=0,
        metavar="ITERATIONS",
        help="tune the generator to the photo before applying the style, for a closer likeness (default: no tuning; "
        "%(const)s iterations if no number is given)",
    )
    photo.add_argument(
        "--save-likeness", type=Path, metavar="FILE", help="style file to save the tuning to; requires --tune"
    )
    photo.add_argument(
        "--square-only", action="store_true", help="write only the square, without pasting it into the photo"
    )
    add_pasting(photo)
    photo.add_argument(
        "--out", type=Path, metavar="PNG", help="picture to write (default: named after PHOTO and the style)"
    )
    photo.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")


def _add_inversion(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `Inversion` reads."""
    parser.add_argument("--generator", required=True, metavar="FILE", help=GENERATOR_HELP)
    parser.add_argument(
        "--encoder",
        metavar="FILE",
        help="encoder for this generator that estimates the initial codes: a file (e4e, pSp, ReStyle), 'demo', "
        "'demo-person', or a published encoder such as ffhq-1024-e4e, downloaded on first use",
    )
    parser.add_argument(
        "--no-optimize", action="store_true", help="use the encoder's codes as they are, in a fraction of the time"
    )
    parser.add_argument(
        "--clip",
        metavar="SPEC",
        help="CLIP models whose features are compared, as for `nada adapt`, or 'none' (default: 'demo' for the demo "
        "generators, else 'none')",
    )
    add_placing(parser)
    parser.add_argument(
        "--fit-square",
        action="store_true",
        help="move, scale and turn the found square until the generator reproduces its content best: for animals and "
        "things without landmarks",
    )
    add_config(parser, "projection", ProjectConfig)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_device(parser)


@dataclass
class Inversion:
    """Result of an inversion: the squares of photos, and their codes."""

    base: Generator
    clip: ClipEnsemble | None
    places: list[tuple[int, Crop]]
    """Index of the photo and square in that photo, for each code."""
    aligned: Tensor
    """The squares, [N, 3, H, W] in [-1, 1], on the generator's device."""
    codes: Codes
    errors: Tensor
    """[N], see `inversion_errors`."""
    images: Tensor
    """Images of the base at the codes, [N, C, H, W]."""
    seconds: float
    interrupted: bool


def invert(
    args: argparse.Namespace, base: Generator, paths: Sequence[Path], smooth: float = 0.0, tuned: bool = False
) -> Inversion:
    """Find squares and codes of photos. Ctrl-C stops early and keeps the codes found so far.

    Args:
        args: arguments of `_add_inversion`.
        base: generator whose codes are found.
        paths: picture files.
        smooth: standard deviation of a smoothing of the codes over the photos; 0 for none.
        tuned: load the CLIP models of --clip for a tuning, even with --no-optimize.

    Raises:
        UsageError: --no-optimize without --encoder.
        NadaError: a photo or model cannot be read, or no face is found.
    """
    if args.no_optimize and not args.encoder:
        raise UsageError("--no-optimize needs --encoder; without either, nothing finds the codes")
    config, where = ProjectConfig(**given(args, ProjectConfig)), placing(args)
    device = pick_device(args.device)
    base.to(device)
    found = [_placed(args, base, where, path) for path in paths]  # one photo at a time: a hundred take gigabytes
    places = [(number, crop) for number, (crops, _) in enumerate(found) for crop in crops]
    if smooth and any(len(crops) > 1 for crops, _ in found):
        raise UsageError(
            "--smooth averages the codes of one face over the photos, and a photo has several; choose one by --face"
        )
    aligned = torch.cat([cut for _, cut in found]).to(device)
    clip = _clip(args, device) if tuned or not args.no_optimize else None
    began, interrupted = time.perf_counter(), False
    start = None if args.encoder is None else load_encoder(local_model(args.encoder)).encode(aligned, base)
    noise: dict[str, Tensor] = {}
    recipe: dict[str, Any] = {"encoder": storable(Path(args.encoder).name)} if args.encoder else {}
    if args.no_optimize and start is not None:
        ws = start
    else:
        make = lambda: Projection(base, aligned, config, clip, start)
        loop, interrupted = _follow(make, slug(paths[0].stem), not args.quiet)
        ws, recipe, noise = loop.ws, recipe | loop.recipe(), loop.fitted_noise()
    ws = smooth_latents(ws.cpu(), smooth)
    recipe |= {"smooth": smooth} if smooth else {}
    images = generate(base, ws, noise or "const")
    noise = {name: maps.cpu() for name, maps in noise.items()}
    names = tuple(storable(paths[number].name) for number, _ in places)
    crops = tuple(crop for _, crop in places)
    codes = Codes(ws, crops, names, base.fingerprint(), recipe, noise, mapping_fingerprint(base))
    errors = inversion_errors(aligned.cpu(), images)
    seconds = round(time.perf_counter() - began, 3)
    return Inversion(base, clip, places, aligned, codes, errors, images, seconds, interrupted)


def _placed(args: argparse.Namespace, base: Generator, where: Placing, path: Path) -> tuple[list[Crop], Tensor]:
    """Find the squares of a photo, and cut them out in the generator's size, [N, 3, H, W] on the CPU.

    Raises:
        UsageError: the photo cannot be read, or has no such square; the message names it.
    """
    photo = open_photo(path)
    try:
        placed = where.place(photo, lambda image: find_faces(image, args.detector))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    crops = [place.crop for place in placed]
    if where.method == MIDDLE:
        crops = [fitting_crop((photo.shape[-2], photo.shape[-1]), base)]
    if args.fit_square:
        crops = [fitted(base, photo, crop, args.quiet) for crop in crops]
    return crops, squares(photo, crops, base)


def _clip(args: argparse.Namespace, device: torch.device) -> ClipEnsemble | None:
    """Load the CLIP models of --clip; by default the demo's for the demo generators, else none."""
    spec = args.clip or (demo.NAME if args.generator in demo.GENERATORS else NONE)
    return None if spec == NONE else load_clip(spec, device)


def _follow(make: Callable[[], Loop], name: str, progress: bool) -> tuple[Loop, bool]:
    """Run an optimization, resuming it from its stored state; return the loop, and whether Ctrl-C stopped it early.

    A finished optimization is read from the store and returns at once.
    """
    store = PhotoStore(STORE.expanduser(), make, name)
    loop = store.loop
    try:
        with Interrupt() as interrupt, tqdm(total=len(loop), initial=loop.iteration, disable=not progress) as bar:
            for step in sparing(store, loop):
                bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
                bar.update()
                if interrupt.requested:
                    break
    except Exception as error:
        if is_out_of_memory(error):
            store.keep()
        raise
    store.keep()
    return loop, loop.iteration < len(loop)


def request(args: argparse.Namespace) -> str:
    """Return a hash of what a command asks for, equal for the same command, as 64 hexadecimal digits.

    An interrupted command leaves it in its results, so that the same command, and no other, replaces them when it
    resumes.
    """
    asked = {name: value for name, value in vars(args).items() if name not in FREE and not callable(value)}
    return sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def run_invert(args: argparse.Namespace) -> dict[str, Any]:
    """Write the codes, a picture that compares photos with inversions, and the record; return the record."""
    check_smoothing(args.smooth)
    asked = request(args)
    folder = _folder(args.out, asked)
    with folder.claimed(args.overwrite or folder.record().get(UNFINISHED) == asked):
        found = invert(args, load_base(args.generator), args.photos, args.smooth)
        folder.begin_results()
        path = folder.path / f"{CODES}.safetensors"
        save_codes(found.codes, path)
        folder.files[CODES] = str(path)
        folder.save_picture(comparison(found.aligned, found.images), "inversion")
        return folder.save_record(
            {
                "generator": args.generator,
                "codes": [
                    {"photo": str(args.photos[number]), "crop": crop.to_json(), "error": round(float(error), 5)}
                    for (number, crop), error in zip(found.places, found.errors, strict=True)
                ],
                "recipe": found.codes.recipe,
                "folder": str(folder.path),
                "files": folder.files,
                "seconds": found.seconds,
                "interrupted": found.interrupted,
                "device": str(found.base.device),
                **({UNFINISHED: asked} if found.interrupted else {}),
            }
        )


def _folder(out: Path | None, asked: str) -> ResultFolder:
    """Folder for the results of `nada invert`: `out`, that of the same command if it was interrupted, or a new one."""
    if out:
        return ResultFolder(out)
    begun = map(ResultFolder, sorted(Path().glob(f"{INVERT}*")))
    same = (folder for folder in begun if folder.record().get(UNFINISHED) == asked)
    return next(same, None) or ResultFolder(free_path(Path(INVERT)))


def show(record: dict[str, Any]) -> str:
    """Describe the record as text."""
    errors = [entry["error"] for entry in record["codes"]]
    head = "interrupted; the same command resumes it. " if record["interrupted"] else ""
    mean = 100 * sum(errors) / len(errors)
    return (
        f"{head}{len(errors)} codes in {record['seconds']:.1f} s ({record['device']}), images off by {mean:.1f} %\n"
        f"{show_files(record)}"
    )


def run_photo(args: argparse.Namespace) -> dict[str, Any]:
    """Write a photo in a style: align, invert, tune (with --tune), apply the style, and paste back.

    Raises:
        UsageError: arguments that contradict each other, or a file that exists without --overwrite.
    """
    out = args.out or _name(args.photo, args.style)
    asked = request(args)
    replaced = {path for path in (out, args.save_likeness) if path and (args.overwrite or _asked_in(path) == asked)}
    check_target(out, out in replaced, ".png")
    if args.save_likeness:
        check_target(args.save_likeness, args.save_likeness in replaced)
        if not args.tune:
            raise UsageError("--save-likeness needs --tune, which computes the likeness; add it")
    check_pasting(args.region, args.feather)
    tuning = TuneConfig(iterations=args.tune) if args.tune else None
    base = load_base(args.generator)
    model = styled(base, args.style)  # fails before the work starts if a style does not fit
    for path in filter(None, (out, args.save_likeness)):
        check_writable(path)
    found = invert(args, base, [args.photo], tuned=tuning is not None)
    model, interrupted = model.to(found.base.device), found.interrupted
    if tuning and not interrupted:
        ws = found.codes.ws.to(found.base.device)
        noise: Noise = {name: maps.to(found.base.device) for name, maps in found.codes.noise.items()} or "const"
        make = lambda: Tuning(found.base, ws, found.aligned, tuning, found.clip, noise)
        loop, interrupted = _follow(make, f"{slug(args.photo.stem)}-likeness", not args.quiet)
        likeness = loop.style(args.photo.stem)
        if interrupted:
            likeness = replace(likeness, recipe={**(likeness.recipe or {}), UNFINISHED: asked})
        if args.save_likeness:
            save_style(likeness, args.save_likeness, new=args.save_likeness not in replaced)
        model = apply_style(model, likeness)
    images = to_rgb(generate(model, found.codes.ws, found.codes.noise or "const"))
    if args.square_only:
        result = torch.cat([*images], dim=-1)[None]
    else:
        result = open_photo(args.photo)
        for image, (_, crop) in zip(images, found.places, strict=True):
            options = {"region": args.region, "feather": args.feather, "match_color": args.match_color}
            result, _ = crop.paste(result, image[None], **options)
    notes = png_notes({UNFINISHED: asked} if interrupted else {})
    with atomic_path(out, new=out not in replaced) as temporary:
        to_pil(result)[0].save(temporary, "PNG", pnginfo=notes)
    return {
        "file": str(out),
        "faces": len(found.places),
        "errors": [round(float(error), 5) for error in found.errors],
        "seconds": found.seconds,
        "device": str(found.base.device),
        "interrupted": interrupted,
    }


def _asked_in(path: Path) -> str | None:
    """Return the `request` of the interrupted command that wrote a picture or a style, None for all other files."""
    if path.suffix.lower() == ".png":
        return picture_note(path, UNFINISHED)
    try:
        asked = (load_style(path).recipe or {}).get(UNFINISHED)
    except NadaError:
        return None
    return asked if isinstance(asked, str) else None


def _name(photo: Path, styles: Sequence[str]) -> Path:
    """Return the default path of the result, in the current folder."""
    words = "-".join(slug(Path(split_spec(spec)[0]).name.partition(".")[0]) for spec in styles)
    return Path(f"{photo.stem}-{words or 'inversion'}.png")


def show_photo(result: dict[str, Any]) -> str:
    """Describe the result as text."""
    head = "interrupted, shown as far as it got; the same command resumes it. " if result["interrupted"] else ""
    mean = 100 * sum(result["errors"]) / len(result["errors"])
    return f"{head}{result['file']}: inverted in {result['seconds']:.1f} s ({result['device']}), off by {mean:.1f} %"
