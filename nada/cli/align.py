"""`nada align`: cut the square of a face out of a photo as FFHQ does, and paste a picture back into it."""

from __future__ import annotations

import argparse
import json
import logging
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..checkpoint.metadata import read_json_file
from ..checkpoint.saving import tensor_hash
from ..errors import CheckpointError, NadaError, UsageError
from ..files import CACHE, atomic_path
from ..generators import Generator
from ..photo.align import EYES, FACE, MIDDLE, POINTS, SQUARE, Placing, parse_numbers
from ..photo.crop import FEATHER, REGIONS, Crop, check_pasting
from ..photo.detectors.yunet import yunet_faces
from ..photo.faces import LARGEST, Face
from ..photo.fit_square import STEPS, fit_square
from ..pictures.convert import from_pil, to_pil
from ..pictures.outlines import outlined
from ..pictures.reading import read_picture
from ..published.catalog import YUNET
from ..published.download import download
from ..runs.names import free_path
from ..runs.result_folder import ResultFolder
from .output import advance
from .parsing import add_command, add_device, show_files
from .shared import load_base, pick_device

log = logging.getLogger(__name__)
DETECTORS = CACHE / "detectors"
FITTED = CACHE / "squares"  # squares that were fitted to a generator, of about 150 bytes each
MIN_SIZE, MAX_SIZE = 16, 4096  # smallest and largest side of a cut-out square, in pixels


def add(commands: Any) -> None:
    """Add the verb `align` with its arguments to the parser."""
    parser = add_command(
        commands, "align", "cut the square of a face out of a photo, or paste a picture back", run, show_files
    )
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="picture file; its EXIF orientation is applied")
    add_placing(parser)
    parser.add_argument(
        "--fit",
        metavar="GENERATOR",
        help="generator to which the found square is fitted: moved, scaled and turned until the generator reproduces "
        "its content best; for animals and things without landmarks",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_device(parser)
    parser.add_argument(
        "--size", type=int, default=1024, help="side of the cut-out square in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--paste",
        type=Path,
        action="append",
        default=[],
        metavar="PICTURE",
        help="picture to paste into the photo in place of the square; with --face all, one for each face",
    )
    add_pasting(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the pictures (default: a new nada-align)")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures of equal names in DIR")


def add_placing(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where the square of a photo is; `placing` reads them."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--face",
        default=LARGEST,
        metavar="WHICH",
        help="face to find: largest, all, or its number counted from the left, from 1 (default: %(default)s)",
    )
    where.add_argument(
        "--eyes", metavar="X,Y,X,Y", help="centers of both eyes in pixels, first the one on the left of the picture"
    )
    where.add_argument(
        "--points",
        metavar="X,Y,...",
        help="eight numbers in pixels: left eye, right eye, left and right corner of the mouth",
    )
    where.add_argument(
        "--square", metavar="X,Y,SIDE[,ROLL]", help="center and side of the square in pixels, and roll in degrees"
    )
    where.add_argument(
        "--middle",
        action="store_true",
        help="use the largest centered square, for pictures that are aligned already",
    )
    parser.add_argument(
        "--detector",
        type=Path,
        metavar="FILE",
        help=f"ONNX file of YuNet, the face detector (default: {YUNET.file}, downloaded on first use, "
        f"{YUNET.size / 1e6:.1f} MB, {YUNET.license})",
    )


def add_pasting(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how a square is put back into its photo."""
    parser.add_argument(
        "--region", choices=REGIONS, default=REGIONS[0], help="part of the square to paste (default: %(default)s)"
    )
    parser.add_argument(
        "--feather",
        type=float,
        default=FEATHER,
        help="width of the soft edge, 0 to 0.5 sides of the square (default: %(default)s)",
    )
    parser.add_argument(
        "--match-color", action="store_true", help="fit the pasted colors to those of the photo along the soft edge"
    )


def placing(args: argparse.Namespace) -> Placing:
    """Read the arguments of `add_placing`: how to find the square of a photo."""
    for method in (EYES, POINTS, SQUARE):
        if (text := getattr(args, method)) is not None:
            return Placing(method, parse_numbers(text))
    return Placing(MIDDLE) if args.middle else Placing(FACE, which=args.face)


def find_faces(photo: Tensor, detector: Path | None) -> list[Face]:
    """Find faces in a photo [1, 3, H, W] with YuNet; its model is downloaded if no file is given."""
    if detector is None:
        detector, notes = download(YUNET, DETECTORS.expanduser())
        log.info("face detector: %s", " ".join(notes))
    return yunet_faces(photo, detector)


def fitted(generator: Generator, photo: Tensor, crop: Crop, quiet: bool) -> Crop:
    """Fit a square to a generator, see `fit_square`, with a progress bar; results are cached.

    The cache also lets an inversion resume, since another run of the optimization could end at a slightly other square.
    """
    facts = [generator.fingerprint(), tensor_hash(photo), crop.to_json(), STEPS]
    path = FITTED.expanduser() / f"{sha256(json.dumps(facts).encode()).hexdigest()[:32]}.json"
    with suppress(CheckpointError):
        return Crop.from_json(read_json_file(path, {}))
    with tqdm(total=STEPS, desc="square", disable=quiet) as bar:
        found = fit_square(generator, photo, crop, progress=lambda step: advance(bar, step, STEPS))
    with suppress(NadaError), atomic_path(path) as temporary:  # without a cache, the result is there all the same
        temporary.write_text(json.dumps(found.to_json()), encoding="utf-8")
    return found


def open_photo(path: Path) -> Tensor:
    """Read a picture file as an image [1, 3, H, W] in [-1, 1]."""
    return from_pil(read_picture(path))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the square of each face, the photo with the squares drawn on it, and with `--paste` the pasted photo.

    Raises:
        UsageError: a size out of range, pictures to paste that do not match the squares, or an occupied folder.
    """
    where = placing(args)
    if not MIN_SIZE <= args.size <= MAX_SIZE:
        raise UsageError(f"--size is {args.size}; it must be in {MIN_SIZE}..{MAX_SIZE}")
    check_pasting(args.region, args.feather)
    out: Path = args.out or free_path(Path("nada-align"))
    if not args.overwrite and any(out.glob("*.png")):
        raise UsageError(
            f"{out} already holds pictures; choose another folder, or add --overwrite to replace those of equal names"
        )
    photo, pasted = open_photo(args.photo), [open_photo(path) for path in args.paste]
    squares = where.place(photo, lambda image: find_faces(image, args.detector))
    if args.fit:
        generator = load_base(args.fit).to(pick_device(args.device))
        squares = [replace(square, crop=fitted(generator, photo, square.crop, args.quiet)) for square in squares]
    if pasted and len(pasted) != len(squares):
        raise UsageError(f"--paste names {len(pasted)} pictures for {len(squares)} squares; give one for each")
    folder = ResultFolder(out, new=not args.overwrite)
    folder.prepare()
    for number, square in enumerate(squares, 1):
        (picture,) = to_pil(square.crop.sample(photo, args.size))
        folder.save_picture(picture, "square" if len(squares) == 1 else f"square_{number}")
    marks = [point for square in squares for point in square.points]
    folder.save_picture(outlined(to_pil(photo)[0], [square.crop.corners for square in squares], marks), "found")
    if pasted:
        result = photo
        for image, square in zip(pasted, squares, strict=True):
            result, _ = square.crop.paste(
                result, image, region=args.region, feather=args.feather, match_color=args.match_color
            )
        folder.save_picture(to_pil(result)[0], "pasted")
    return {
        "photo": str(args.photo),
        "squares": [
            {"matrix": square.crop.matrix, "side": square.crop.side, "roll": square.crop.roll, "points": square.points}
            for square in squares
        ],
        "folder": str(out),
        "files": folder.files,
    }
