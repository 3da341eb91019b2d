"""Write docs/training.webp, the moving picture of the README: pictures of the demo generator while it is adapted.

python tools/moving_picture.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nada import AdaptConfig, adapt, generate, load_clip, load_generator, sample_latents
from nada.demo import SETTINGS
from nada.pictures.grids import make_grid

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "training.webp"
COUNT, COLUMNS, SIDE = 8, 4, 160  # pictures, columns, and pixels of a picture's side
HOLD, FRAME = 1500, 60  # milliseconds of the first and last frame, and of the others


def frames() -> list[Image.Image]:
    """Adapt the demo generator from photo to sketch, and return a grid of pictures for each iteration."""
    generator, clip = load_generator("demo"), load_clip("demo")
    config = AdaptConfig.for_generator(generator, **SETTINGS)
    codes = sample_latents(generator, COUNT, seed=1, truncation_psi=0.8)
    grid = lambda images: make_grid(images, COLUMNS, side=SIDE)
    found = [grid(generate(generator, codes))]
    found += [grid(generate(step.generator, codes)) for step in adapt(generator, clip, config)]
    return found


def main() -> None:
    torch.manual_seed(0)
    first, *rest = frames()
    times = [HOLD, *(FRAME for _ in rest[:-1]), HOLD]
    first.save(PICTURE, save_all=True, append_images=rest, duration=times, loop=0, quality=60, method=6)
    print(f"{PICTURE}: {1 + len(rest)} frames, {PICTURE.stat().st_size >> 10} kB")


if __name__ == "__main__":
    main()
