"""Draw a sheet of pictures of the demo world.

python tools/demo_world/contact_sheet.py --out sheet.png --species dog --style photo neon
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nada.demo.world import SPECIES, STYLES, draw, random_parameters


def tiled(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures [N, 3, H, W] in 0..1 as one image with `columns` a row."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    sheet = torch.ones(3, rows * height, columns * width)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * height, (i % columns) * width
        sheet[:, y : y + height, x : x + width] = picture
    return Image.fromarray((sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    parser.add_argument("--species", choices=SPECIES, nargs="+", default=["dog"], help="default: dog")
    parser.add_argument("--style", choices=STYLES, nargs="+", default=["photo"], help="default: photo")
    parser.add_argument("--count", type=int, default=8, help="individuals (default %(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="pictures a row (default %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default %(default)s)")
    parser.add_argument("--oversample", type=int, default=1, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="seed of the individuals (default %(default)s)")
    args = parser.parse_args()
    p = random_parameters(args.count, torch.Generator().manual_seed(args.seed))
    rows = [
        draw(p, species, style, torch.Generator().manual_seed(args.seed), size=args.size, oversample=args.oversample)
        for species in args.species
        for style in args.style
    ]
    tiled(torch.cat(rows), args.columns).save(args.out)


if __name__ == "__main__":
    main()
