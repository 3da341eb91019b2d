"""Make the icon and the banner of the registry, and the filmstrip of the README, from a run of `nada demo`.

nada demo --out demo
python tools/registry_pictures.py demo
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nada import generate, load_generator, sample_latents  # noqa: E402  (after the path)
from nada.demo import SETTINGS  # noqa: E402
from nada.pictures.convert import to_pil  # noqa: E402

DOCS = ROOT / "docs"
SEED, PSI, SHOWN = 0, 0.8, (0, 1, 3, 9)  # latents as in the run's pictures, and those on the banner
DARK, LIGHT, DIM, ORANGE = "#1b1c21", "#ffffff", "#83838b", "#ffad5c"
ICON, BANNER = (256, 256), (1260, 540)  # pixels
TILE, GAP, LEFT, ROWS = 160, 14, 530, (75, 305)  # pixels: tiles of the banner, and where they are


def main(run: Path) -> None:
    """Write the three pictures from the folder of a run."""
    name = f"{SETTINGS['source']}_to_{SETTINGS['target']}.safetensors"
    base, adapted = load_generator("demo"), load_generator(run / name)
    ws = sample_latents(base, max(SHOWN) + 1, seed=SEED, truncation_psi=PSI)[list(SHOWN)]
    before, after = generate(base, ws), generate(adapted, ws)
    icon(before[3:4], after[3:4]).save(DOCS / "icon.png", optimize=True)
    banner(to_pil(before), to_pil(after)).save(DOCS / "banner.jpg", quality=90, optimize=True)
    with Image.open(run / "filmstrip.png") as film:
        film.convert("RGB").save(DOCS / "filmstrip.jpg", quality=88, optimize=True)


def rounded(picture: Image.Image, radius: int) -> Image.Image:
    """Cut round corners into a picture."""
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, picture.width - 1, picture.height - 1), radius, 255)
    result = picture.convert("RGBA")
    result.putalpha(mask)
    return result


def icon(before: Tensor, after: Tensor) -> Image.Image:
    """Show the left half of an image before, and the right half after."""
    left, right = (to_pil(image)[0].resize(ICON, Image.Resampling.LANCZOS) for image in (before, after))
    middle = ICON[0] // 2
    left.paste(right.crop((middle, 0, *ICON)), (middle, 0))
    ImageDraw.Draw(left).line((middle, 0, middle, ICON[1]), LIGHT, 2)
    return rounded(left, ICON[0] // 5)


def banner(before: list[Image.Image], after: list[Image.Image]) -> Image.Image:
    """Draw the name, one sentence, and rows of images before and after."""
    picture = Image.new("RGB", BANNER, DARK)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default
    pen.text((56, 120), "StyleGAN-", LIGHT, font(62))
    pen.text((56, 192), "NADA", ORANGE, font(62))
    for i, line in enumerate(
        ("Adapt a StyleGAN2 generator", "to a new domain from two phrases,", "with no picture of it.")
    ):
        pen.text((56, 292 + 38 * i), line, "#cfcfd4", font(27))
    pen.text((56, 436), "for ComfyUI", DIM, font(26))
    for row, tiles in zip(ROWS, (before, after), strict=True):
        for i, tile in enumerate(tiles):
            sized = rounded(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), 16)
            picture.paste(sized, (LEFT + i * (TILE + GAP), row), sized)
    middle = LEFT + 2 * TILE + 3 * GAP // 2
    y = (ROWS[0] + TILE + ROWS[1]) // 2
    pen.text((middle - 46, y), f'"{SETTINGS["source"]}"', "#b4b4bb", font(28), anchor="rm")
    pen.text((middle + 46, y), f'"{SETTINGS["target"]}"', LIGHT, font(28), anchor="lm")
    pen.line((middle - 28, y, middle + 18, y), ORANGE, 4)
    pen.polygon([(middle + 16, y - 10), (middle + 32, y), (middle + 16, y + 10)], ORANGE)
    return picture


if __name__ == "__main__":
    main(Path(sys.argv[1]))
