"""`nada generate`: generate images, optionally with styles, a mapper, and codes from a file."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..generators import NOISE_MODES, PRECISIONS, Generator
from ..latents.files import load_latents
from ..latents.rendering import generate, noise_part
from ..latents.sampling import sample_latents
from ..photo.codes import fitted_noise
from ..pictures.convert import middle, to_pil
from ..pictures.grids import make_grid
from ..runs.names import free_path
from ..runs.result_folder import ResultFolder
from ..seeding import SOURCES
from ..text_edits import load_mapper
from .parsing import GENERATOR_HELP, STYLE_HELP, add_command, add_device, show_files
from .shared import check_seed, load_base, pick_device, split_spec, styled

log = logging.getLogger(__name__)

GRID = 100  # largest number of images in the grid


def add(commands: Any) -> None:
    """Add the verb `generate` with its arguments to the parser."""
    parser = add_command(commands, "generate", "generate images", run, show_files)
    parser.add_argument("--generator", required=True, metavar="FILE", help=GENERATOR_HELP)
    parser.add_argument(
        "--style", action="append", default=[], metavar="FILE[:STRENGTH]", help=f"{STYLE_HELP}; several add up"
    )
    parser.add_argument("--count", type=int, default=16, metavar="N", help="number of images (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first image; image i uses seed + i (default: %(default)s)"
    )
    parser.add_argument(
        "--seed-from",
        choices=SOURCES,
        default="torch",
        help="source of z for a seed: numpy gives the images of NVIDIA's scripts (default: %(default)s)",
    )
    parser.add_argument(
        "--latents",
        metavar="FILE",
        help="file of W or W+ codes to use instead of random ones (.npz, .npy, .pt or .safetensors), one image each; "
        "--count, --seed-from, --psi and --class then have no effect",
    )
    parser.add_argument(
        "--psi",
        type=float,
        default=0.7,
        help="truncation psi: 1 is the full variety, 0 the average image (default: %(default)s)",
    )
    parser.add_argument(
        "--class",
        dest="label",
        type=int,
        default=0,
        help="index of the class, for class-conditional generators (default: %(default)s)",
    )
    parser.add_argument(
        "--noise",
        choices=NOISE_MODES,
        default="const",
        help="noise maps, the source of fine detail: those of the generator, random ones, or none "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--mapper", metavar="FILE[:STRENGTH]", help="latent mapper to apply to the codes (default strength: 1)"
    )
    parser.add_argument(
        "--batch", type=int, default=8, metavar="N", help="images computed at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="full",
        help="number format: half computes large layers in bfloat16; refused without bfloat16 (default: %(default)s)",
    )
    parser.add_argument(
        "--crop",
        type=_size,
        metavar="WIDTHxHEIGHT",
        help="size of the central part of each image to save: 512x384 removes the black bars of the LSUN cars",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the pictures (default: a new nada-images)")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures of equal names in DIR")
    add_device(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write images of a generator, and a grid of the first hundred, into a new folder.

    Image i has the seed `--seed` + i, or code i of the file `--latents`. Styles change the generator and a mapper
    changes the codes; both are given as FILE or FILE:STRENGTH. If the file of codes holds noise maps from
    `nada invert --fit-noise`, they replace those of the generator.

    Raises:
        UsageError: an argument is out of range, or the folder already holds pictures.
    """
    check_seed(args.seed)
    if args.batch < 1:
        raise UsageError(f"--batch is {args.batch}; it must be at least 1")
    out: Path = args.out or free_path(Path("nada-images"))
    if not args.overwrite and any(out.glob("*.png")):
        raise UsageError(
            f"{out} already holds pictures; choose another folder, or add --overwrite to replace those of equal names"
        )
    base = load_base(args.generator)
    if args.label and not base.config.c_dim:
        raise UsageError(f"--class is {args.label}, but this generator has no classes; leave it out")
    model = styled(base, args.style).to(pick_device(args.device))
    size = model.config.image_size
    rows, columns = middle(size, *(args.crop or size[::-1]))
    if args.latents:
        ws, name, first = load_latents(args.latents, model).to(model.device), "code", 0
    else:
        ws = sample_latents(model, args.count, args.seed, args.psi, label=args.label, seed_from=args.seed_from)
        name, first = "seed", args.seed
    fitted = fitted_noise(args.latents, model, len(ws)) if args.latents and args.noise == "const" else {}
    if args.mapper:
        ws = _mapped(ws, args.mapper, base)
    folder = ResultFolder(out, new=not args.overwrite)
    folder.prepare()
    shown = []
    for start in range(0, len(ws), args.batch):  # each chunk is written at once, as all images may not fit into memory
        part = ws[start : start + args.batch]
        noise = noise_part(fitted, start, args.batch) or args.noise
        images = generate(model, part, noise, args.seed + start, args.batch, bfloat16=args.precision == "half")
        images = images[..., rows, columns]
        for i, picture in enumerate(to_pil(images), first + start):
            folder.save_picture(picture, f"{name}_{i:06d}")
        if start < GRID:
            shown.append(images[: GRID - start])
    folder.save_picture(make_grid(torch.cat(shown)), "grid")
    asked = {name: getattr(args, name) for name in ("generator", "seed", "seed_from", "latents", "psi", "noise")}
    return {**asked, "styles": args.style, "folder": str(out), "files": folder.files}


def _size(text: str) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT as (width, height)."""
    if not (match := re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write WIDTHxHEIGHT, such as 512x384")
    return int(match[1]), int(match[2])


def _mapped(ws: Tensor, spec: str, generator: Generator) -> Tensor:
    """Apply a mapper, given as FILE or FILE:STRENGTH, to codes [N, num_ws, w_dim]."""
    path, strength = split_spec(spec)
    mapper = load_mapper(path).to(ws.device)
    if mapper.metadata.get("base") != generator.fingerprint():
        log.warning("%s was trained with another generator; its effect on this one may differ", path)
    return mapper(ws, strength)
