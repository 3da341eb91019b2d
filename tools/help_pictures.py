"""Make the pictures of the help pages that show a node's effect on the demo models' images.

    python tools/help_pictures.py

They go to web/docs/images. Pictures of the nodes themselves come from the editor.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "demo_world")]

from train_encoder import TEST_SEED, drawn_photos  # noqa: E402  (after the path)

import nada  # noqa: E402
from nada.demo import SETTINGS as SKETCH  # noqa: E402
from nada.photo.crop import REGIONS, face_crop  # noqa: E402
from nada.photo.encoders.loading import load_encoder  # noqa: E402
from nada.photo.resampling import blurred  # noqa: E402
from nada.pictures.convert import from_pil, to_pil  # noqa: E402
from nada.pictures.grids import before_after, filmstrip, make_grid  # noqa: E402
from nada.pictures.outlines import outlined  # noqa: E402
from nada.pictures.reading import read_picture  # noqa: E402

IMAGES = ROOT / "web" / "docs" / "images"
WIDEST = 800  # pixels
ROWS = 3  # number of latents in most pictures

BANDS = ("coarse", "middle", "fine")
BASE, CLIP = nada.load_generator("demo"), nada.load_clip("demo")
SETTINGS = BASE.metadata["recommended"] | {"iterations": SKETCH["iterations"]}  # the quickstart's
CODES = nada.sample_latents(BASE, ROWS, seed=1)


def main() -> None:
    """Train the models, and make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    sampling()
    loading()
    codes()
    run = nada.KeptRun(ROOT / "build" / "help_runs", BASE, CLIP, nada.AdaptConfig("photo", "sketch", **SETTINGS))
    for _ in run:
        pass
    training(run.run.trained, run.snapshots)
    mixing(run.run.trained, adapted("photo", "watercolor painting"))
    mapper()
    photos()
    inversion()


def sampling() -> None:
    """Pictures of generators and random codes."""
    people = nada.load_generator("demo-person")
    both = [images(g, nada.sample_latents(g, 6)) for g in (BASE, people)]
    save("LoadStyleGAN2", make_grid(torch.cat(both), columns=6))
    columns = [(f"psi {psi:g}", nada.sample_latents(BASE, ROWS, 1, psi)) for psi in (0, 0.5, 0.7, 1)]
    save("SampleLatents", strip([(label, BASE, ws) for label, ws in columns]))


def loading() -> None:
    """Pictures of codes loaded from a file of `nada optimize`."""
    config = nada.OptimizeConfig("black dog", iterations=60, learning_rate=0.05)
    found = last(nada.optimize_latents(BASE, CLIP, CODES, config)).ws
    save("NADALoadLatents", strip([("before", BASE, CODES), ("loaded", BASE, found)]))


def codes() -> None:
    """Pictures of operations on codes."""
    second = nada.sample_latents(BASE, 1, seed=15, truncation_psi=1.0).expand_as(CODES)
    mixed = [(band, nada.blend_latents(CODES, second, *(b == band for b in BANDS))) for band in BANDS]
    save("NADAMixLatents", strip([(label, BASE, ws) for label, ws in [("first", CODES), ("second", second), *mixed]]))
    walk = nada.interpolate_latents(CODES, 18, loop=False)
    frames = [walk[[i, i + 6, i + 12]] for i in range(6)]
    save("NADAInterpolateLatents", strip([(f"+{i}", BASE, ws) for i, ws in enumerate(frames)]))
    step = nada.principal_directions(BASE, 2).vectors[1]
    amounts = (-1, -0.5, 0, 0.5, 1)
    save("NADAEditLatents", strip([(f"{a:g}", BASE, nada.edit_latents(CODES, step, a)) for a in amounts]))
    settings = nada.DirectionConfig("dog", "black dog", samples=4, candidates=100)
    relevance = nada.measure_relevance(BASE, CLIP, settings)
    edits = [(f"{a:g}", nada.apply_style(BASE, relevance.style(amount=a)) if a else BASE) for a in (-4, -2, 0, 2, 4)]
    save("NADATextDirection", strip([(label, generator, CODES) for label, generator in edits]))


def training(sketch: nada.Generator, snapshots: nada.Snapshots) -> None:
    """Pictures of the results of a training."""
    nine = nada.sample_latents(BASE, 9)
    save("GenerateImages", before_after(images(BASE, nine), images(sketch, nine), ("photo", "sketch")))
    moments = [(str(moment.iteration), snapshots.generator(moment)) for moment in snapshots.all]
    save("NADAPickSnapshot", strip([(label, g, CODES) for label, g in [("start", BASE), *moments]]))
    pictures = images(sketch, nada.sample_latents(BASE, 3, seed=50))
    config = nada.AdaptConfig("photo", "sketch", image_share=0.5, **SETTINGS)
    styled = last(nada.adapt(BASE, CLIP, config, style_images=pictures)).generator
    shown = [("style images", pictures), ("before", images(BASE, CODES)), ("after", images(styled, CODES))]
    save("NADAImageAdapt", filmstrip(shown))


def mixing(sketch: nada.Generator, watercolor: nada.Generator) -> None:
    """Pictures of operations on adapted generators."""
    generators = [("photo", BASE), ("sketch", sketch), ("watercolor", watercolor)]
    save("NADACompareGrid", strip([(label, g, CODES) for label, g in generators]))
    pixels = adapted("photo", "pixel art")
    many = [("original", BASE), ("sketch", sketch), ("watercolor painting", watercolor), ("pixel art", pixels)]
    save("NADAAdaptMany", strip([(label, g, CODES) for label, g in many]))
    style = nada.Style.between(BASE, sketch, name="sketch")
    styled = [(f"strength {s:g}", nada.apply_style(BASE, style, s)) for s in (0, 0.5, 1, 1.5)]
    styled.append(("only fine", nada.apply_style(BASE, style, 1, 0, 0, 1)))
    save("NADAApplyStyle", strip([(label, g, CODES) for label, g in styled]))
    blends = [(f"share {s:g}", nada.blend_generators(sketch, watercolor, s, 4)) for s in (0, 0.33, 0.67, 1)]
    blends.append(("1 from 32", nada.blend_generators(sketch, watercolor, 1, 32)))
    save("NADABlendGenerators", strip([(label, g, CODES) for label, g in blends]))


def mapper() -> None:
    """Pictures of codes changed by a mapper."""
    config = nada.MapperConfig("black dog", iterations=100, views=2, l2_weight=0.2, norm_weight=0.0)
    found = last(nada.train_mapper(BASE, CLIP, config)).mapper
    four = nada.sample_latents(BASE, 4)
    save("NADATrainMapper", before_after(images(BASE, four), images(BASE, found(four)), ("before", config.target)))
    moved = [(f"strength {s:g}", BASE, found(four[:ROWS], s)) for s in (0, 0.5, 1, 1.5)]
    save("NADAApplyMapper", strip(moved))


def photos() -> None:
    """Pictures of a face's square, and of a changed square pasted back."""
    path = ROOT / "tests" / "photo" / "pictures" / "astronaut.jpg"
    photo = from_pil(read_picture(path))
    points = [(202.4, 101.0), (245.6, 103.3), (203.5, 140.0), (246.0, 141.0)]  # measured in the picture
    crop = face_crop(points, (photo.shape[-2], photo.shape[-1]))
    square = crop.sample(photo, 512)
    found = from_pil(outlined(to_pil(photo)[0], [crop.corners], points))
    save("NADAAlignPhoto", filmstrip([("photo", found), ("aligned", square)]))
    lines = square.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    drawn = (1 - 6 * (lines - blurred(lines, 4)).abs()).clamp(-1, 1)  # a pencil drawing: dark at edges
    pasted = [(region, crop.paste(photo, drawn, region=region)[0]) for region in REGIONS]
    save("NADAPasteBack", filmstrip([("photo", photo), ("changed", drawn), *pasted]))


def inversion() -> None:
    """Pictures of inverted drawings of dogs, by encoder and by projection, and of a generator tuned to them."""
    z = torch.randn(ROWS, BASE.config.z_dim, generator=torch.Generator().manual_seed(8))
    drawn = drawn_photos(z, "dog", TEST_SEED + 500)
    found = load_encoder("demo").encode(drawn, BASE)
    save("NADALoadEncoder", nada.comparison(drawn, images(BASE, found)))
    ws = last(nada.project(BASE, drawn, nada.ProjectConfig(w_iterations=60, plus_iterations=60))).ws
    save("NADAInvertPhoto", nada.comparison(drawn, images(BASE, ws)))
    tuned = last(nada.tune(BASE, ws, drawn, nada.TuneConfig(iterations=60))).generator
    save("NADATuneToPhoto", nada.comparison(drawn, images(tuned, ws)))


def adapted(source: str, target: str) -> nada.Generator:
    """Train the demo generator from one text to another."""
    return last(nada.adapt(BASE, CLIP, nada.AdaptConfig(source, target, **SETTINGS))).generator


def last(run: Iterable[Any]) -> Any:
    """Run a training to its end; returns its last record."""
    return deque(run, maxlen=1).pop()


def images(generator: nada.Generator, ws: Tensor) -> Tensor:
    """Images [N, 3, R, R] of codes."""
    return nada.generate(generator, ws.detach())


def strip(columns: list[tuple[str, nada.Generator, Tensor]]) -> Image.Image:
    """Filmstrip with a labeled column for each generator and its codes."""
    return filmstrip([(label, images(generator, ws)) for label, generator, ws in columns])


def save(node: str, picture: Image.Image) -> None:
    """Save the picture of a node's page."""
    if picture.width > WIDEST:
        size = WIDEST, round(picture.height * WIDEST / picture.width)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    path = IMAGES / f"{node}.webp"
    picture.save(path, quality=82, method=6)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
