"""`nada generate`: images of a generator, with styles and a mapper."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UsageError
from ..generators import NOISE_MODES, PRECISIONS, Generator
from ..latents.rendering import generate
from ..latents.sampling import sample_latents
from ..pictures.convert import to_pil
from ..pictures.grids import make_grid
from ..runs.folder import ResultFolder
from ..runs.names import free_path
from ..text_edits import load_mapper
from .parsing import GENERATOR_HELP, STYLE_HELP, add_command, add_device, show_files
from .shared import load_base, pick_device, split_spec, styled

log = logging.getLogger(__name__)


def add(commands: Any) -> None:
    """Add the verb."""
    parser = add_command(commands, "generate", "make images", run, show_files)
    parser.add_argument("--generator", required=True, metavar="FILE", help=GENERATOR_HELP)
    parser.add_argument(
        "--style", action="append", default=[], metavar="FILE[:STRENGTH]", help=f"{STYLE_HELP}; several add up"
    )
    parser.add_argument("--count", type=int, default=16, help="images to make (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first image; image i uses seed + i")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation: 1 varied .. 0 average (%(default)s)")
    parser.add_argument(
        "--class", dest="label", type=int, default=0, help="class index, for class-conditional generators (%(default)s)"
    )
    parser.add_argument("--noise", choices=NOISE_MODES, default="const", help="fine detail (default: %(default)s)")
    parser.add_argument(
        "--mapper", metavar="FILE[:STRENGTH]", help="move the codes by what `nada mapper` trained (strength: 1)"
    )
    parser.add_argument("--batch", type=int, default=8, help="images at a time (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="full",
        help="half computes in bfloat16 from 64 px on, for GPUs (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the pictures (default: a new nada-images)")
    add_device(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write `--count` images of a generator and a grid of them into a new folder. Image i is that of seed + i.

    Styles change the generator, and a mapper the codes, each given as FILE or FILE:STRENGTH.
    """
    out: Path = args.out or free_path(Path("nada-images"))
    if out.exists() and any(out.glob("*.png")):
        raise UsageError(f"{out} holds pictures already; choose another folder")
    base = load_base(args.generator)
    model = styled(base, args.style).to(pick_device(args.device))
    ws = sample_latents(model, args.count, args.seed, args.psi, label=args.label)  # refuses a wrong class
    if args.mapper:
        ws = _mapped(ws, args.mapper, base)
    folder = ResultFolder(out)
    folder.prepare()
    images = generate(model, ws, args.noise, args.seed, args.batch, half=args.precision == "half")
    for i, picture in enumerate(to_pil(images)):
        folder.save_picture(picture, f"seed_{args.seed + i:06d}")
    folder.save_picture(make_grid(images), "grid")
    asked = {name: getattr(args, name) for name in ("generator", "seed", "psi", "noise")}
    return {**asked, "styles": args.style, "folder": str(out), "files": folder.files}


def _mapped(ws: Tensor, spec: str, generator: Generator) -> Tensor:
    """Codes as a mapper moves them, given as FILE or FILE:STRENGTH."""
    path, strength = split_spec(spec)
    mapper = load_mapper(path).to(ws.device)
    if mapper.metadata.get("base") != generator.fingerprint():
        log.warning("%s was trained with another generator; what it finds in this one may differ", path)
    return mapper(ws, strength)
